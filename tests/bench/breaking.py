"""The table of faults: what the peers saw and how soon, compared with what is promised."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bare import measure_floor
from failover import resident_memory
from noise import Spread, print_line, show_progress, summarize

from support.appliance import Appliance
from support.faults import CRASH_LOOP_WINDOW, FAULTS, MAX_DEATHS
from support.haproxy import until
from support.machine import Machine, pass_time
from support.route_log import find_most_common

NOTHING = "nothing"
RETURNED = "x 7 1"
"""No route, then standby, then preferred: how every real absence must look."""
RETURNED_AT_ONCE = "x 1"

TTL, DEADLINE = 5.0, 3.0
FLOOR_TRIALS = 20
"""Trials of the floor (a bare ExaBGP)."""
IMMEDIATE = 0.5
"""Longest time (s) for an immediate reaction, with the machine's noise."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault of the table.

    The fault lasts ``lasts`` seconds.  A trial ends when everything is preferred again, at the
    earliest ``watch`` seconds after the fault began.  ``sees`` is what each of the peers may see,
    ``bound`` how long a route may stand (s), ``promise`` how the table says that.  ``awaits`` is a
    condition that is awaited before the fault ends; the time until then is measured.
    ``may_skip_standby``: on a slow machine all waits are over before the first decision after the
    fault, so the route may return without standby.
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
    may_skip_standby: bool = False


def make_row(
    fault: str,
    sees: str | tuple[str, str],
    promise: str,
    *,
    name: str = "",
    **more: Any,
) -> Row:
    """Make a row for one of the shared faults."""
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


def _kill_agent_and_haproxy(machine: Machine) -> float:
    machine.kill("agent")
    return machine.kill_haproxy()


def _stop_lease_and_kill_haproxy(machine: Machine) -> int | None:
    pid = machine.stop("lease")
    machine.kill_haproxy()
    return pid


def _start_haproxy_and_cont_lease(machine: Machine, pid: int | None) -> None:
    machine.start_haproxy()
    machine.resume("lease", pid)


ROWS = (
    make_row("agent killed", NOTHING, "0 route changes", watch=TTL + 2),
    make_row("agent killed, stays away", RETURNED, "lease", bound=TTL + IMMEDIATE, lasts=7.0),
    make_row(
        "agent stopped",
        RETURNED,
        "lease",
        bound=TTL + IMMEDIATE,
        lasts=7.0,
        may_skip_standby=True,
    ),
    make_row("lease killed", NOTHING, "0 route changes", watch=TTL + 2),
    make_row(
        "lease stopped",
        NOTHING,
        "found in 5 s, 0 changes",
        lasts=5.5,
        watch=TTL + 7,
        awaits=lambda machine, pid: machine.lease() not in (None, pid),
    ),
    make_row("exabgp killed", RETURNED, "10 ms", bound=IMMEDIATE),
    make_row("exabgp stopped", RETURNED, "5 s", bound=5 + IMMEDIATE, lasts=6.0),
    make_row("agent and lease killed", NOTHING, "0 route changes", watch=TTL + 2),
    make_row("agent and exabgp killed", RETURNED, "10 ms", bound=IMMEDIATE),
    make_row("agent and lease and exabgp killed", RETURNED, "10 ms", bound=IMMEDIATE),
    make_row("haproxy killed", RETURNED, "F + 10 ms", bound=IMMEDIATE, lasts=0.0),
    make_row("haproxy restarted", RETURNED, "F + 10 ms", bound=IMMEDIATE),
    make_row("haproxy stopped", RETURNED, "deadline", bound=DEADLINE + 1 + IMMEDIATE, lasts=5.0),
    make_row("haproxy reloaded", NOTHING, "0 route changes, 0 failed", watch=3.0),
    make_row("haproxy full", NOTHING, "0 route changes", lasts=4.0, watch=5.0),
    make_row("stats socket taken", NOTHING, "0 route changes", lasts=1.0, watch=3.0),
    make_row("all servers down", RETURNED, "F + 10 ms + checks", bound=IMMEDIATE, lasts=0.5),
    make_row(
        "server 0 down", NOTHING, "0 route changes", name="one of two servers down", lasts=2.0
    ),
    make_row(
        "vip removed",
        NOTHING,
        "put back in 10 ms",
        watch=2.0,
        awaits=lambda machine, _: machine.has_vip(),
    ),
    make_row("peer 0 away", ("x 1", NOTHING), "the other: 0 changes", bound=IMMEDIATE, lasts=2.0),
    make_row("both peers away", RETURNED, "standby first", bound=IMMEDIATE, lasts=2.0),
    make_row("peer 0 asks for a refresh", NOTHING, "0 route changes", watch=2.0),
    *(_pause(seconds, NOTHING) for seconds in (1.0, 3.0, 5.0)),
    make_row("cpu starved", NOTHING, "0 route changes", lasts=5.0, watch=7.0),
    Row(
        "agent and haproxy killed",
        _kill_agent_and_haproxy,
        (RETURNED, RETURNED),
        "lease",
        bound=TTL + IMMEDIATE,
        end=lambda machine, _: machine.start_haproxy(),
        lasts=7.0,  # longer than the lease: the route goes, however slowly the agent starts
    ),
    Row(
        "lease stopped, haproxy killed",
        _stop_lease_and_kill_haproxy,
        (RETURNED, RETURNED),
        "5 s",
        bound=5 + 1 + IMMEDIATE,
        end=_start_haproxy_and_cont_lease,
        lasts=7.0,
    ),
)


