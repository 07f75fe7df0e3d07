from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from anycastd.evidence.haproxy.look import look_once
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Snapshot, Unreadable
from anycastd.system.clock import OwnTime
from support.haproxy import (
    HEAD,
    HAProxy,
    Web,
    answer_fast,
    answer_slowly,
    free_port,
    one_backend,
    replace_haproxy,
    run_haproxy,
    until,
)
from support.processes import signal_pid
from support.snapshots import query
from support.watcher_thread import Watching

ROOT = Path(__file__).resolve().parents[4]


def up(seen: Snapshot) -> bool:
    """Whether a server of `web` counts."""
    return any(server.usable is Usable.YES for server in seen.backends["web"].servers)


def down(seen: Snapshot) -> bool:
    """Whether no server of `web` counts."""
    return all(server.usable is Usable.NO for server in seen.backends["web"].servers)


def only_snapshots(watching: Watching, start: int = 0) -> None:
    """HAProxy was never lost from sight."""
    assert [seen for seen in watching.seen[start:] if not isinstance(seen, Snapshot)] == []


def test_events_wake_it_long_before_the_next_look(haproxy: HAProxy, web: Web) -> None:
    """A server's way down and up is seen when HAProxy tells it; the heartbeat is 60 s away."""
    with Watching(haproxy.socket, frontends=("web",), interval=60.0) as watching:
        first = watching.settled()
        assert up(first)
        assert first.frontends["web"].is_open
        assert first.polling == ""
        haproxy.ask("disable frontend web")
        watching.until(Snapshot, lambda seen: not seen.frontends["web"].is_open)
        web.stop()
        watching.until(Snapshot, down)
        web.start()
        watching.until(Snapshot, up)
        only_snapshots(watching)


def test_it_looks_at_least_once_in_an_interval(haproxy: HAProxy) -> None:
    """The heartbeat is a look: fresh evidence comes although nothing happens, and no more."""
    with Watching(haproxy.socket, interval=0.2) as watching:
        watching.settled()
        start = len(watching.seen)
        until(lambda: len(watching.seen) >= start + 6)
        times = watching.times[start : start + 6]
        gaps = [after - before for before, after in pairwise(times)]
        assert 0.1 < statistics.median(gaps) < 0.35, "a busy machine may delay one"
        asked = [seen.asked_at for seen in watching.seen[start : start + 6]]
        assert asked == sorted(set(asked)), "each is stamped with its own question"


def test_the_first_looks_of_an_agent_do_not_wait(haproxy: HAProxy) -> None:
    """What grows, such as failed connections, needs two looks; later ones come in their time."""
    with Watching(haproxy.socket, ring=None, interval=5.0, poll=3.0) as watching:
        until(lambda: len(watching.seen) >= 2 and watching.times[-1] - watching.times[0] > 2, 15)
        times = watching.times[:]
        assert times[1] - times[0] < 1.5 < times[-1] - times[-2]
        assert len(times) <= 12


def test_a_killed_haproxy_is_gone_at_once(haproxy: HAProxy) -> None:
    """SIGKILL ends the stream, a new connection is refused: Gone, without any time-out."""
    with Watching(haproxy.socket) as watching:
        watching.settled()
        killed = time.monotonic()
        haproxy.signal(signal.SIGKILL)
        gone = watching.until(Gone)
        assert "refused" in gone.detail
        first = next(n for n, seen in enumerate(watching.seen) if isinstance(seen, Gone))
        assert watching.times[first] - killed < 2
        assert not any(isinstance(seen, Unreadable) for seen in watching.seen)


def count_gone(watching: Watching, start: int) -> int:
    """Count how often HAProxy was found to be gone."""
    return sum(isinstance(seen, Gone) for seen in watching.seen[start:])


