"""The table of promises, fault by fault: what the peers saw, how soon, against the bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bare import floor
from failover import resident
from noise import Spread, progress, say, spread

from support.appliance import Appliance
from support.faults import CRASH_LOOP_WINDOW, FAULTS, MAX_DEATHS
from support.haproxy import until
from support.machine import Machine, pass_time
from support.route_log import common

NOTHING = "nothing"
BACK = "x 7 1"
"""Gone, back at standby, then preferred: how every real absence must look."""

TTL, DEADLINE = 5.0, 3.0
FLOOR = 20
"""Trials of the floor."""
AT_ONCE = 0.5
"""Seconds beyond which 'at once' is wrong behaviour, whatever the machine's noise."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault of the table.

    ``lasts`` seconds from its beginning to its end, then as long as everything takes to be
    preferred again, and ``watch`` seconds from the beginning at least.  ``sees`` is what each of
    the peers may see, ``bound`` how long a route may stand (seconds), ``promise`` the table's
    word for it.  ``awaits`` is waited for before the end, and timed.
    """

    name: str
    begin: Callable[[Machine], Any]
    sees: tuple[str, str]
    promise: str
    bound: float | None = None
    end: Callable[[Machine, Any], object] = lambda _, __: None
    lasts: float = 0.0
    watch: float = 1.0
    awaits: Callable[[Machine, Any], bool] | None = None


def row(
    fault: str,
    sees: str | tuple[str, str],
    promise: str,
    *,
    name: str = "",
    **more: Any,
) -> Row:
    """Make a row of one of the shared faults."""
    one = FAULTS[fault]
    lasts = more.get("lasts", one.lasts[1])
    return Row(
        name or fault,
        lambda machine: one.begin(machine, lasts),
        (sees, sees) if isinstance(sees, str) else sees,
        promise,
        end=one.end,
        **(more | {"lasts": lasts}),
    )


def _pause(seconds: float, sees: str) -> Row:
    fault = FAULTS["machine paused"]
    return Row(
        f"machine paused for {seconds:g} s",
        lambda machine: fault.begin(machine, seconds),
        (sees, sees),
        "0 route changes",
        watch=seconds + 3,
    )


def _agent_and_haproxy(machine: Machine) -> float:
    machine.kill("agent")
    return machine.kill_haproxy()


def _frozen_lease_and_haproxy(machine: Machine) -> int | None:
    pid = machine.stop("lease")
    machine.kill_haproxy()
    return pid


def _start_and_cont(machine: Machine, pid: int | None) -> None:
    machine.start_haproxy()
    machine.resume("lease", pid)


ROWS = (
    row("agent killed", NOTHING, "0 route changes", watch=TTL + 2),
    row("agent killed, stays away", BACK, "lease", bound=TTL + AT_ONCE, lasts=7.0),
    row("agent stopped", BACK, "lease", bound=TTL + AT_ONCE, lasts=7.0),
    row("lease killed", NOTHING, "0 route changes", watch=TTL + 2),
    row(
        "lease stopped",
        NOTHING,
        "found within 5 s, 0 changes",
        lasts=5.5,
        watch=TTL + 7,
        awaits=lambda machine, pid: machine.lease() not in (None, pid),
    ),
    row("exabgp killed", BACK, "10 ms", bound=AT_ONCE),
    row("exabgp stopped", BACK, "5 s", bound=5 + AT_ONCE, lasts=6.0),
    row("agent and lease killed", NOTHING, "0 route changes", watch=TTL + 2),
    row("agent and exabgp killed", BACK, "10 ms", bound=AT_ONCE),
    row("agent and lease and exabgp killed", BACK, "10 ms", bound=AT_ONCE),
    row("haproxy killed", BACK, "F + 10 ms", bound=AT_ONCE, lasts=0.0),
    row("haproxy restarted", BACK, "F + 10 ms", bound=AT_ONCE),
    row("haproxy stopped", BACK, "deadline", bound=DEADLINE + 1 + AT_ONCE, lasts=5.0),
    row("haproxy reloaded", NOTHING, "0 route changes, 0 failed", watch=3.0),
    row("haproxy full", NOTHING, "0 route changes", lasts=4.0, watch=5.0),
    row("stats socket taken", NOTHING, "0 route changes", lasts=1.0, watch=3.0),
    row("all servers down", BACK, "F + 10 ms + checks", bound=AT_ONCE, lasts=0.5),
    row("server 0 down", NOTHING, "0 route changes", name="one of two servers down", lasts=2.0),
    row(
        "vip removed",
        NOTHING,
        "put back in 10 ms",
        watch=2.0,
        awaits=lambda machine, _: machine.has_vip(),
    ),
    row("peer 0 away", ("x 1", NOTHING), "the other: 0 changes", bound=AT_ONCE, lasts=2.0),
    row("both peers away", BACK, "standby first", bound=AT_ONCE, lasts=2.0),
    row("peer 0 asks for a refresh", NOTHING, "0 route changes", watch=2.0),
    *(_pause(seconds, NOTHING) for seconds in (1.0, 3.0, 5.0)),
    row("cpu starved", NOTHING, "0 route changes", lasts=5.0, watch=7.0),
    Row(
        "agent and haproxy killed",
        _agent_and_haproxy,
        (BACK, BACK),
        "lease",
        bound=TTL + AT_ONCE,
        end=lambda machine, _: machine.start_haproxy(),
        lasts=3.0,
    ),
    Row(
        "lease stopped, haproxy killed",
        _frozen_lease_and_haproxy,
        (BACK, BACK),
        "5 s",
        bound=5 + 1 + AT_ONCE,
        end=_start_and_cont,
        lasts=7.0,
    ),
)


@dataclass(slots=True)
class Trial:
    """One time: when each peer's route went (s), what they saw, when all was preferred again."""

    gone: float | None
    stories: tuple[str, ...]
    back: float
    awaited: float | None
    failed: int


