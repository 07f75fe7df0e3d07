"""The story of an AWS VPC Route Server: two zones, BFD against the hold time, persist-routes.

Its write-up shuts the active instance down and waits for BGP; it says that BFD is faster, and
gives no figures.
"""

from __future__ import annotations

import json
import time

from anycastd.lab.network import frr
from anycastd.lab.network.aws import ACTIVE, AMAZON_AS, BFD, STANDBY, VIP, build_topology
from anycastd.lab.network.lab import Lab
from anycastd.lab.stories.report import StepReport, format_seconds
from anycastd.lab.stories.steps import (
    Story,
    StoryStep,
    baseline,
    check_outage,
    count_requests,
    recover,
    seconds_after,
    summarize_requests,
    title_table,
    wait_moved,
    wait_requests_ended,
)

_BGP_PORT = 179
_BOTH = (ACTIVE, STANDBY)
_HOLD_TIME = 9.0  # seconds, `hold_time` of the profiles
_LEAST_HOLD_TIME = 6.0  # seconds: the hold time, less the time since the last keepalive
_SLACK = 3.0  # seconds of a busy machine
_SILENCE = "no whole answer"
_REQUESTS = 20  # failed ones after which the VIP counts as gone


def _play_baseline(lab: Lab, step: StepReport) -> None:
    step.published = "four advertisements, one of them installed"
    lab.wait("BFD to be up", lambda: all(_has_bfd(lab, site.servers) for site in _BOTH), 30)
    baseline(lab, step)
    heard = lab.routers["vpc"].read_table(f"{VIP}/32")
    hops = lab.monitors["vpc"].next_hops()
    step.add_check(
        "of four advertisements the route table has one",
        len(heard) == len(_BOTH) * len(ACTIVE.servers) and hops == ACTIVE.next_hops,
        f"{len(heard)} advertisements, installed: {', '.join(hops)}",
    )
    ports = {node: _read_port(lab, node, site.address) for site in _BOTH for node in site.servers}
    step.add_check(
        "the appliances have dialed: each session ends at port 179 of the endpoint",
        set(ports.values()) == {_BGP_PORT},
        ", ".join(f"{node} port {port}" for node, port in ports.items()),
    )
    said = lab.primary.run_command("check").stdout
    lines = [line.strip() for line in said.splitlines() if "persist-routes" in line]
    step.add_check(
        "`anycastd check` asks for persist-routes to be off",
        bool(lines),
        lines[0] if lines else "it does not",
    )


def _read_port(lab: Lab, node: str, peer: str) -> int:
    """Return the endpoint's own port of its session with an appliance; 0 without a session."""
    answer = json.loads(frr.query_frr(lab.nodes, node, f"show bgp neighbors {peer} json"))
    return int(answer.get(peer, {}).get("portLocal", 0))


def _has_bfd(lab: Lab, nodes: tuple[str, ...]) -> bool:
    """Return whether these endpoints have their BFD session up."""
    try:
        answers = [frr.query_frr(lab.nodes, node, "show bfd peers", "bfdd") for node in nodes]
    except OSError:
        return False
    return all("Status: up" in answer for answer in answers)


def _set_link(lab: Lab, zone: int, state: str) -> float:
    """Set the link of a zone's instance up or down; return when (monotonic clock, s)."""
    now = time.monotonic()
    lab.nodes.run(f"az{zone}", "ip", "link", "set", f"inst{zone}", state)
    return now


def _kill_host(lab: Lab, step: StepReport) -> None:
    """Cut the active instance off without a word, as a machine that dies."""
    step.published = 'BGP notices it "within the configured timeout"; with BFD faster'
    at = _set_link(lab, 1, "down")
    step.acted_at = at
    lab.wait(
        "the route table to use the other zone",
        lambda: lab.monitors["vpc"].next_hops() == STANDBY.next_hops,
        _HOLD_TIME + _SLACK,
        lab.describe,
    )
    lab.wait_answers(STANDBY, _REQUESTS, 20, at)
    wait_requests_ended(lab, at)
    switched = lab.monitors["vpc"].moved_at(at, *STANDBY.next_hops)
    step.add_time("switched", "the route table has the other zone", seconds_after(at, switched))
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("outage", "outage, as the client sees it", outage.seconds)
    step.add_table("after", title_table(lab), lab.read_table())
    count_requests(lab, step, at)


def _die_with_bfd(lab: Lab, step: StepReport) -> None:
    _kill_host(lab, step)
    check_outage(step, _LEAST_HOLD_TIME)


