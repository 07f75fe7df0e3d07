"""A killed agent on a booted Debian, from SIGKILL to the first Want of the next one.

The package runs in a whole system with systemd as PID 1 (``tests/package``), and its unit starts
the agent again.  The first Want is the line that the lease process logs when it has the message of
an agent that is new to it.  journald stamps this line (CLOCK_MONOTONIC), so the way to the journal
is in the figure.  The steps before it are systemd's own times, and what the control group of the
unit shows from outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noise import print_line, show_progress, summarize

from anycastd.lab.network.namespaces import Nodes
from support.appliance import OWN, PEERS, PROFILE, VIP
from support.bgp_wire import Update
from support.faults import CRASH_LOOP_WINDOW, MAX_DEATHS
from support.haproxy import Web
from support.peer import Peer, wait_for
from support.processes import signal_pid
from systems import System, build_packages, make_base_systems

ROOT = Path(__file__).resolve().parents[2]
NODE = "nva"
UNIT = "anycastd.service"
TRIALS = 12
"""Deaths of the agent that are measured."""
APART = CRASH_LOOP_WINDOW / MAX_DEATHS
"""Seconds between two deaths: no crash loop, neither for the lease process nor for the unit."""
LOOK_INTERVAL = 0.0005
TIMEOUT = 20.0
BOOT = ("sh", str(ROOT / "tests" / "package" / "boot.sh"))
OWNS = re.compile(r"the agent with pid (\d+) owns the lease")


@dataclass(frozen=True, slots=True)
class Restart:
    """The steps from a death to the first Want, in seconds.

    ``noticed``: until systemd has seen the end.  ``after_end``: the command of ExecStopPost=.
    ``waited``: RestartSec= and the start job, until there is a process.  ``sandbox``: what systemd
    does in this process before exec.  ``want``: from exec to the first Want.
    """

    noticed: float
    after_end: float
    waited: float
    sandbox: float
    want: float

    @property
    def until_exec(self) -> float:
        """Return what is systemd's: from SIGKILL to exec."""
        return self.noticed + self.after_end + self.waited + self.sandbox


STEPS = {
    "SIGKILL until systemd has seen it": "noticed",
    "ExecStopPost=": "after_end",
    "RestartSec= and the start job": "waited",
    "sandbox, until exec": "sandbox",
    "exec to the first Want": "want",
}
"""Label of a row -> field."""


def measure(directory: Path) -> dict[str, Any]:
    """Boot a system, kill its agent again and again; print and return the figures."""
    name = f"anycastd-probe-{os.getpid()}"
    if subprocess.run([*BOOT, "probe", name], capture_output=True, check=False).returncode:
        why = "this machine cannot boot a system inside itself (no cgroup2)"
        print_line(f"SKIPPED: {why}")
        return {"skipped": why}
    show_progress("building the packages and a system to boot")
    suite = os.environ.get("SUITE") or read_release()
    packages = build_packages(directory)
    base = make_base_systems({suite}, packages)[suite]
    nodes = Nodes((NODE,))
    system = System(nodes, NODE, suite, base)
    with contextlib.ExitStack() as stack:
        stack.callback(system.sweep)
        stack.enter_context(nodes)
        system.boot()
        system.up()
        with _appliance(nodes, system) as peers:
            found = time_restarts(system, peers)
        about = system.run(
            "systemctl --version | head -n 1; python3 --version;"
            f"systemctl show --property RestartUSec {UNIT}"
        )
    return report(found, ", ".join((suite, *about.splitlines())))


def read_release() -> str:
    """Read the name of this machine's Debian release, for which no other is named in SUITE."""
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=(\S+)$", text, re.MULTILINE)
    assert found, "/etc/os-release names no Debian release"
    return found[1]