def trial(machine: Machine, it: Row) -> Trial:
    """Break it once, mend it, and look at what was seen."""
    machine.wait_settled()
    machine.wait_in_order()
    at = time.monotonic()
    given = it.begin(machine)
    awaited = None
    if it.awaits is not None:
        until(lambda: it.awaits is None or it.awaits(machine, given), it.lasts + 30, 0.001)
        awaited = time.monotonic() - at
    pass_time(at, it.lasts)
    it.end(machine, given)
    ended = time.monotonic()
    pass_time(at, it.watch)
    settled = machine.wait_settled()
    gone = machine.wire.first(at)
    changed = machine.wire.changes(at)
    return Trial(
        max(gone) - at if gone else None,
        tuple(machine.wire.story(at)),
        max(0.0, settled - ended) if changed else 0.0,
        awaited,
        len(machine.traffic.failed(at)),
    )


def rest(it: Row, deaths: dict[str, list[float]]) -> None:
    """Wait until a fault makes no crash loop, which is a promise of its own, and note it."""
    for part, times in deaths.items():
        if part in it.name:
            if len(times) >= MAX_DEATHS:
                pass_time(times[-MAX_DEATHS], CRASH_LOOP_WINDOW)
            times.append(time.monotonic())


def wrong(it: Row, one: Trial) -> list[str]:
    """Say what of a trial is wrong behaviour, not only slow."""
    found = [
        f"{it.name}: peer {number} saw '{seen}', not '{may}'"
        for number, (seen, may) in enumerate(zip(one.stories, it.sees, strict=True))
        if seen != may
    ]
    if it.bound is not None and (one.gone is None or one.gone > it.bound):
        found.append(f"{it.name}: gone after {one.gone} s, {it.bound:g} s are allowed")
    return found