def _die_without_bfd(lab: Lab, step: StepReport) -> None:
    """Switch BFD off at the endpoints, as with `bgp-keepalive`, and cut the instance off."""
    for node in ACTIVE.servers:
        _configure(lab, node, f"no neighbor {ACTIVE.address} bfd")
    _kill_host(lab, step)
    outage = step.outage or 0.0
    step.add_check(
        f"the outage is no longer than the hold time of {_HOLD_TIME:g} s",
        0 < outage < _HOLD_TIME + _SLACK,
        format_seconds(outage),
    )


def _configure(lab: Lab, node: str, line: str) -> None:
    """Give an endpoint a line of configuration below its `router bgp`."""
    commands = ("configure terminal", f"router bgp {AMAZON_AS}", line, "end")
    frr.configure_frr(lab.nodes, node, *commands)


def _revive_host(lab: Lab, step: StepReport) -> None:
    at = _set_link(lab, 1, "up")
    recover(lab, step, lambda _: at, timeout=90)


def _revive_with_bfd(lab: Lab, step: StepReport) -> None:
    _revive_host(lab, step)
    for node in ACTIVE.servers:
        _configure(lab, node, f"neighbor {ACTIVE.address} bfd {BFD}")


def _kill_web_servers(lab: Lab, step: StepReport) -> None:
    step.published = "the route stays, since the instance and its speaker live"
    at = lab.faults.kill_web_servers(ACTIVE.name)
    wait_moved(lab, step, at, STANDBY, "withdrawn", "preferred")
    check_outage(step)


def _start_web_servers(lab: Lab, step: StepReport) -> None:
    recover(lab, step, lambda lab: lab.faults.start_web_servers(ACTIVE.name), timeout=60)


def _persist(lab: Lab, step: StepReport) -> None:
    """Both instances die while the route table keeps what it has, as with persist-routes on.

    The route table's bgpd is stopped (SIGSTOP) for that, so this shows the effect, not AWS.
    """
    lab.routers["vpc"].freeze()
    step.acted_at = at = _set_link(lab, 1, "down")
    _set_link(lab, 2, "down")
    gone = [node for site in _BOTH for node in site.servers]

    def is_up(node: str) -> bool:
        sessions = lab.sessions(node) or {}
        return any(sessions.get(site.address) for site in _BOTH)

    lab.wait("the endpoints to have no session left", lambda: not any(map(is_up, gone)), 15)
    _wait_failed(lab, time.monotonic())
    kept = lab.monitors["vpc"].next_hops()
    step.add_check(
        "with persist-routes a VIP that nobody serves keeps its route, and clients wait in vain",
        kept == ACTIVE.next_hops
        and all(_SILENCE in each.detail for each in lab.client.results(at)[-_REQUESTS:]),
        f"the route table sends to {', '.join(kept)}",
    )
    thawed_at = time.monotonic()
    lab.routers["vpc"].thaw()
    lab.wait("the route to go", lambda: not lab.monitors["vpc"].next_hops(), 20, lab.describe)
    moment = lab.monitors["vpc"].lost_at(at)
    step.add_time("gone", "without it the route is gone", seconds_after(thawed_at, moment))
    _wait_failed(lab, time.monotonic())
    step.add_table("after", title_table(lab), lab.read_table())
    count_requests(lab, step, at)
    empty = not lab.read_table()
    for zone in (1, 2):
        _set_link(lab, zone, "up")  # for `--keep`
    step.add_check(
        "without persist-routes the route table is empty",
        empty,
        summarize_requests(step),
    )


def _wait_failed(lab: Lab, since: float) -> None:
    """Wait until the client's last requests failed."""

    def failed() -> bool:
        last = lab.client.results(since)[-_REQUESTS:]
        return len(last) == _REQUESTS and not any(each.ok for each in last)

    lab.wait(f"{_REQUESTS} requests that fail", failed, 20, lab.describe)


_STEPS = (
    StoryStep("baseline", "Baseline: both instances announce the VIP", _play_baseline),
    StoryStep(
        "host-dead", "The active instance dies without a word; BFD 300 ms x 3", _die_with_bfd
    ),
    StoryStep("host-back", "The instance is back", _revive_host),
    StoryStep(
        "host-dead-keepalive",
        "The same without BFD (`bgp-keepalive`): the hold time decides",
        _die_without_bfd,
    ),
    StoryStep("host-back-again", "The instance is back", _revive_with_bfd),
    StoryStep(
        "backends-killed", "Both web servers of the first zone are killed", _kill_web_servers
    ),
    StoryStep("backends-back", "The web servers are started again", _start_web_servers),
    StoryStep(
        "persist-routes",
        "persist-routes: both instances die, and the route table keeps its route",
        _persist,
    ),
)
STORY = Story(
    _STEPS,
    "an AWS VPC Route Server: two zones, BFD, persist-routes",
    build_topology(),
    notes={"write-up": "it gives no times; its speaker is GoBGP, without a health check"},
    short=("baseline", "host-dead", "host-back", "persist-routes"),
)
"""The story, step by step."""
