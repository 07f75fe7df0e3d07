"""How cost grows with the number of servers in HAProxy, and with the number of services.

For services the withdrawal of all VIPs at once is measured, beside the same withdrawal by a bare
ExaBGP, and a reload of the agent.
"""

from __future__ import annotations

import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bare import measure_floor, service_prefix
from failover import kill_haproxy, measure_idle, run_trials, set_last_server_down
from noise import print_line, show_progress, summarize

from support.appliance import BODY, PROFILE, Appliance
from support.bgp_wire import Closed, Update
from support.peer import Peer, wait_for
from support.processes import signal_pid
from support.reloads import run_reload

INTER = "1s"
"""Interval of the servers' health checks, which set a server up again."""
SERVERS = (10, 100, 1_000, 10_000)
SERVICES = (1, 10, 100, 1_000)

# Without `healthy`, which would count the disabled servers.
SIMPLE = PROFILE.replace("    healthy: {{backend: web, usable: 50%}}\n", "").replace(
    "    degraded: {{prepend: 3, fall: 0.5}}\n", ""
)
SERVICE = SIMPLE.partition("services:\n")[2]

SERVICES_HEAD = (
    "services   median      max     bare  ratio  reload  saw"
    "  agent %  lease %  agent MB  lease MB exabgp MB"
)


def _server_lines(count: int) -> str:
    """Return the lines of ``count`` disabled servers, which HAProxy does not check."""
    return "".join(f"    server idle{n} 127.0.0.1:9 disabled\n" for n in range(count))