def test_absence_is_no_error_and_no_busy_loop(tmp_path: Path, web: Web) -> None:
    """HAProxy missing at the start: Gone at growing intervals, and a proof soon after it is there.

    The same again after it was there: the waiting begins anew with short steps.
    """
    haproxy = HAProxy(tmp_path, one_backend(web))
    try:
        with Watching(haproxy.socket) as watching:
            for _ in range(2):
                start = len(watching.seen)
                until(lambda n=start: len(watching.seen) >= n + 5)  # type: ignore[misc]
                began = time.monotonic()
                many = len(watching.seen)
                until(lambda n=began: time.monotonic() > n + 1.2)  # type: ignore[misc]
                most = 8 * (time.monotonic() - began) / 1.2
                assert len(watching.seen) - many <= most, "about every half second by now"
                until(lambda n=many: len(watching.seen) - n >= 2)  # type: ignore[misc]
                assert all(isinstance(seen, Gone) for seen in watching.seen[start:])
                haproxy.start()
                watching.until(Snapshot, up)
                assert up(watching.settled())
                start = len(watching.seen)
                haproxy.kill()
                until(lambda n=start: count_gone(watching, n) >= 4)  # type: ignore[misc]
                times = [
                    at
                    for at, seen in zip(watching.times[start:], watching.seen[start:], strict=False)
                    if isinstance(seen, Gone)
                ]
                assert min(after - before for before, after in pairwise(times[:4])) < 0.3
    finally:
        haproxy.kill()


def test_a_hung_haproxy_is_unreadable_and_each_miss_is_counted(haproxy: HAProxy) -> None:
    """SIGSTOP is no death: two looks are missed within three intervals, and one answer ends it."""
    with Watching(haproxy.socket, interval=1.0) as watching:
        watching.settled()
        stopped = time.monotonic()
        haproxy.signal(signal.SIGSTOP)
        try:
            second = watching.until(Unreadable, lambda seen: seen.missed == 2)
            assert time.monotonic() - stopped < 3 + 1.5
            assert second.began_at < second.asked_at
            assert second.asked_at - second.began_at == pytest.approx(1.0, abs=0.5)
            assert "no answer within 1 s" in second.detail
            assert not any(isinstance(seen, Gone) for seen in watching.seen)
        finally:
            haproxy.signal(signal.SIGCONT)
        watching.until(Snapshot, up)
        haproxy.signal(signal.SIGSTOP)
        try:
            again = watching.until(Unreadable)
            assert again.missed == 1, "counted anew"
            assert again.began_at > second.began_at
        finally:
            haproxy.signal(signal.SIGCONT)


def test_a_hung_haproxy_that_dies_is_gone_at_once(haproxy: HAProxy) -> None:
    """A look that waits for an answer ends with the process, not with its time."""
    with Watching(haproxy.socket, interval=4) as watching:
        watching.settled()
        haproxy.signal(signal.SIGSTOP)
        until(lambda: time.monotonic() > watching.times[-1] + 4.3)
        killed = time.monotonic()
        haproxy.signal(signal.SIGKILL)
        watching.until(Gone)
        assert time.monotonic() - killed < 2.5


def test_a_short_stats_timeout_is_no_harm(tmp_path: Path, web: Web) -> None:
    """`stats timeout` ends idle streams: no loss, no busy loop, and events still come."""
    head = HEAD.replace("stats maxconn 50", "stats maxconn 50\n    stats timeout 50ms")
    with (
        run_haproxy(tmp_path, one_backend(web), head) as haproxy,
        Watching(haproxy.socket, interval=60.0) as watching,
    ):
        watching.until(Snapshot, up)
        began, start = time.monotonic(), len(watching.seen)
        until(lambda: time.monotonic() > began + 1)
        most = 30 * (time.monotonic() - began)
        assert len(watching.seen) - start <= most, "a stream and its looks, ten times a second"
        web.stop()
        watching.until(Snapshot, down)
        only_snapshots(watching)


def shut_streams(haproxy: HAProxy) -> None:
    """End every connection to the stats socket but the one that asks for it."""
    ours = re.findall(r"^(0x\w+): .*fe=GLOBAL", haproxy.ask("show sess"), re.MULTILINE)
    haproxy.ask(";".join(f"shutdown session {session}" for session in ours) or "show info")


def test_the_end_of_a_stream_is_nobodys_death(haproxy: HAProxy, web: Web) -> None:
    """A stream may be closed for other reasons: a look decides, and the stream is opened again."""
    with Watching(haproxy.socket, interval=60.0) as watching:
        for _ in range(3):
            watching.settled()
            start = len(watching.seen)

            def ended(before: int = start) -> bool:
                # Again, if need be: a stream that was not listed yet is not ended either.
                shut_streams(haproxy)
                return len(watching.seen) > before

            until(ended)
        watching.settled()
        web.stop()
        watching.until(Snapshot, down)
        only_snapshots(watching)