@contextlib.contextmanager
def _enter_network(path: str) -> Iterator[None]:
    """Move the calling thread into a network namespace, and back at the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    before, there = (os.open(each, os.O_RDONLY) for each in ("/proc/thread-self/ns/net", path))
    try:
        assert not libc.setns(there, 0x40000000), os.strerror(ctypes.get_errno())
        yield
    finally:
        assert not libc.setns(before, 0x40000000), os.strerror(ctypes.get_errno())
        for each in (before, there):
            os.close(each)


@contextlib.contextmanager
def _appliance(nodes: Nodes, system: System) -> Iterator[list[Peer]]:
    """Install the package and bring its VIP up, with two web servers and two peers."""
    # A boot removes the addresses of the loopback.
    for address in (OWN, *PEERS):
        system.run(f"ip address add {address}/32 dev lo")
    show_progress("installing the package")
    system.run("cp /packages/anycastd_*.deb /root; apt-get install -y haproxy /root/anycastd_*.deb")
    path = f"/proc/{nodes.pid}/root{nodes.namespace_path(NODE)}"
    with _enter_network(path), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(address, 179)) for address in PEERS]
        config = (ROOT / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
        for name in ("web1", "web2"):
            web = Web()
            stack.callback(web.stop)
            config = re.sub(rf"(server {name}) \S+", rf"\1 127.0.0.1:{web.port}", config)
        system.write("/etc/haproxy/haproxy.cfg", config)
        settings = {"ttl": 5, "deadline": 3, "ring": "anycastd"}
        profile = PROFILE.format(socket="/run/haproxy/anycastd.sock", **settings)
        system.write("/etc/anycastd/profile.yaml", profile)
        system.run("systemctl restart haproxy; systemctl start anycastd")
        wait_for(
            lambda: [len(peer.table) for peer in peers] == [1, 1] and _is_in_order(system),
            60,
            f"a route at each peer\n{system.journal()}",
        )
        yield peers


def _is_in_order(system: System) -> bool:
    status = system.try_run("anycastd", "status", "--json").stdout
    with contextlib.suppress(ValueError):
        web = json.loads(status)["services"]["web"]
        return web["level"] == "preferred" and bool(web["in_sync"])
    return False


def time_restarts(system: System, peers: list[Peer]) -> list[Restart]:
    """Kill the agent ``TRIALS`` times.

    Raises AssertionError where a peer noticed it, or the speaker is another one afterwards.
    """
    found = []
    speaker = system.main_pid("anycastd-speaker")
    updates = [len(peer.list_events(Update)) for peer in peers]
    for number in range(TRIALS):
        show_progress(f"death {number + 1} of {TRIALS}")
        began_at = time.monotonic()
        found.append(time_restart(system))
        wait_for(lambda: _is_in_order(system), 20, "the agent to be in order")
        wait_for(lambda: time.monotonic() - began_at > APART, APART + 5, "time to pass")  # noqa: B023
    assert system.main_pid("anycastd-speaker") == speaker, "the speaker was restarted as well"
    assert [len(peer.list_events(Update)) for peer in peers] == updates, "a peer got an UPDATE"
    assert all(f"{VIP}/32" in peer.table for peer in peers)
    return found


def time_restart(system: System) -> Restart:
    """Kill the agent by SIGKILL; return the steps until the first Want of the next one."""
    path = f"/proc/{system.first_pid()}/root/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs"
    procs = Path(path)
    (old,) = _read_pids(procs)
    killed_at = time.monotonic()
    signal_pid(old, signal.SIGKILL)
    executed_at = wait_for_exec(procs, old, killed_at + TIMEOUT)
    inside = wait_for(lambda: system.main_pid(UNIT), TIMEOUT, "a new main process")
    lines = wait_for(lambda: _read_lines(system, killed_at, inside), TIMEOUT, "the first Want")
    assert lines is not None
    shown = system.run(
        f"systemctl show -p ActiveExitTimestampMonotonic -p ExecMainStartTimestampMonotonic {UNIT}"
    )
    times = {line.split("=")[0]: int(line.split("=")[1]) / 1e6 for line in shown.splitlines()}
    noticed_at = times["ActiveExitTimestampMonotonic"]
    forked_at = times["ExecMainStartTimestampMonotonic"]
    ended_at, want_at = lines
    return Restart(
        noticed_at - killed_at,
        ended_at - noticed_at,
        forked_at - ended_at,
        executed_at - forked_at,
        want_at - executed_at,
    )


def wait_for_exec(procs: Path, old: int, timeout_at: float) -> float:
    """Wait until a new process of the unit runs the agent; return when that was seen.

    Before exec systemd's own process has the name of the program in brackets.
    """
    while True:
        for pid in _read_pids(procs):
            if pid != old and _read_name(pid) == "anycastd":
                return time.monotonic()
        assert time.monotonic() < timeout_at, f"no new agent in {TIMEOUT:g} s"
        time.sleep(LOOK_INTERVAL)


def _read_pids(procs: Path) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in procs.read_text(encoding="ascii").split()]
    return []


def _read_name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


def _read_lines(system: System, since: float, pid: int) -> tuple[float, float] | None:
    """Return when systemd had run ExecStopPost=, and when the Want of agent ``pid`` had arrived.

    None while the journal does not have both.
    """
    ended_at = want_at = 0.0
    output = system.run("journalctl -b -o json --no-pager -n 60 -u anycastd -u anycastd-speaker")
    for line in output.splitlines():
        entry = json.loads(line)
        at = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
        said = str(entry["MESSAGE"])
        if at < since:
            continue
        if "Failed with result" in said:
            ended_at = at
        if (owner := OWNS.search(said)) and int(owner[1]) == pid and not want_at:
            want_at = at
    return (ended_at, want_at) if ended_at and want_at else None


def report(found: list[Restart], about: str) -> dict[str, Any]:
    """Print the table; return the figures."""
    rows = {label: [float(getattr(each, name)) for each in found] for label, name in STEPS.items()}
    rows["SIGKILL to exec"] = [each.until_exec for each in found]
    rows["SIGKILL to the first Want"] = [each.until_exec + each.want for each in found]
    print_line("a killed agent on a booted system until its next Want, milliseconds")
    print_line(about)
    print_line(f"{'':34}  median     p99     max           least")
    figures: dict[str, Any] = {"about": about}
    for label, values in rows.items():
        row, least = summarize(values), min(values)
        print_line(f"{label:34} {row} {1000 * least:7.2f}")
        figures[label] = asdict(row) | {"least": least}
    return figures