def many_server_lines(count: int, *, named: bool) -> str:
    """Return HAProxy's configuration with ``count`` servers, in the rules' backend or in others."""
    more = max(0, count - 2)
    if named:
        return BODY.replace("frontend web", f"{_server_lines(more)}frontend web")
    each = 50
    other_backends = [
        f"backend other{n}\n{_server_lines(min(each, more - n * each))}"
        for n in range((more + each - 1) // each)
    ]
    return BODY + "".join(other_backends)


def many_services(count: int) -> str:
    """Return a profile with ``count`` services, each with its own VIP, on the same backend."""
    head = SIMPLE.partition("services:\n")[0]
    services = [
        SERVICE.replace("  web:", f"  web{n}:").replace("203.0.113.10/32", service_prefix(n))
        for n in range(count)
    ]
    return f"{head}services:\n{''.join(services)}"


def measure_servers(directory: Path, python: str, count: int, seconds: float) -> dict[str, Any]:
    """Measure with each number of servers, in other backends and in the backend of the rules."""
    print_line("servers in HAProxy: withdrawal at the last peer in ms, idle CPU in %, memory in MB")
    head = (
        f"{'servers':>8} {'in':8} {'killed: median':>14} {'p99':>7} {'down: median':>13} {'p99':>7}"
    )
    print_line(
        f"{head} {'agent %':>8} {'lease %':>8} {'haproxy %':>9} {'agent MB':>9} {'lease MB':>9}"
    )
    found = []
    for named in (False, True):
        for size in SERVERS:
            where = "rules" if named else "others"
            show_progress(f"{size} servers, {where}")
            place = directory / f"{size}-{where}"
            place.mkdir()
            body = many_server_lines(size, named=named)
            with Appliance(
                place, python=python, inter=INTER, body=body, profile=SIMPLE
            ) as appliance:
                appliance.start()
                killed = summarize(run_trials(appliance, kill_haproxy, count))
                down = summarize(run_trials(appliance, set_last_server_down, count))
                cost = measure_idle(appliance, seconds)
            ms = [1000 * each for each in (killed.median, killed.p99, down.median, down.p99)]
            print_line(
                f"{size:8} {where:8} {ms[0]:14.2f} {ms[1]:7.2f} {ms[2]:13.2f} {ms[3]:7.2f} "
                f"{100 * cost['agent_cpu']:8.2f} {100 * cost['lease_cpu']:8.2f} "
                f"{100 * cost['haproxy_cpu']:9.2f} {cost['agent_mb']:9.1f} {cost['lease_mb']:9.1f}"
            )
            found.append(
                {
                    "servers": size,
                    "in": where,
                    "killed": asdict(killed),
                    "down": asdict(down),
                    "idle": cost,
                }
            )
    return {"sizes": found}


def measure_services(directory: Path, python: str, count: int, seconds: float) -> dict[str, Any]:
    """Measure with each number of services: all VIPs are withdrawn when HAProxy is killed."""
    print_line(
        "services with a VIP each: ms until the last of two peers has all withdrawals (bare: of a "
        "bare ExaBGP); reload in s, and the route changes that peers saw meanwhile"
    )
    print_line(SERVICES_HEAD)
    found, wrong = [], []
    for size in SERVICES:
        show_progress(f"{size} services")
        place = directory / f"services-{size}"
        place.mkdir()
        base = summarize(measure_floor(place, python, count, size))
        with Appliance(
            place, python=python, inter="300ms", profile=many_services(size)
        ) as appliance:
            appliance.start_speaker()
            appliance.start_agent()
            took = summarize([_all_withdrawn(appliance, size) for _ in range(count)])
            _wait_all(appliance, size)
            reloaded = [_reload(appliance, size) for _ in range(count)]
            cost = measure_idle(appliance, seconds)
        ratio = took.median / base.median
        reload_times = summarize([each for each, _ in reloaded])
        changes = max(seen for _, seen in reloaded)
        if changes:
            wrong.append(f"reload with {size} services: peers saw {changes} route changes")
        ms = [1000 * each for each in (took.median, took.worst, base.median)]
        print_line(
            f"{size:8} {ms[0]:8.1f} {ms[1]:8.1f} {ms[2]:8.1f} {ratio:6.2f} "
            f"{reload_times.median:7.2f} {changes:4} "
            f"{100 * cost['agent_cpu']:8.2f} {100 * cost['lease_cpu']:8.2f} "
            f"{cost['agent_mb']:9.1f} {cost['lease_mb']:9.1f} {cost['exabgp_mb']:9.1f}"
        )
        found.append(
            {
                "services": size,
                "withdrawn": asdict(took),
                "bare": asdict(base),
                "ratio": ratio,
                "reload": asdict(reload_times) | {"changes": changes},
                "idle": cost,
            }
        )
    for text in wrong:
        print_line(f"WRONG: {text}")
    return {"sizes": found, "wrong": wrong}


def _reload(appliance: Appliance, size: int) -> tuple[float, int]:
    """Reload the agent; return the seconds until it answers, and the route changes at the peers."""
    tables = [dict(peer.table) for peer in appliance.peers]
    closed = [len(peer.list_events(Closed)) for peer in appliance.peers]
    received = [len(peer.events) for peer in appliance.peers]
    began_at = time.monotonic()
    done = run_reload(appliance)
    took = time.monotonic() - began_at
    if done.returncode != 0:
        raise AssertionError(f"the reload failed: {done.stderr}\n{appliance.log()[-3000:]}")
    changes = 0
    for number, peer in enumerate(appliance.peers):
        changes += len(peer.list_events(Closed)) - closed[number]
        table = tables[number]
        for event in peer.events[received[number] :]:
            if isinstance(event, Update):
                changes += len(event.withdrawn)
                changes += sum(table.get(route.prefix) != route for route in event.announced)
    _wait_all(appliance, size)
    return took, changes


def _wait_all(appliance: Appliance, size: int) -> None:
    """Wait until each peer has every VIP by the preferred path."""

    def there() -> bool:
        return all(
            len(peer.table) == size
            and all(len(route.as_path) == 1 for route in list(peer.table.values()))
            for peer in appliance.peers
        )

    wait_for(there, 60, f"{size} preferred routes at both peers\n{appliance.log()[-3000:]}")


def _all_withdrawn(appliance: Appliance, size: int) -> float:
    _wait_all(appliance, size)
    pids = appliance.haproxy.pids()
    at = time.monotonic()
    for pid in pids:
        signal_pid(pid, signal.SIGKILL)
    wait_for(lambda: not any(peer.table for peer in appliance.peers), 20, "all withdrawn")
    last = max(_last(peer, at) for peer in appliance.peers)
    appliance.haproxy.kill()
    appliance.haproxy.start()
    return last - at


def _last(peer: Peer, since: float) -> float:
    """Return when the last withdrawal since a time was received."""
    return max(each.at for each in peer.list_events(Update) if each.withdrawn and each.at >= since)
