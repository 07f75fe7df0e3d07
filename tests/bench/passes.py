"""The CPU time of one decision pass over many services and servers."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bare import service_prefix
from noise import print_line, summarize

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.haproxy.servers import Server, Usable
from anycastd.evidence.haproxy.snapshot import Backend, Frontend, Snapshot, Worker
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile
from support.appliance import PROFILE

SERVICES, SERVERS = 1_000, 10_000
ADOPTING, NEW, SAME = (
    "the first one, adopting",
    "a new look, nothing changed",
    "the same look again",
)


def many_backends(count: int) -> Profile:
    """Return a profile with ``count`` services, each with its own VIP and its own backend."""
    head, _, service = PROFILE.partition("services:\n")
    services = [
        service.replace("  web:", f"  web{n}:")
        .replace("203.0.113.10/32", service_prefix(n))
        .replace("backend: web", f"backend: web{n}")
        for n in range(count)
    ]
    text = f"{head}services:\n{''.join(services)}"
    found = validate_profile(
        text.format(ttl=5, socket="/run/haproxy.sock", ring="anycastd", deadline=3), "bench"
    )
    assert found.profile is not None, found
    return found.profile


def make_snapshot(at: float, backends: int, servers: int) -> Snapshot:
    """Return a snapshot of ``backends`` backends with ``servers`` servers each, all up."""
    rows = tuple(
        Server(
            f"s{n}", Usable.YES, "a check has passed", "UP", "L4OK", 1, backup=False, checked=True
        )
        for n in range(servers)
    )
    return Snapshot(
        at,
        Worker(1, 1.0, stopping=False, version="2.6"),
        {f"web{n}": Backend(f"web{n}", "UP", rows, at) for n in range(backends)},
        {"web": Frontend("web", is_open=True, status="OPEN", sessions=0, asked_at=at)},
    )


def measure_passes(count: int) -> dict[str, list[float]]:
    """Return the CPU seconds of passes: ``count`` of each kind, after a first one.

    Each service has three rules: two on a backend of its own, one on a frontend of all.  Nothing
    changes: every server is up, every route is leased, no timer runs.
    """
    profile = many_backends(SERVICES)
    vips = {service.prefix: VipState(usable=True) for service in profile.services.values()}
    neighbors = {
        str(each.address): NeighborReport(Session.UP, 10.0) for each in profile.bgp.neighbors
    }
    found: dict[str, list[float]] = {ADOPTING: [], NEW: [], SAME: []}
    gc.collect()
    gc.freeze()  # as the agent does
    seen: dict[str, Snapshot] = {}
    leased: tuple[Route, ...] = ()
    for _ in range(3):  # from the second time on the leased routes are adopted
        memory: Mapping[str, Memory] = {}
        now = 10.0
        for kind, times in ((ADOPTING, 1), (NEW, count), (SAME, count)):
            for _ in range(times):
                if kind is not SAME:
                    now += 1.0
                    seen = {"main": make_snapshot(now, SERVICES, SERVERS // SERVICES)}
                view = LeaseView(True, Report("i", 1, 1, 5.0, neighbors, leased), leased)
                inputs = Inputs(Evidence(seen), vips, view)
                began_at = time.thread_time()
                step = advance(profile, memory, inputs, now)
                found[kind].append(time.thread_time() - began_at)
                memory, leased = step.memory, step.wanted or ()
    assert len(leased) == SERVICES * len(neighbors)
    return found


def measure(_: Path, __: str, count: int) -> dict[str, Any]:
    """Print all kinds in milliseconds and return the figures."""
    found = measure_passes(max(10, count))
    print_line(
        f"a decision pass over {SERVICES} services and {SERVERS} servers, milliseconds of CPU"
    )
    print_line(f"{'':30}    best  median     p99     max")
    for kind, times in found.items():
        print_line(f"{kind:30} {1000 * min(times):7.2f} {summarize(times)}")
    return {kind: {"best": min(times), **asdict(summarize(times))} for kind, times in found.items()}
