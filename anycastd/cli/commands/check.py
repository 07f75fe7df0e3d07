"""`anycastd check FILE...`: do everything that `run` does, except starting it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence

from anycastd.bgp.session import Session
from anycastd.cli.check_machine import (
    find_master_sockets,
    find_profiles_of_machine,
    report_machine,
    report_skipped,
)
from anycastd.cli.output import (
    NO_STEERING,
    format_duration,
    format_table,
    print_error,
    print_line,
    print_lines,
)
from anycastd.cli.profile_file import read_profile
from anycastd.decision.forecast import forecast_levels
from anycastd.decision.pipeline import Inputs, LeaseView, VipState
from anycastd.decision.routes import build_wanted_path
from anycastd.evidence.haproxy.advice import DISABLED_PROXY, find_slots, list_backend_rules
from anycastd.evidence.haproxy.event_stream import explain_polling
from anycastd.evidence.haproxy.inventory import InventoryError, read_inventory
from anycastd.evidence.haproxy.look import look_once
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot
from anycastd.evidence.machine.facts import MachineProblem
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.prober import probe_once
from anycastd.evidence.vip.selftest import Probe, describe_target
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.compare import Comparison, compare_regions
from anycastd.profile.model import Instance, Profile
from anycastd.speaker.directory import lease_command
from anycastd.speaker.exabgp import config
from anycastd.speaker.foreign import find_foreign_exabgps
from anycastd.system.clock import OwnTime
from anycastd.system.exit_codes import DONE, EX_CONFIG

FORECAST_DURATION = 3600.0
"""Seconds of the forecast."""
LOOK_TIMEOUT = 2.0
"""Seconds for the one look at HAProxy."""
STREAM_TIMEOUT = 0.3
"""Seconds in which HAProxy may refuse to send events."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a region's profile")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--here",
        action="store_const",
        const=True,
        help="look at this machine, even where local_address is not here",
    )
    where.add_argument(
        "--not-here",
        dest="here",
        action="store_const",
        const=False,
        help="the profiles are for other machines: do not look at this one",
    )


def main(args: argparse.Namespace) -> int:
    """Check every file, print every problem, and compare the profiles that can be used.

    Returns the exit code: 0, or 78 where a profile cannot be used, they do not fit together, or it
    cannot work on this machine.
    Raises ExitError where ExaBGP cannot read the path of this Python, OSError without /proc.
    """
    validations = {path: read_profile(path) for path in dict.fromkeys(args.files)}
    problems = [problem for each in validations.values() for problem in each.problems]
    usable = [(path, it.profile) for path, it in validations.items() if it.profile is not None]
    comparison = compare_regions(usable, {path: it.lines for path, it in validations.items()})
    problems += comparison.problems
    for problem in problems:
        print_error(str(problem))
    found = _print_profiles(usable, here=args.here)
    if usable:
        print_lines(f"  {other}" for other in find_foreign_exabgps())
    if comparison.matrices:
        print_lines((*_comparison(comparison), ""))
    unusable = len(validations) - len(usable)
    if unusable:
        print_error(f"anycastd: {unusable} of {len(validations)} profiles cannot be used")
        return EX_CONFIG
    if not all(problem.warning for problem in problems):
        print_error("anycastd: the profiles do not fit together")
        return EX_CONFIG
    if any(each.hopeless for each in found):
        print_error("anycastd: this cannot work on this machine; see the lines above")
        return EX_CONFIG
    warnings = len(problems) + len(found)
    tail = f"; {warnings} warning{'s' if warnings > 1 else ''} above" if warnings else ""
    print_line(f"{len(usable)} profile{'s' if len(usable) > 1 else ''} can be used{tail}")
    return DONE


def _print_profiles(
    usable: Sequence[tuple[str, Profile]], *, here: bool | None
) -> list[MachineProblem]:
    """Print what each profile would do, and on the machine that it is for, what does not fit."""
    looks = {
        path: {name: _look(profile, each) for name, each in profile.haproxy.items()}
        for path, profile in usable
    }
    of_machine = find_profiles_of_machine(usable, looks, here=here)
    found: list[MachineProblem] = []
    for path, profile in usable:
        masters = find_master_sockets(profile, looks[path])
        report = (
            report_machine(profile, looks[path]) if path in of_machine else report_skipped(profile)
        )
        found += (own := [*masters, *report.problems])
        for each in own:
            print_error(f"{path}: this machine: {each}")
        probes = {
            name: asyncio.run(probe_once(each.vip, each.self_test, OwnTime()))
            for name, each in profile.services.items()
            if each.self_test is not None
        }
        lines = _profile(path, profile, looks[path], probes)
        print_lines((*lines, f"  {report.summary}", ""))
    return found