def measure(directory: Path, python: str, count: int, only: str = "") -> dict[str, Any]:
    """Run each fault ``count`` times, print the table, give figures and what was wrong."""
    rows: dict[str, Any] = {}
    violations: list[str] = []
    base = spread(floor(directory, python, FLOOR))
    with Machine(Appliance(directory, python=python)) as machine:
        exabgp = machine.appliance.status()["lease"]["exabgp"]
        say(
            f"faults, {count} times each (ExaBGP {exabgp}, lease {TTL:g} s, deadline {DEADLINE:g} "
            "s, checks each 50 ms); x: no route, 7: standby, 1: preferred; milliseconds"
        )
        say(f"{'F, the floor: bare ExaBGP':57} " + " ".join(f"{ms:8.1f}" for ms in _ms(base)))
        memory = [_memory(machine)]
        chosen = [it for it in ROWS if only in it.name]
        found: dict[str, list[Trial]] = {it.name: [] for it in chosen}
        deaths: dict[str, list[float]] = {"agent": [], "lease": []}
        for number in range(count):  # in turn, so that a noisy minute meets them all
            for it in chosen:
                progress(f"{it.name}: {number + 1} of {count}")
                rest(it, deaths)
                one = trial(machine, it)
                found[it.name].append(one)
                violations += wrong(it, one)
        head = f"{'fault':34} {'peers saw':22} {'median':>8} {'p99':>8} {'max':>8}"
        say(f"{head} {'changes':>7} {'back':>6} {'failed':>6}  promised")
        for it in chosen:
            rows[it.name] = _figures(it, found[it.name])
            say(_line(it, found[it.name], base))
        machine.wait_settled()
        memory.append(_memory(machine))
    say(f"resident memory at the start and at the end, MB: {memory[0]}, {memory[1]}")
    for text in violations:
        say(f"WRONG: {text}")
    return {"floor": asdict(base), "rows": rows, "memory": memory, "wrong": violations}


def _memory(machine: Machine) -> dict[str, float]:
    pids = {part: machine.pid(part) for part in ("agent", "lease", "exabgp")}
    return {part: round(resident(pid), 1) for part, pid in pids.items() if pid is not None}


def _ms(times: Spread) -> tuple[float, float, float]:
    return 1000 * times.median, 1000 * times.p99, 1000 * times.worst


def _times(found: list[Trial]) -> Spread | None:
    times = [one.gone if one.awaited is None else one.awaited for one in found]
    known = [each for each in times if each is not None]
    return spread(known) if known else None


def _changes(one: Trial) -> int:
    """The changes that the peer with the most of them saw."""
    return max(0 if story == NOTHING else len(story.split()) for story in one.stories)


def _line(it: Row, found: list[Trial], base: Spread) -> str:
    times = _times(found)
    shown, promise = ["", "", ""], it.promise
    if times is not None:
        shown = [f"{value:.1f}" for value in _ms(times)]
        if promise.startswith("F + "):
            over = [one - other for one, other in zip(_ms(times), _ms(base), strict=True)]
            promise += f"; it is F {over[0]:+.1f} median, {over[1]:+.1f} p99"
    seen = common([_seen(one) for one in found])
    back = max(one.back for one in found)
    columns = " ".join(f"{text:>8}" for text in shown)
    return (
        f"{it.name:34} {seen:22} {columns} {max(map(_changes, found)):7} {back:6.1f} "
        f"{max(one.failed for one in found):6}  {promise}"
    )


def _seen(one: Trial) -> str:
    return one.stories[0] if len(set(one.stories)) == 1 else " | ".join(one.stories)


def _figures(it: Row, found: list[Trial]) -> dict[str, Any]:
    times = _times(found)
    return {
        "saw": sorted({_seen(one) for one in found}),
        "seconds": None if times is None else asdict(times),
        "changes": max(map(_changes, found)),
        "back": spread([one.back for one in found]).worst,
        "failed_requests": max(one.failed for one in found),
        "bound": it.bound,
        "promise": it.promise,
    }
