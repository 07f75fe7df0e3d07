"""List the faults: how each begins and ends, what it touches, and whether a route may change.

Tests, benches and the chaos run share them.  Tables and logs use the names of the faults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.fault import Begin, Fault
from support.fault_checks import CHECK_FAULTS
from support.fault_haproxy import HAPROXY_FAULTS
from support.fault_shortages import SHORTAGES
from support.machine import Machine

MAX_DEATHS, CRASH_LOOP_WINDOW = 4, 75.0
"""Deaths of an agent, or of a lease process, in so many seconds that are no crash loop yet.

Agents are barred at five within 60 s, and ExaBGP ends at the sixth death of its API child: both are
promises of their own.
"""


def _now(begin: Callable[[Machine], Any]) -> Begin:
    return lambda machine, _: begin(machine)


def _stopped(part: str, name: str, lasts: tuple[float, float], *, harmless: bool) -> Fault:
    return Fault(
        name,
        lambda machine, _: machine.stop(part),
        lambda machine, pid: machine.resume(part, pid),
        (part,),
        lasts,
        harmless,
    )


def _killed(*parts: str, harmless: bool) -> Fault:
    return Fault(
        f"{' and '.join(parts)} killed",
        lambda machine, _: machine.kill(*parts),
        parts=parts,
        harmless=harmless,
    )


def _server_down(number: int) -> Fault:
    return Fault(
        f"server {number} down",
        lambda machine, _: machine.set_server(number, running=False),
        lambda machine, _: machine.set_server(number, running=True),
        ("servers",),
        (0.3, 4.0),
        harmless=True,
    )


def _all_servers(machine: Machine, *, there: bool) -> None:
    for number in range(len(machine.appliance.backends)):
        machine.set_server(number, running=there)


def _peer_away(number: int) -> Fault:
    return Fault(
        f"peer {number} away",
        lambda machine, _: machine.remove_peer(number),
        lambda machine, _: machine.return_peer(number),
        ("peer 0", "peer 1"),  # not both at once: that is another fault
        (0.5, 5.0),
        harmless=True,
    )


def _both_away(machine: Machine, _: float) -> None:
    for number in range(len(machine.appliance.peers)):
        machine.remove_peer(number)


def _both_back(machine: Machine, _: Any) -> None:
    for number in range(len(machine.appliance.peers)):
        machine.return_peer(number)


def _family_lost(*numbers: int, harmless: bool) -> Fault:
    def set_family(machine: Machine, *, carried: bool) -> None:
        for number in numbers:
            machine.set_family(number, carried=carried)

    name = f"peer {numbers[0]}" if len(numbers) == 1 else "both peers"
    return Fault(
        f"{name} without the family",
        lambda machine, _: set_family(machine, carried=False),
        lambda machine, _: set_family(machine, carried=True),
        ("peer 0", "peer 1"),
        (0.5, 5.0),
        harmless=harmless,
    )


_HARMLESS = (
    _killed("agent", harmless=True),
    _killed("lease", harmless=True),
    _killed("agent", "lease", harmless=True),
    _stopped("agent", "agent stopped for a moment", (0.2, 2.0), harmless=True),
    _stopped("lease", "lease stopped for a moment", (0.2, 2.0), harmless=True),
    _stopped("exabgp", "exabgp stopped for a moment", (0.2, 2.0), harmless=True),
    Fault(
        "haproxy stopped for a moment",
        _now(Machine.freeze_haproxy),
        lambda machine, _: machine.thaw_haproxy(),
        ("haproxy",),
        (0.2, 1.0),
        harmless=True,
    ),
    Fault("haproxy reloaded", _now(Machine.reload_haproxy), parts=("haproxy",), harmless=True),
    Fault(
        "stats socket taken",
        _now(Machine.occupy_stats_socket),
        lambda machine, _: machine.free_stats_socket(),
        ("haproxy",),
        (0.2, 1.0),
        harmless=True,
    ),
    Fault(
        "haproxy full",
        _now(Machine.fill_haproxy),
        lambda machine, _: machine.empty_haproxy(),
        ("haproxy",),
        (0.5, 4.0),
        harmless=True,
    ),
    _server_down(0),
    _server_down(1),
    Fault("vip removed", _now(Machine.remove_vip), parts=("vip",), harmless=True),
    _peer_away(0),
    _peer_away(1),
    _family_lost(0, harmless=True),
    Fault("peer 0 asks for a refresh", lambda machine, _: machine.refresh(0), harmless=True),
    Fault(
        "machine paused",
        Machine.pause,
        parts=("haproxy", "machine"),
        lasts=(0.5, 5.0),
        harmless=True,
    ),
    Fault(
        "cpu starved",
        _now(Machine.starve),
        lambda machine, _: machine.end_starvation(),
        ("cpu",),
        (1.0, 4.0),
        harmless=True,
    ),
)

_HARMFUL = (
    Fault(
        "agent killed, stays away",
        lambda machine, _: machine.keep_down("agent"),
        lambda machine, _: machine.let_start("agent"),
        ("agent",),
        (6.0, 8.0),
    ),
    _stopped("agent", "agent stopped", (6.0, 8.0), harmless=False),
    _stopped("lease", "lease stopped", (6.0, 8.0), harmless=False),
    _stopped("exabgp", "exabgp stopped", (6.0, 8.0), harmless=False),
    _killed("exabgp", harmless=False),
    _killed("agent", "exabgp", harmless=False),
    _killed("agent", "lease", "exabgp", harmless=False),
    Fault(
        "haproxy killed",
        _now(Machine.kill_haproxy),
        lambda machine, _: machine.start_haproxy(),
        ("haproxy",),
        (0.0, 3.0),
    ),
    Fault(
        "haproxy restarted",
        _now(Machine.stop_haproxy),
        lambda machine, _: machine.start_haproxy(),
        ("haproxy",),
    ),
    Fault(
        "haproxy stopped",
        _now(Machine.freeze_haproxy),
        lambda machine, _: machine.thaw_haproxy(),
        ("haproxy",),
        (5.0, 7.0),
    ),
    Fault(
        "all servers down",
        lambda machine, _: _all_servers(machine, there=False),
        lambda machine, _: _all_servers(machine, there=True),
        ("servers",),
        (0.3, 4.0),
    ),
    _family_lost(0, 1, harmless=False),
    Fault("both peers away", _both_away, _both_back, ("peer 0", "peer 1"), (0.5, 4.0)),
    Fault(
        "machine paused for longer than the hold time",
        Machine.pause,
        parts=("haproxy", "machine"),
        lasts=(10.0, 11.0),
    ),
)

FAULTS = {
    fault.name: fault
    for fault in (*_HARMLESS, *_HARMFUL, *HAPROXY_FAULTS, *SHORTAGES, *CHECK_FAULTS)
}
"""All faults by name."""