def _look(profile: Profile, instance: Instance) -> Observation:
    """Look at HAProxy once, as `run` does first."""
    query = Query.from_profile(profile, instance.name)
    return asyncio.run(look_once(instance.socket, query, OwnTime(), LOOK_TIMEOUT))


def _profile(
    path: str,
    profile: Profile,
    looks: Mapping[str, Observation],
    probes: Mapping[str, Probe],
) -> Iterator[str]:
    yield f"{path}: region {profile.region}, platform {profile.platform.value}"
    for name, instance in profile.haproxy.items():
        yield from _haproxy(profile, instance, looks[name])
    for name, probe in probes.items():
        service = profile.services[name]
        if service.self_test is not None:
            what = describe_target(service.self_test)
            yield f"  self-test of {name}: {probe.outcome.value} on {what} ({probe.detail})"
    yield "  decision"
    yield from _decisions(profile, looks, probes)
    yield "  ExaBGP configuration, as the speaker would write it"
    hidden = {
        neighbor.address: "(hidden)" for neighbor in profile.bgp.neighbors if neighbor.md5_file
    }
    text = config.build_config(profile, lease_command("/run/anycastd-speaker"), hidden)
    yield from (f"    {line}".rstrip() for line in text.splitlines())


def _haproxy(profile: Profile, instance: Instance, look: Observation) -> Iterator[str]:
    if not isinstance(look, Snapshot):
        state = "is not running" if isinstance(look, Gone) else "does not answer"
        yield f"  haproxy {instance.name}: {state} ({look.detail})"
        return
    worker = look.worker
    up = format_duration(worker.uptime)
    process = f"HAProxy {worker.version}, pid {worker.pid}, up {up}"
    yield f"  haproxy {instance.name}: answers ({process})"
    if reason := asyncio.run(explain_polling(instance, STREAM_TIMEOUT)):
        yield f"    polled every {instance.poll:g} s, not event-driven: {reason}"
    servers = {each.name: each.servers for each in look.backends.values()}
    for slots in find_slots(list_backend_rules(profile, instance.name), servers):
        yield f"    {slots}"
    query = Query.from_profile(profile, instance.name)
    for name, key in sorted(query.entries - set(look.entries)):
        yield f"    map {name} (for {key}): the profile names it, HAProxy does not have it"
    try:
        inventory = read_inventory(instance.socket)
    except InventoryError as error:
        yield f"    inventory: {error}"
        return
    for kind, named, existing in (
        ("backend", query.backends, set(inventory.backends)),
        ("frontend", query.frontends, set(inventory.frontends)),
    ):
        for name in sorted(named - existing):
            yield (
                f"    {kind} {name}: the profile names it, HAProxy does not have it, "
                f"{DISABLED_PROXY}"
            )
        for name in sorted(existing - named):
            yield f"    {kind} {name}: HAProxy has it, no rule names it"


def _decisions(
    profile: Profile, looks: Mapping[str, Observation], probes: Mapping[str, Probe]
) -> Iterator[str]:
    """Describe what `run` would decide, if all sessions were up and nothing changed."""
    neighbors = {
        str(neighbor.address): NeighborReport(Session.UP, 0.0) for neighbor in profile.bgp.neighbors
    }
    lease = LeaseView(True, Report("", 0, 0, None, neighbors, ()), ())
    vips = {service.prefix: VipState(True) for service in profile.services.values()}
    forecasts = forecast_levels(
        profile, {}, Inputs(Evidence(looks, probes), vips, lease), 0.0, FORECAST_DURATION
    )
    if not profile.bgp.prepends_steer:
        yield f"    {NO_STEERING}"
    for name, steps in forecasts.items():
        service = profile.services[name]
        for step in steps:
            when = f"after {format_duration(step.after)}" if step.after else "at first"
            level = step.decision.level
            path = build_wanted_path(profile, service, level)
            asns = "" if path is None else f" with {' '.join(map(str, path))}"
            cap = step.decision.cap
            detail = f" ({cap.detail})" if cap.detail else ""
            what = f"{level.label}{asns}: {cap.reason.sentence}{detail}"
            yield f"    {name} {service.vip} {when}: {what}"


def _comparison(comparison: Comparison) -> Iterator[str]:
    for matrix in comparison.matrices:
        against = " against ".join(matrix.regions)
        yield f"{matrix.service} {matrix.vip}: which region the far router prefers, {against}"
        rows = [
            (*(candidate.level for candidate in each.candidates), each.sentence)
            for each in matrix.combinations
        ]
        yield from format_table([(*matrix.regions, ""), *rows])
    yield from comparison.notes
