from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Snapshot, Unreadable
from support.haproxy import HEAD, Web, free_port, one_backend, replace_haproxy, run_haproxy, until
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
        watching.until(Snapshot, lambda seen: message in seen.polling)
        watching.pass_first_looks()
        start, began = len(watching.seen), time.monotonic()
        until(lambda: len(watching.seen) >= start + 8)
        assert time.monotonic() - began > 0.6
        assert not watching.watcher.event_driven
        web.stop()
        watching.until(Snapshot, down)
        only_snapshots(watching)
        haproxy.kill()
        killed = len(watching.seen)
        watching.until(Gone, timeout=5)
        assert any(isinstance(seen, Gone) for seen in watching.seen[: killed + 2]), "the next look"


def test_a_ring_that_a_reload_brings_is_heard(tmp_path: Path, web: Web) -> None:
    """The operator adds the lines that `status` asked for: from the reload on events come."""
    head = HEAD.replace("ring anycastd\n", "ring other\n").replace("ring@anycastd", "ring@other")
    with (
        run_haproxy(tmp_path, one_backend(web), head) as haproxy,
        Watching(haproxy.socket, poll=0.1, interval=1) as watching,
    ):
        watching.until(Snapshot, lambda seen: bool(seen.polling))
        haproxy.configure(one_backend(web))
        haproxy.reload()
        watching.until(Snapshot, lambda seen: not seen.polling)
        assert watching.watcher.event_driven
        only_snapshots(watching)


def test_a_refusal_that_comes_late_is_a_refusal(tmp_path: Path) -> None:
    """HAProxy names its worker, and refuses the events a moment later: polled, with the reason."""
    answer = (CAPTURES / "states-2.6.txt").read_bytes()
    info = answer[answer.rindex(b"\n\n", 0, -2) + 2 :]
    started: list[Watching] = []  # empty while it starts, and asks already

    def serve(connection: socket.socket, request: bytes) -> None:
        if b"show events" not in request:
            connection.sendall(answer)
            return
        connection.sendall(info)
        until(lambda: any(each.watcher.event_driven for each in started), 5)
        connection.sendall(b"No such event sink\n")

    with (
        replace_haproxy(tmp_path / "sock", serve),
        Watching(tmp_path / "sock", poll=0.1, interval=1) as watching,
    ):
        started.append(watching)
        until(lambda: "it has no ring named" in watching.watcher.polling, 5)
        assert not watching.watcher.event_driven


@pytest.mark.parametrize("text", ["Server web/s1 is DOWN.", "Proxy web stopped (cumulated"])
def test_forged_lines_cost_no_more_than_polling(tmp_path: Path, web: Web, text: str) -> None:
    """The operator's log-format begins with a client's text: polled, at worst, and nothing else."""
    front = """
frontend front
    bind 127.0.0.1:{}
    log-format %[capture.req.hdr(0)]
    http-request capture req.fhdr(User-Agent) len 64
    http-request set-log-level err
    http-request return status 200
"""
    port = free_port()
    with (
        run_haproxy(tmp_path, one_backend(web) + front.format(port)) as haproxy,
        Watching(haproxy.socket, poll=0.25, interval=1) as watching,
    ):
        watching.settled()
        request = f"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: {text}\r\n\r\n".encode()
        start, began, sent = len(watching.seen), time.monotonic(), 0
        with socket.create_connection(("127.0.0.1", port)) as client:
            while time.monotonic() < began + 2 or sent <= 100:
                assert time.monotonic() < began + 60
                client.sendall(request)
                client.recv(4096)
                sent += 1
                time.sleep(0.005)
        assert text in haproxy.ask("show events anycastd")
        assert len(watching.seen) - start <= 20 * (time.monotonic() - began)
        only_snapshots(watching)
        web.stop()
        watching.until(Snapshot, down)


@pytest.mark.parametrize("garbage", [False, True])
def test_a_witness_speaks_for_silence_only(tmp_path: Path, garbage: bool) -> None:
    """Lines of the ring make silence last longer; for a wrong answer they prove nothing."""
    answer = (CAPTURES / "states-2.6.txt").read_bytes()
    info = answer[answer.rindex(b"\n\n", 0, -2) + 2 :]
    mute = threading.Event()

    def serve(connection: socket.socket, request: bytes) -> None:
        if b"show events" in request:
            connection.sendall(info)
            while True:
                connection.sendall(b"127.0.0.1:1 [x] front web/s1 200\n")
                time.sleep(0.02)
        elif not mute.is_set():
            connection.sendall(answer)
        elif garbage:
            connection.sendall(b"Hello\n\n")
        else:
            connection.recv(1)

    with (
        replace_haproxy(tmp_path / "sock", serve),
        Watching(tmp_path / "sock", poll=0.1, interval=0.3) as watching,
    ):
        watching.until(Snapshot, lambda _: watching.watcher.event_driven, 5)
        mute.set()
        watching.until(Unreadable, lambda seen: seen.missed > 1, 5)
        heard = [each.heard_at for each in watching.seen if isinstance(each, Unreadable)]
        assert all(at is None for at in heard) if garbage else None not in heard
