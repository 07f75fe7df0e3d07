"""The failover story: speaker, web servers and HAProxy fail and recover, then a drain.

The first three steps are the demonstration of its write-up, whose tables they show again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anycastd.lab.network.azure import PRIMARY, SECONDARY
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import last_answered_by
from anycastd.lab.network.table import paths_by_next_hop
from anycastd.lab.stories.report import StepReport, format_seconds
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
    MAX_OUTAGE,
    Story,
    StoryStep,
    baseline,
    best_next_hop,
    check_agents,
    check_best,
    check_lost,
    check_outage,
    check_premises,
    count_requests,
    seconds_after,
    summarize_requests,
    title_table,
    wait_requests_ended,
)

_ROUTE_SERVERS = PRIMARY.servers


def _play_baseline(lab: Lab, step: StepReport) -> None:
    step.published = "paths 65515 65010 from .12 and .13, 65515 65010 65010 65010 from the others"
    baseline(lab, step)
    check_premises(lab, step)


def _stop_speaker(lab: Lab, step: StepReport) -> None:
    """Stop the speaker, as the write-up does with its ExaBGP."""
    step.published = "the routes of the secondary alone; no ping lost, almost instant"
    step.acted_at = at = lab.faults.stop_speaker(PRIMARY.name)
    rows = lab.wait_levels(20, {PRIMARY.name: "withdrawn"})
    lab.wait_answers(SECONDARY, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    switched = lab.monitors["msee"].moved_at(at, *SECONDARY.gateways)
    step.add_time("switched", f"the MSEE sends to {SECONDARY.title}", seconds_after(at, switched))
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("outage", "outage, as the client sees it", outage.seconds)
    step.add_table("after", title_table(lab), rows)
    count_requests(lab, step, at)
    check_best(lab, step, rows, SECONDARY)
    check_outage(step)


def _start_speaker(lab: Lab, step: StepReport) -> None:
    step.published = "all four routes again; fail-back below 5 ms"
    _recovery(lab, step, lab.faults.start_speaker)


def _failure(lab: Lab, step: StepReport, fault: Callable[[str], float]) -> None:
    step.acted_at = at = fault(PRIMARY.name)
    rows = lab.wait_levels(20, {PRIMARY.name: "withdrawn"})
    lab.wait_answers(SECONDARY, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    servers = {node: lab.monitors[node].lost_at(at) for node in _ROUTE_SERVERS}
    switched = lab.monitors["msee"].moved_at(at, *SECONDARY.gateways)
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("first-failure", "first failed request sent", outage.began_at - at)
    for node, moment in servers.items():
        step.add_time(f"withdrawn-{node}", f"route withdrawn at {node}", seconds_after(at, moment))
    step.add_time("switched", f"the MSEE sends to {SECONDARY.title}", seconds_after(at, switched))
    if outage:
        step.add_time(
            "good-again", "first good answer after the last failure", outage.ended_at - at
        )
    step.times.sort(key=lambda one: one.seconds)
    if outage:
        step.add_time("outage", "outage, as the client sees it", outage.seconds)
    step.add_table("after", title_table(lab), rows)
    count_requests(lab, step, at)
    step.add_check(
        f"{PRIMARY.title}'s routes are gone from its route servers and from the MSEE",
        None not in servers.values() and switched is not None,
        f"{len(rows)} routes are left, all of {SECONDARY.title}",
    )
    check_best(lab, step, rows, SECONDARY)
    check_agents(lab, step, "withdrawn")
    saw = format_seconds(step.outage) if step.outage else "none seen"
    step.add_check(
        f"{SECONDARY.title} answers after an outage shorter than {MAX_OUTAGE:g} s",
        last_answered_by(lab.client.results(at), SECONDARY.name, GOOD_ANSWERS)
        and (step.outage or 0) < MAX_OUTAGE,
        f"{saw}, {summarize_requests(step)}",
    )


def _recovery(lab: Lab, step: StepReport, repair: Callable[[str], float]) -> None:
    step.acted_at = at = repair(PRIMARY.name)
    what = f"{PRIMARY.title} at standby"
    standby = lab.wait_table(
        what, lambda rows: set(PRIMARY.gateways) <= set(paths_by_next_hop(rows)), 30
    )
    rows = lab.wait_preferred(60)
    lab.wait_answers(PRIMARY, 2 * GOOD_ANSWERS, 20)
    wait_requests_ended(lab, at)
    servers = {node: lab.monitors[node].moved_at(at, PRIMARY.nva) for node in _ROUTE_SERVERS}
    switched = lab.monitors["msee"].moved_at(at, *PRIMARY.gateways)
    for node, moment in servers.items():
        step.add_time(
            f"standby-{node}",
            f"announced at {node}, with the standby path",
            seconds_after(at, moment),
        )
    step.add_time("switched", f"the MSEE sends to {PRIMARY.title}", seconds_after(at, switched))
    outage = lab.client.outage(at)
    step.outage = outage.seconds if outage else None
    step.add_table("standby", f"{title_table(lab)}, standby first", standby)
    step.add_table("preferred", "after the return timers", rows)
    count_requests(lab, step, at)
    announced = [moment for moment in servers.values() if moment is not None]
    prepended = [len(paths_by_next_hop(standby)[gateway]) for gateway in PRIMARY.gateways]
    secondary = [len(paths_by_next_hop(standby).get(gateway, ())) for gateway in SECONDARY.gateways]
    step.add_check(
        f"{PRIMARY.title} is first announced at standby, with a path longer than that of "
        f"{SECONDARY.title}, so that no traffic moves",
        min(prepended) > max(secondary) > 0 and best_next_hop(standby) in SECONDARY.gateways,
        f"{min(prepended)} ASNs against {max(secondary)}, best is {best_next_hop(standby)}",
    )
    step.add_check(
        "it becomes preferred later, with its own path",
        paths_by_next_hop(rows) == lab.expected_paths()
        and switched is not None
        and len(announced) == len(servers)
        and switched > max(announced),
        f"{format_seconds(switched - max(announced))} later"
        if switched and announced
        else "not seen",
    )
    check_best(lab, step, rows, PRIMARY)
    check_agents(lab, step)
    check_lost(lab, step, at, switched)


def _drain(lab: Lab, step: StepReport) -> None:
    step.acted_at = at = time.monotonic()
    done = lab.primary.run_command("drain", "--reason", "the story's maintenance")
    standby = lab.wait_levels(20, {PRIMARY.name: "standby"})
    lab.wait_answers(SECONDARY, GOOD_ANSWERS, 20, at)
    moved_at = time.monotonic()
    rows = lab.wait_levels(30, {PRIMARY.name: "withdrawn"})
    lab.wait(f"{PRIMARY.title} to report that it is safe to reboot", lambda: _is_safe(lab), 20)
    wait_requests_ended(lab, at)
    switched = lab.monitors["msee"].moved_at(at, *SECONDARY.gateways)
    gone = {node: lab.monitors[node].lost_at(moved_at) for node in _ROUTE_SERVERS}
    step.add_time("switched", f"the MSEE sends to {SECONDARY.title}", seconds_after(at, switched))
    for node, moment in gone.items():
        step.add_time(f"withdrawn-{node}", f"route withdrawn at {node}", seconds_after(at, moment))
    step.add_table("longest", f"{title_table(lab)}, the longest path first", standby)
    step.add_table("after", "after the wait of the drain", rows)
    count_requests(lab, step, at)
    step.add_check(
        "the command is accepted", done.returncode == 0, done.stderr.strip() or "exit status 0"
    )
    step.add_check(
        f"the client is served by {SECONDARY.title} before the route is withdrawn",
        switched is not None and None not in gone.values(),
        f"{format_seconds(moved_at - at)} after the command",
    )
    check_best(lab, step, rows, SECONDARY)
    check_agents(lab, step, "withdrawn")
    check_lost(lab, step, at, switched)


def _is_safe(lab: Lab) -> bool:
    services = (lab.status(PRIMARY.name) or {}).get("services", {})
    return bool(services) and all(service["safe"] for service in services.values())


def _undrain(lab: Lab, step: StepReport) -> None:
    step.acted_at = at = time.monotonic()
    done = lab.primary.run_command("undrain")
    rows = lab.wait_preferred(60)
    lab.wait_answers(PRIMARY, 2 * GOOD_ANSWERS, 20)
    wait_requests_ended(lab, at)
    switched = lab.monitors["msee"].moved_at(at, *PRIMARY.gateways)
    step.add_time("switched", f"the MSEE sends to {PRIMARY.title}", seconds_after(at, switched))
    step.add_table("preferred", title_table(lab), rows)
    count_requests(lab, step, at)
    step.add_check(
        "the command is accepted", done.returncode == 0, done.stderr.strip() or "exit status 0"
    )
    check_best(lab, step, rows, PRIMARY)
    check_agents(lab, step)
    check_lost(lab, step, at, switched)


_STEPS = (
    StoryStep("baseline", "Baseline: both regions announce the VIP", _play_baseline),
    StoryStep("speaker-stopped", f"The speaker of {PRIMARY.title} is stopped", _stop_speaker),
    StoryStep("speaker-back", "The speaker is started again", _start_speaker),
    StoryStep(
        "backends-killed",
        f"Both web servers of {PRIMARY.title} are killed",
        lambda lab, step: _failure(lab, step, lab.faults.kill_web_servers),
    ),
    StoryStep(
        "backends-back",
        "The web servers are started again",
        lambda lab, step: _recovery(lab, step, lab.faults.start_web_servers),
    ),
    StoryStep(
        "haproxy-killed",
        f"HAProxy of {PRIMARY.title} is killed, master and worker",
        lambda lab, step: _failure(lab, step, lab.faults.kill_haproxy),
    ),
    StoryStep(
        "haproxy-back",
        "HAProxy is started again",
        lambda lab, step: _recovery(lab, step, lab.faults.start_haproxy),
    ),
    StoryStep("drained", f"{PRIMARY.title} is drained: `anycastd drain --reason ...`", _drain),
    StoryStep("undrained", "The drain is ended: `anycastd undrain`", _undrain),
)
STORY = Story(_STEPS, "two regions behind ExpressRoute: faults, returns and a drain")
"""The story, step by step."""
