"""Faults of what surrounds anycastd: descriptors, memory, CPU, disk, log, clock, floods, calls.

In the journal a part is `slow` until `fast` while it gets little CPU, `scarce` until `free` while
it lacks descriptors, and `hurt` until `whole` while it lacks memory or its system calls fail: it
may end by that, and its unit starts it again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.cgroups import CpuShare, find_cpu_root
from support.fault import Fault
from support.machine import Machine
from support.silent_clients import SilentClients, open_tcp, open_unix
from support.strace_calls import STRACE, fail_calls, let_succeed
from support.surroundings import WEB, Surroundings

MEGABYTE = 1 << 20
SHARE = 0.2
"""Of one CPU, for a process that gets little of it."""
FLOOD = 300
LEASE_FLOOD = 100
LASTS = (0.5, 3.0)
CALLS = {
    "agent": "socket,connect,accept4,openat,sendto",
    "lease": "socket,accept4,openat,recvfrom",
    "exabgp": "socket,accept4,openat,connect",
}
"""Which calls of each part fail; the sessions' own calls are left alone."""
TRANSFERS = "sendto,sendmsg,write,recvfrom,recvmsg,read"
"""Calls that send and receive, on whatever."""
DISK_CALLS = "fsync,rename,renameat,renameat2"
"""Calls without which no file is replaced."""


def around(machine: Machine) -> Surroundings:
    """Return the machine's surroundings; AssertionError where it has none."""
    assert machine.surroundings is not None, "use run_surrounded"
    return machine.surroundings


# Limits -------------------------------------------------------------------------------------------

Limited = tuple[int, int, tuple[int, int]] | None


def _limit(pid: int, kind: int, most: int) -> Limited:
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))
    return pid, kind, before


def _unlimit(limited: Limited) -> None:
    if limited is not None:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(*limited)