@dataclass(slots=True)
class Trial:
    """One trial; times in seconds from the beginning of the fault.

    ``gone``: when the last peer lost its route.  ``stories``: what each peer saw.  ``recovery``:
    from the end of the fault until everything was preferred again.
    """

    gone: float | None
    stories: tuple[str, ...]
    recovery: float
    awaited: float | None
    failed: int


def trial(machine: Machine, it: Row) -> Trial:
    """Cause the fault once, repair it, and return what was seen."""
    machine.wait_settled()
    machine.wait_in_order()
    at = time.monotonic()
    begun = it.begin(machine)
    awaited = None
    if it.awaits is not None:
        until(lambda: it.awaits is None or it.awaits(machine, begun), it.lasts + 30, 0.001)
        awaited = time.monotonic() - at
    pass_time(at, it.lasts)
    it.end(machine, begun)
    ended_at = time.monotonic()
    pass_time(at, it.watch)
    settled_at = machine.wait_settled()
    gone = machine.wire.list_first_changes(at)
    changed = machine.wire.changes(at)
    return Trial(
        max(gone) - at if gone else None,
        tuple(machine.wire.describe_changes(at)),
        max(0.0, settled_at - ended_at) if changed else 0.0,
        awaited,
        len(machine.traffic.failed(at)),
    )


def avoid_crash_loop(it: Row, deaths: dict[str, list[float]]) -> None:
    """Wait until one more death is no crash loop, and record it."""
    for part, times in deaths.items():
        if part in it.name:
            if len(times) >= MAX_DEATHS:
                pass_time(times[-MAX_DEATHS], CRASH_LOOP_WINDOW)
            times.append(time.monotonic())


def find_violations(it: Row, one: Trial) -> list[str]:
    """Return the wrong behaviour in a trial as text; a slow reaction alone is none."""
    found = [
        f"{it.name}: peer {number} saw '{seen}', not '{may}'"
        for number, (seen, may) in enumerate(zip(one.stories, it.sees, strict=True))
        if seen != may and not (it.may_skip_standby and seen == RETURNED_AT_ONCE)
    ]
    if it.bound is not None and (one.gone is None or one.gone > it.bound):
        found.append(f"{it.name}: gone after {one.gone} s, {it.bound:g} s are allowed")
    return found


