"""The faults of the comparison, and what a client sees of each."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from anycastd.lab.network.outage import RequestResult, find_outage, last_answered_by
from anycastd.lab.network.process_tree import signal_all
from compare.network import INTERVAL, TIMEOUT, A, kill_all, pass_time, wait_for
from compare.systems import Running

STEADY_TIMEOUT = 120.0
ANSWERS = 30
"""So many answers in a row of one region count as an arrival there."""
WATCH = 15.0
"""Seconds for which a fault is watched that should change nothing."""
RETURN_LIMIT = 180.0
"""Seconds for which the return of a region is awaited."""
POLL = 0.05
"""Seconds between two looks at the client's results."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: the outage or the time of the return in seconds, None for never within the limit.

    ``failed`` counts the failed requests, ``moves`` how often another region began to answer.
    """

    seconds: float | None
    failed: int
    moves: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: ``begin`` causes it and returns when (monotonic, s), ``end`` repairs it.

    ``limit`` (s) is how long the other region is awaited; a fault that ``stays`` is only watched.
    """

    name: str
    title: tuple[str, str]
    describes: str
    begin: Callable[[Running], float]
    end: Callable[[Running], object]
    stays: bool = False
    limit: float = 60.0


def _kill_haproxy(running: Running) -> float:
    assert running.a.haproxy is not None
    return running.a.haproxy.kill()


def _stop_haproxy(running: Running) -> float:
    assert running.a.haproxy is not None
    return running.a.haproxy.stop()


def _resume_haproxy(running: Running) -> None:
    assert running.a.haproxy is not None
    running.a.haproxy.resume()


def _restart_haproxy(running: Running) -> None:
    assert running.a.haproxy is not None
    running.a.haproxy.end()
    running.a.start_haproxy()


def _kill_checker(running: Running, *more: int) -> float:
    pids = running.find_checker()
    assert pids, f"{running.system.name}: its checker does not run\n{running.describe()}"
    at = time.monotonic()
    kill_all([*pids, *more])
    return at


def _kill_checker_and_servers(running: Running) -> float:
    servers = running.network.servers[A.name]
    return _kill_checker(running, *(pid for each in servers for pid in each.pids))


def _stop_checker_and_kill_servers(running: Running) -> float:
    signal_all(running.find_checker(), signal.SIGSTOP)
    return running.network.kill_servers(A)


def _resume_checker_and_start_servers(running: Running) -> None:
    signal_all(running.find_checker(), signal.SIGCONT)
    _start_servers(running)


def _start_servers(running: Running) -> None:
    running.network.start_servers(A)


FAULTS = (
    Fault(
        "servers",
        ("servers", "killed"),
        "both web servers of a region killed",
        lambda running: running.network.kill_servers(A),
        _start_servers,
    ),
    Fault("haproxy", ("HAProxy", "killed"), "HAProxy killed", _kill_haproxy, _restart_haproxy),
    Fault(
        "hangs", ("HAProxy", "hangs"), "HAProxy stopped (SIGSTOP)", _stop_haproxy, _resume_haproxy
    ),
    Fault(
        "together",
        ("both", "killed"),
        "the checker and both web servers killed together",
        _kill_checker_and_servers,
        _start_servers,
    ),
    Fault(
        "hung",
        ("checker", "hangs"),
        "the checker stopped (SIGSTOP), then both web servers killed",
        _stop_checker_and_kill_servers,
        _resume_checker_and_start_servers,
        limit=20.0,
    ),
    Fault(
        "checker",
        ("checker", "alone"),
        "the checker killed, the service well",
        _kill_checker,
        lambda _: None,
        stays=True,
    ),
    Fault(
        "host",
        ("host", "dies"),
        "the host cut off silently",
        lambda running: running.network.cut(A),
        lambda running: running.network.mend(A),
    ),
)
"""In the order of a round; the last one leaves a system that has to be started anew."""


def wait_steady(running: Running) -> float:
    """Wait until both regions announce the VIP; return for how long (s)."""
    try:
        return wait_for(
            running.is_steady, STEADY_TIMEOUT, f"{running.system.name} to be steady", 0.1
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{running.describe()}") from None


def run_trial(running: Running, fault: Fault) -> Trial:
    """Cause a fault once, in a random moment of the checker's period, and repair it."""
    wait_steady(running)
    with running.network.requests() as results:
        wait_for(lambda: last_answered_by(results(), "a", ANSWERS), 30, "answers of a", POLL)
        pass_time(random.uniform(0, running.system.period))  # noqa: S311 - a time
        at = fault.begin(running)
        try:
            if fault.stays:
                pass_time(WATCH)
            else:
                wait_for(
                    lambda: last_answered_by(results(), "b", ANSWERS, at), fault.limit, "b", POLL
                )
            arrived = True
        except AssertionError:
            arrived = False
        pass_time(TIMEOUT + 0.2)  # the requests under way end
        seen = results()
    fault.end(running)
    outage = find_outage(seen, at)
    failed = 0 if outage is None else outage.failed
    seconds = 0.0 if outage is None else outage.seconds
    return Trial(seconds if arrived else None, failed, count_moves(seen, at))


def run_return(running: Running) -> Trial:
    """Kill the servers, start them 5 s after the other region answers, and time the return."""
    wait_steady(running)
    with running.network.requests() as results:
        wait_for(lambda: last_answered_by(results(), "a", ANSWERS), 30, "answers of a", POLL)
        at = running.network.kill_servers(A)
        wait_for(lambda: last_answered_by(results(), "b", ANSWERS, at), 60, "answers of b", POLL)
        pass_time(5.0)
        _start_servers(running)
        began_at = time.monotonic()
        try:
            wait_for(
                lambda: last_answered_by(results(), "a", ANSWERS, began_at),
                RETURN_LIMIT,
                "the return",
                POLL,
            )
            back: float | None = time.monotonic() - began_at - ANSWERS * INTERVAL
        except AssertionError:
            back = None
        pass_time(5.0)
        seen = results()
    failed = sum(not each.ok for each in seen if each.sent_at >= began_at)
    return Trial(back, failed, count_moves(seen, began_at))


CYCLES, DOWN, UP = 5, 3.0, 4.0
"""How often the servers go, and for how long (s) they are dead and alive each time."""


def run_restless(running: Running) -> Trial:
    """Kill and start the servers again and again, as a crash loop does; count what follows."""
    wait_steady(running)
    with running.network.requests() as results:
        wait_for(lambda: last_answered_by(results(), "a", ANSWERS), 30, "answers of a", POLL)
        began_at = time.monotonic()
        for _ in range(CYCLES):
            running.network.kill_servers(A)
            pass_time(DOWN)
            _start_servers(running)
            pass_time(UP)
        pass_time(5.0)
        seen = results()
    failed = sum(not each.ok for each in seen if each.sent_at >= began_at)
    return Trial(time.monotonic() - began_at, failed, count_moves(seen, began_at))


def count_moves(results: list[RequestResult], since: float) -> int:
    """Count how often another region began to answer, among requests sent since a time."""
    answers = sorted((each for each in results if each.ok), key=lambda each: each.sent_at)
    before = [each.region for each in answers if each.sent_at < since][-1:]
    regions = before + [each.region for each in answers if each.sent_at >= since]
    return sum(one != other for one, other in pairwise(regions))