def _lowest_free_descriptor(pid: int) -> int:
    """Find the lowest number that none of a process's lasting descriptors has."""
    lasting = set(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(20):
        time.sleep(0.005)
        lasting &= set(os.listdir(f"/proc/{pid}/fd"))
    return next(number for number in itertools.count() if str(number) not in lasting)


def _no_descriptors(part: str, *more: str) -> Fault:
    def begin(machine: Machine, _: float) -> Limited:
        machine.record(part, "scarce")
        with contextlib.suppress(OSError):
            if pid := machine.pid(part):
                return _limit(pid, resource.RLIMIT_NOFILE, _lowest_free_descriptor(pid))
        return None

    def end(machine: Machine, limited: Limited) -> None:
        _unlimit(limited)
        machine.record(part, "free")

    return Fault(f"{part} out of descriptors", begin, end, (part, *more), (0.5, 4.0), harmless=True)


def _no_memory(part: str, *, harmless: bool) -> Fault:
    def begin(machine: Machine, _: float) -> Limited:
        machine.record(part, "hurt")
        with contextlib.suppress(OSError):
            if pid := machine.pid(part):
                size = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
                return _limit(pid, resource.RLIMIT_AS, size * resource.getpagesize() + MEGABYTE)
        return None

    def end(machine: Machine, limited: Limited) -> None:
        _unlimit(limited)
        machine.record(part, "whole")

    return Fault(f"{part} out of memory", begin, end, (part,), LASTS, harmless, (part,))


def _little_cpu(part: str) -> Fault:
    def begin(machine: Machine, _: float) -> CpuShare | None:
        machine.record(part, "slow")
        with contextlib.suppress(OSError):
            if pid := machine.pid(part):
                return CpuShare(pid, SHARE)
        return None

    def end(machine: Machine, share: CpuShare | None) -> None:
        if share is not None:
            share.end()
        machine.record(part, "fast")

    return Fault(f"{part} has little cpu", begin, end, (part,), LASTS, harmless=True)


def _calls_fail(
    part: str, error: str, *, harmless: bool, calls: str = "", what: str = "calls"
) -> Fault:
    def begin(machine: Machine, _: float) -> Any:
        machine.record(part, "hurt")
        pid = machine.pid(part)
        return None if pid is None else fail_calls(pid, calls or CALLS[part], error, 3)

    def end(machine: Machine, strace: Any) -> None:
        if strace is not None:
            let_succeed(strace)
        machine.record(part, "whole")

    return Fault(f"{what} of {part} fail: {error}", begin, end, (part,), LASTS, harmless, (part,))


def _disk_fails(error: str) -> Fault:
    """Let the agent write no file; it goes on."""

    def begin(machine: Machine, _: float) -> Any:
        pid = machine.pid("agent")
        return None if pid is None else fail_calls(pid, DISK_CALLS, error, 1)

    def end(machine: Machine, strace: Any) -> None:
        # The agent may stand still while strace lets go of it.
        machine.record("agent", "slow")
        if strace is not None:
            let_succeed(strace)
        machine.record("agent", "fast")

    return Fault(
        f"disk of agent fails: {error}", begin, end, ("agent", "disk"), LASTS, harmless=True
    )


# What surrounds them ------------------------------------------------------------------------------


def _flood(name: str, connect: Callable[[Machine], socket.socket], count: int) -> Fault:
    def begin(machine: Machine, _: float) -> SilentClients:
        machine.record(f"flood {name}", "up")
        return SilentClients(lambda: connect(machine), count).__enter__()

    def end(machine: Machine, clients: SilentClients) -> None:
        clients.__exit__(None, None, None)
        machine.record(f"flood {name}", "down")

    return Fault(f"flood of {name}", begin, end, (f"flood {name}",), (1.0, 5.0), harmless=True)


def _step(machine: Machine, seconds: int) -> None:
    around(machine).step_clock(seconds)


def _shorten_hold_time(machine: Machine, seconds: int) -> None:
    """Have peer 0 open its session anew with another hold time."""
    machine.appliance.peers[0].hold_time = seconds
    machine.remove_peer(0)
    machine.return_peer(0)


def _shorter(machine: Machine, _: float) -> int:
    before = machine.appliance.peers[0].hold_time
    machine.record("hold time", "short")
    _shorten_hold_time(machine, 6)
    return before


def _longer(machine: Machine, before: int) -> None:
    _shorten_hold_time(machine, before)
    machine.record("hold time", "long")


_EVERYWHERE = (
    _no_descriptors("agent"),
    _no_descriptors("lease"),
    # It cannot start another lease process meanwhile, and not connect to a peer that is back.
    _no_descriptors("exabgp", "lease", "peer 0", "peer 1"),
    _no_memory("agent", harmless=True),
    _no_memory("lease", harmless=True),
    _no_memory("exabgp", harmless=False),
    _flood("http", lambda _: open_tcp(WEB), FLOOD),
    _flood(
        "control", lambda it: open_unix(it.appliance.directory_of("agent") + "/agent.sock"), FLOOD
    ),
    _flood("lease", lambda it: open_unix(str(it.appliance.lease)), LEASE_FLOOD),
    Fault(
        "log not read",
        lambda machine, _: around(machine).log.stop(),
        lambda machine, _: around(machine).log.resume(),
        ("log",),
        (2.0, 9.0),  # also for longer than a lease
        harmless=True,
    ),
    Fault(
        "disk full",
        lambda machine, _: around(machine).fill_disk(),
        lambda machine, _: around(machine).free_disk(),
        ("disk",),
        (1.0, 6.0),
        harmless=True,
    ),
    *(
        Fault(
            f"clock a minute {name}",
            lambda machine, _, step=step: _step(machine, step),  # type: ignore[misc]
            lambda machine, _: _step(machine, 0),
            ("clock",),
            (1.0, 6.0),
            harmless=True,
        )
        for name, step in (("fast", 60), ("slow", -60))
    ),
    Fault(
        "peer 0 with a shorter hold time",
        _shorter,
        _longer,
        ("peer 0", "peer 1"),
        (1.0, 5.0),
        harmless=True,
    ),
)
SHORTAGES = (
    *_EVERYWHERE,
    *((_little_cpu(part) for part in ("agent", "lease", "exabgp")) if find_cpu_root() else ()),
    *(
        (
            _calls_fail("agent", "ENOMEM", harmless=True),
            _calls_fail("agent", "EMFILE", harmless=True),
            _calls_fail("lease", "ENOMEM", harmless=True),
            _calls_fail("exabgp", "ENOMEM", harmless=False),
            *(
                _calls_fail(part, error, harmless=True, calls=TRANSFERS, what="transfers")
                for part in ("agent", "lease")
                for error in ("EIO", "ENOBUFS")
            ),
            *map(_disk_fails, ("EIO", "EROFS")),
        )
        if STRACE
        else ()
    ),
)
"""All of them; those by control groups and by strace where this machine has these."""
