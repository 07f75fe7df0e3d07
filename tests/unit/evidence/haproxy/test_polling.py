from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Snapshot
from support.haproxy import HEAD, Web, one_backend, replace_haproxy, run_haproxy, until
from support.watcher_thread import Watching

CAPTURES = Path(__file__).resolve().parents[3] / "captures"


def down(seen: Snapshot) -> bool:
    """Whether no server of `web` counts."""
    return all(server.usable is Usable.NO for server in seen.backends["web"].servers)


def only_snapshots(watching: Watching) -> None:
    """HAProxy was never lost from sight."""
    assert [seen for seen in watching.seen if not isinstance(seen, Snapshot)] == []


@pytest.mark.parametrize(
    ("ring", "head", "message"),
    [
        (None, HEAD, "the profile gives it no `ring`"),
        ("other", HEAD, "log ring@other format raw local0 notice"),
        ("anycastd", HEAD.replace("level admin", "level user"), "level operator"),
    ],
)
def test_without_events_it_polls_and_says_why(
    tmp_path: Path, web: Web, ring: str | None, head: str, message: str
) -> None:
    """No ring, or a HAProxy without it: changes are found every `poll` seconds, with the remedy."""
    with (
        run_haproxy(tmp_path, one_backend(web), head) as haproxy,
        Watching(haproxy.socket, ring=ring, poll=0.1) as watching,
    ):
        watching.until(Snapshot, lambda seen: message in seen.polling, 2)
        start, began = len(watching.seen), time.monotonic()
        until(lambda: time.monotonic() > began + 1)
        assert 7 <= len(watching.seen) - start <= 12
        assert not watching.watcher.event_driven
        web.stop()
        watching.until(Snapshot, down, 2)
        only_snapshots(watching)
        haproxy.kill()
        watching.until(Gone, timeout=0.5)


def test_a_ring_that_a_reload_brings_is_heard(tmp_path: Path, web: Web) -> None:
    """The operator adds the lines that `status` asked for: from the reload on events come."""
    head = HEAD.replace("ring anycastd\n", "ring other\n").replace("ring@anycastd", "ring@other")
    with (
        run_haproxy(tmp_path, one_backend(web), head) as haproxy,
        Watching(haproxy.socket, poll=0.1, interval=1) as watching,
    ):
        watching.until(Snapshot, lambda seen: bool(seen.polling), 2)
        haproxy.configure(one_backend(web))
        haproxy.reload()
        watching.until(Snapshot, lambda seen: not seen.polling, 2)
        assert watching.watcher.event_driven
        only_snapshots(watching)


def test_a_refusal_that_comes_late_is_a_refusal(tmp_path: Path) -> None:
    """HAProxy names its worker, and refuses the events a moment later: polled, with the reason."""
    answer = (CAPTURES / "states-2.6.txt").read_bytes()
    info = answer[answer.rindex(b"\n\n", 0, -2) + 2 :]

    def serve(connection: socket.socket, request: bytes) -> None:
        if b"show events" not in request:
            connection.sendall(answer)
            return
        connection.sendall(info)
        until(lambda: watching.watcher.event_driven, 5)
        connection.sendall(b"No such event sink\n")

    with (
        replace_haproxy(tmp_path / "sock", serve),
        Watching(tmp_path / "sock", poll=0.1, interval=1) as watching,
    ):
        until(lambda: "it has no ring named" in watching.watcher.polling, 5)
        assert not watching.watcher.event_driven