def test_reloads_are_followed_and_old_workers_are_let_go(haproxy: HAProxy, web: Web) -> None:
    """Five reloads: never out of sight, the old worker ends, the new one's events come.

    A held stream would keep the old worker, and would be silent.  Each configuration has another
    proxy in front, so that HAProxy's numbers of the others move.
    """
    more = ""
    with Watching(haproxy.socket, interval=60.0) as watching:
        watching.settled()
        for number in range(5):
            old = haproxy.worker
            more += f"backend more{number}\n    server s1 127.0.0.1:9\n"
            haproxy.configure(more + one_backend(web))
            haproxy.reload()
            until(lambda pid=old: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
            assert haproxy.worker != old
            watching.until(Snapshot, lambda seen: seen.worker.pid == haproxy.worker)
            assert watching.settled().worker.pid == haproxy.worker
        web.stop()
        watching.until(Snapshot, down)
        only_snapshots(watching)
        looks = [seen for seen in watching.seen if isinstance(seen, Snapshot)]
        assert all(set(seen.backends) == {"web"} for seen in looks)


def test_the_first_check_of_a_new_worker_is_awaited(haproxy: HAProxy) -> None:
    """After a reload the servers are unproved until a check has run; its result is seen at once."""
    hung = Web(None)
    slow = f"""
frontend web
    bind 127.0.0.1:{free_port()}
    default_backend web
backend web
    option httpchk
    timeout check 3s
    server s1 127.0.0.1:{hung.port} check inter 200ms
"""
    with Watching(haproxy.socket, poll=0.05) as watching:
        watching.settled()
        start = len(watching.seen)
        haproxy.configure(slow)
        haproxy.reload()
        watching.until(Snapshot, down)
        kinds = [
            server.usable
            for seen in watching.seen[start:]
            if isinstance(seen, Snapshot)
            for server in seen.backends["web"].servers
        ]
        assert kinds.count(Usable.UNPROVED) > 3, "it looks often while a proof is to come"
        assert kinds[-1] is Usable.NO
        only_snapshots(watching)


def test_a_haproxy_that_takes_no_more_connections_is_gone(tmp_path: Path, web: Web) -> None:
    """A soft stop closes the listeners, and the worker lives on for its clients: Gone all the same.

    The stream that we hold must not be what keeps it.
    """
    web.answer = None
    with (
        run_haproxy(tmp_path, one_backend(web, "    option abortonclose")) as haproxy,
        Watching(haproxy.socket) as watching,
        socket.create_connection(("127.0.0.1", haproxy.port)) as client,
    ):
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        watching.settled()
        worker = haproxy.worker
        signal_pid(worker, signal.SIGUSR1)
        watching.until(Gone)
        assert Path(f"/proc/{worker}").exists(), "its client is still served"
        client.close()
        until(lambda: not Path(f"/proc/{worker}").exists())


def test_a_tracked_backend_is_looked_at_as_well(tmp_path: Path, web: Web) -> None:
    """A server that tracks one of another backend is proved by that one's check, and wakes too."""
    config = f"""
backend web
    server s1 127.0.0.1:{web.port} track checks/s1
backend checks
    server s1 127.0.0.1:{web.port} check inter 100ms
"""
    with (
        run_haproxy(tmp_path, config) as haproxy,
        Watching(haproxy.socket, interval=60.0) as watching,
    ):
        assert up(watching.settled())
        web.stop()
        watching.until(Snapshot, down)


def test_a_full_stats_socket_is_unreadable_never_gone(tmp_path: Path, web: Web) -> None:
    """HAProxy leaves the connection above `stats maxconn` without an answer: no one's death."""
    head = HEAD.replace("stats maxconn 50", "stats maxconn 5")
    with (
        run_haproxy(tmp_path, one_backend(web), head) as haproxy,
        contextlib.ExitStack() as clients,
    ):
        for _ in range(8):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(haproxy.socket))
        with Watching(haproxy.socket, interval=0.3) as watching:
            watching.until(Unreadable, lambda seen: seen.missed >= 2)
            clients.close()
            watching.until(Snapshot, up)
            assert not any(isinstance(seen, Gone) for seen in watching.seen)