def measure(directory: Path, python: str, count: int, only: str = "") -> dict[str, Any]:
    """Run each fault ``count`` times, print the table, return figures and violations."""
    rows: dict[str, Any] = {}
    violations: list[str] = []
    base = summarize(measure_floor(directory, python, FLOOR_TRIALS))
    with Machine(Appliance(directory, python=python)) as machine:
        exabgp = machine.appliance.status()["lease"]["exabgp"]
        print_line(
            f"faults, {count} times each (ExaBGP {exabgp}, lease {TTL:g} s, "
            f"deadline {DEADLINE:g} s, checks each 50 ms)"
        )
        print_line(
            "x: no route, 7: standby, 1: preferred; until the last peer saw it, milliseconds"
        )
        memory = [_measure_memory(machine)]
        chosen = [it for it in ROWS if only in it.name]
        found: dict[str, list[Trial]] = {it.name: [] for it in chosen}
        deaths: dict[str, list[float]] = {"agent": [], "lease": []}
        for number in range(count):  # in turn, so that a noisy minute affects all of them
            for it in chosen:
                show_progress(f"{it.name}: {number + 1} of {count}")
                avoid_crash_loop(it, deaths)
                one = trial(machine, it)
                found[it.name].append(one)
                violations += find_violations(it, one)
        print_line(f"{'':33} {'peers saw':13} {'median':>7} {'max':>7} changes {'back,s':>6}")
        print_line(f"{'F, the floor: bare ExaBGP':47} {_ms(base)[0]:7.1f} {_ms(base)[2]:7.1f}")
        for it in chosen:
            rows[it.name] = _figures(it, found[it.name])
            print_line(_table_line(it, found[it.name]))
        print_line(f"\n{'':33} {'failed requests':>15}  promised")
        for it in chosen:
            failed = max(one.failed for one in found[it.name])
            print_line(f"{it.name:33} {failed:15}  {_promise(it, found[it.name], base)}")
        machine.wait_settled()
        memory.append(_measure_memory(machine))
    for when, sizes in zip(("start", "end"), memory, strict=True):
        text = ", ".join(f"{part} {size} MB" for part, size in sizes.items())
        print_line(f"resident memory at the {when}: {text}")
    for text in violations:
        print_line(f"WRONG: {text}")
    return {"floor": asdict(base), "rows": rows, "memory": memory, "wrong": violations}


def _measure_memory(machine: Machine) -> dict[str, float]:
    pids = {part: machine.pid(part) for part in ("agent", "lease", "exabgp")}
    return {part: round(resident_memory(pid), 1) for part, pid in pids.items() if pid is not None}


def _ms(times: Spread) -> tuple[float, float, float]:
    return 1000 * times.median, 1000 * times.p99, 1000 * times.worst


def _reaction_times(found: list[Trial]) -> Spread | None:
    times = [one.gone if one.awaited is None else one.awaited for one in found]
    measured = [each for each in times if each is not None]
    return summarize(measured) if measured else None


def _max_changes(one: Trial) -> int:
    """Return how many changes the peer saw that saw the most."""
    return max(0 if story == NOTHING else len(story.split()) for story in one.stories)


def _table_line(it: Row, found: list[Trial]) -> str:
    times = _reaction_times(found)
    shown = ["", ""]
    if times is not None:
        shown = [f"{1000 * value:.1f}" for value in (times.median, times.worst)]
    seen = find_most_common([_what_peers_saw(one) for one in found])
    back = max(one.recovery for one in found)
    changes = max(map(_max_changes, found))
    return f"{it.name:33} {seen:13} {shown[0]:>7} {shown[1]:>7} {changes:7} {back:6.1f}"


def _promise(it: Row, found: list[Trial], base: Spread) -> str:
    """Return what is promised; where that is above the floor, also how far above it is."""
    times = _reaction_times(found)
    if times is None or not it.promise.startswith("F + "):
        return it.promise
    over = [one - other for one, other in zip(_ms(times), _ms(base), strict=True)]
    return f"{it.promise}; F {over[0]:+.1f}, {over[2]:+.1f}"


def _what_peers_saw(one: Trial) -> str:
    return one.stories[0] if len(set(one.stories)) == 1 else " | ".join(one.stories)


def _figures(it: Row, found: list[Trial]) -> dict[str, Any]:
    times = _reaction_times(found)
    return {
        "saw": sorted({_what_peers_saw(one) for one in found}),
        "seconds": None if times is None else asdict(times),
        "changes": max(map(_max_changes, found)),
        "back": summarize([one.recovery for one in found]).worst,
        "failed_requests": max(one.failed for one in found),
        "bound": it.bound,
        "promise": it.promise,
    }