def test_several_questions_at_a_busy_haproxy_cost_one_connection_each(haproxy: HAProxy) -> None:
    """A burst of events makes few looks: they are coalesced while one is under way."""
    with Watching(haproxy.socket) as watching:
        watching.settled()
        start = len(watching.seen)
        for number in range(100):
            state = "maint" if number % 2 == 0 else "ready"
            haproxy.ask(f"set server web/s1 state {state}")
        until(lambda: len(watching.seen) >= start + 2)
        watching.settled()
        assert len(watching.seen) - start <= 400
        watching.until(Snapshot, up)  # after the next check: a server that is back is unproved


# What is not HAProxy, or not any more ---------------------------------------------------------


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (lambda it, _: it.sendall(b"HTTP/1.0 400 no\n\n"), "show info"),
        (lambda *_: None, "closed without an answer"),
        (lambda it, _: it.sendall(b"# pxname,svname\nweb,"), "ends too early"),
        (answer_slowly, "no answer within 0.5 s"),
        (answer_fast, "more than 16 MiB"),
    ],
    ids=["garbage", "silent", "half", "drip", "flood"],
)
def test_what_is_not_haproxys_answer_is_unreadable(
    tmp_path: Path, serve: Callable[[socket.socket, bytes], object], message: str
) -> None:
    """Garbage, silence, half an answer, a drip and a flood: cannot see, in time, in bounds."""
    path = tmp_path / "s"
    with replace_haproxy(path, serve), Watching(path, interval=0.5) as watching:
        seen = watching.until(Unreadable)
        assert message in seen.detail
        assert str(path) in seen.detail
        began, start = time.monotonic(), len(watching.seen)
        until(lambda: time.monotonic() > began + 1)
        assert len(watching.seen) - start < 12, "no busy loop"
        assert all(isinstance(seen, Unreadable) for seen in watching.seen)


def test_a_stream_that_ends_again_and_again_is_no_busy_loop(tmp_path: Path) -> None:
    """Each stream that begins and ends asks for a look: ten times a second at most."""
    answer = (ROOT / "tests" / "captures" / "states-2.6.txt").read_bytes()
    streams = []

    def serve(connection: socket.socket, request: bytes) -> None:
        if b"show events" in request:
            streams.append(request)
            connection.sendall(answer[answer.rindex(b"Name: HAProxy") :])
        else:
            connection.sendall(answer)

    path = tmp_path / "s"
    with replace_haproxy(path, serve), Watching(path) as watching:
        watching.until(Snapshot)
        began, start = time.monotonic(), len(watching.seen)
        until(lambda: time.monotonic() > began + 1)
        assert 2 <= len(streams) <= 12
        assert len(watching.seen) - start <= 30
        only_snapshots(watching)


def test_a_socket_that_was_taken_away_is_unreadable(haproxy: HAProxy) -> None:
    """While the stream stands a worker lives: the file that is missing is not its death.

    Its end is: with the stream gone, nothing speaks for it any more.
    """
    moved = haproxy.socket.with_name("moved")
    with Watching(haproxy.socket, interval=0.3) as watching:
        watching.settled()
        haproxy.socket.rename(moved)
        seen = watching.until(Unreadable)
        assert "although a worker runs" in seen.detail
        moved.rename(haproxy.socket)
        watching.until(Snapshot, up)
        watching.settled()
        haproxy.socket.rename(moved)
        watching.until(Unreadable)
        assert not any(isinstance(seen, Gone) for seen in watching.seen)
        haproxy.kill()
        watching.until(Gone, timeout=5)


def test_one_look_by_itself(haproxy: HAProxy, tmp_path: Path) -> None:
    """`check` looks once, without a running agent: an answer, an absence, a silence."""
    both = query({"web"}, {"web"})
    seen = asyncio.run(look_once(str(haproxy.socket), both, OwnTime(), 2.0))
    assert isinstance(seen, Snapshot)
    assert set(seen.backends) == set(seen.frontends) == {"web"}
    assert isinstance(asyncio.run(look_once(str(tmp_path / "no"), both, OwnTime(), 2.0)), Gone)
    haproxy.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        silent = asyncio.run(look_once(str(haproxy.socket), both, OwnTime(), 0.3))
        assert isinstance(silent, Unreadable)
        assert 0.25 < time.monotonic() - began < 5
    finally:
        haproxy.signal(signal.SIGCONT)
