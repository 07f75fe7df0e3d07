"""`anycastd check` where a profile runs: look at HAProxy, this machine and the other regions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from anycastd.agent.region_client import RegionClient
from anycastd.cli.check_checks import describe_checks, find_blind_checks
from anycastd.cli.check_machine import Looks, report_machine
from anycastd.cli.check_result import CheckedProfile, Found, is_withdrawn_at_last
from anycastd.cli.output import format_duration
from anycastd.cli.rule_names import find_unknown_names, iter_rule_paths
from anycastd.decision.forecast import ForecastStep
from anycastd.decision.lowering import forecast_running
from anycastd.evidence.haproxy.advice import (
    find_connect_checks,
    find_short_deadline,
    find_slots,
    list_backend_rules,
)
from anycastd.evidence.haproxy.event_stream import explain_polling
from anycastd.evidence.haproxy.inventory import list_proxies
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.selftest import describe_target
from anycastd.profile.conditions import BackendRule
from anycastd.profile.key_paths import Path, find_line, format_key
from anycastd.profile.model import Instance, Profile
from anycastd.speaker.foreign import find_foreign_exabgps
from anycastd.system.clock import OwnTime

STREAM_TIMEOUT = 0.3
"""Seconds in which HAProxy may refuse to send events."""


def check_live(
    file: str, profile: Profile, lines: Mapping[Path, int], evidence: Evidence
) -> tuple[CheckedProfile, tuple[Found, ...]]:
    """Judge a profile on the machine that it is for.

    ``lines``: key path -> line in ``file``.  ``evidence``: a look at each HAProxy and each
    self-test.  Returns what was seen, and the problems.  Raises OSError without /proc.
    """
    forecast = forecast_running(profile, evidence, ())
    machine = report_machine(profile, evidence.haproxy)
    unknown = [
        Found(
            file,
            find_line(lines, each.path),
            format_key(each.path),
            each.message,
            each.remedy,
            False,
        )
        for each in find_unknown_names(profile, evidence.haproxy)
    ]
    named = {each.key.split(".")[1] for each in unknown if "maintenance" not in each.key}
    problems = (
        *unknown,
        *find_blind_checks(file, profile, lines, evidence.checks),
        *_find_withdrawn(file, profile, lines, forecast, named),
        *(Found.from_machine(file, each) for each in machine.problems),
        *_find_connect_checks(file, profile, lines, evidence.haproxy),
        *_find_short_deadlines(file, profile, lines, evidence.haproxy),
        *_ask_regions(file, profile, lines),
    )
    facts = (
        *_describe_haproxy(profile, evidence.haproxy),
        *_describe_tests(profile, evidence),
        *describe_checks(profile, evidence.checks),
    )
    checked = CheckedProfile(file, profile, lines, facts, forecast, machine.summary)
    return checked, problems


def find_foreign_speakers(file: str) -> Iterator[Found]:
    """Yield a warning for each ExaBGP on this machine that is not ours; ``file``: a profile."""
    for text in find_foreign_exabgps():
        message, _, remedy = text.partition("; it is left alone: ")
        yield Found(file, 0, "this machine", message, remedy, warning=True)


def _find_withdrawn(
    file: str,
    profile: Profile,
    lines: Mapping[Path, int],
    forecast: Mapping[str, Sequence[ForecastStep]],
    explained: set[str],
) -> Iterator[Found]:
    """Yield a warning for each service that would stay withdrawn, as things are now."""
    for name, steps in forecast.items():
        if name in explained or not is_withdrawn_at_last(steps):
            continue
        cap = steps[-1].decision.cap
        path: Path = ("services", name)
        detail = f" ({cap.detail})" if cap.detail else ""
        message = f"{profile.services[name].prefix} would be withdrawn: {cap.reason.sentence}"
        line = find_line(lines, path)
        yield Found(
            file, line, format_key(path), f"{message}{detail}", cap.reason.remedy, warning=True
        )


def _find_connect_checks(
    file: str, profile: Profile, lines: Mapping[Path, int], looks: Looks
) -> Iterator[Found]:
    """Yield a warning for each backend whose checks only connect, at the first rule on it."""
    places: dict[tuple[str, str], Path] = {}
    for service in profile.services.values():
        if service.self_test is not None and service.self_test.http is not None:
            continue  # the self-test asks the application
        for path, rule in iter_rule_paths(service):
            if isinstance(rule, BackendRule):
                at: Path = ("services", service.name, *path, "backend")
                places.setdefault((rule.instance, rule.backend), at)
    for name, look in looks.items():
        if not isinstance(look, Snapshot):
            continue
        rules = list_backend_rules(profile, name)
        backends = {each.name: each.servers for each in look.backends.values()}
        for backend, message, remedy in find_connect_checks(rules, backends):
            place = places.get((name, backend))
            if place is not None:
                line = find_line(lines, place)
                yield Found(file, line, format_key(place), message, remedy, warning=True)


def _find_short_deadlines(
    file: str, profile: Profile, lines: Mapping[Path, int], looks: Looks
) -> Iterator[Found]:
    """Yield a warning for each HAProxy that is too large for its deadline."""
    for name, look in looks.items():
        if isinstance(look, Snapshot):
            servers = sum(len(each.servers) for each in look.backends.values())
            found = find_short_deadline(profile.haproxy[name].deadline, servers)
            if found is not None:
                path: Path = ("haproxy", name, "deadline")
                line = find_line(lines, path)
                yield Found(file, line, format_key(path), *found, warning=True)


def _ask_regions(file: str, profile: Profile, lines: Mapping[Path, int]) -> Iterator[Found]:
    """Yield a warning for each other region whose agent gives no report."""
    if not profile.regions:
        return
    reports = asyncio.run(RegionClient(profile, OwnTime()).fetch_reports())
    for region in profile.regions:
        report = reports.get(region.name)
        if report is not None and report.detail:
            yield Found(
                file,
                find_line(lines, region.path),
                format_key(region.path),
                f"the agent of {region.name} {report.detail}",
                "see that it runs with `web` in its profile, and that TCP reaches it; until then "
                "no drain here is known to be safe",
                warning=True,
            )


def _describe_haproxy(profile: Profile, looks: Looks) -> Iterator[tuple[str, str]]:
    for name, instance in profile.haproxy.items():
        what = f"HAProxy {name}"
        for text in _describe_look(profile, instance, looks[name]):
            yield what, text


def _describe_look(profile: Profile, instance: Instance, look: Observation) -> Iterator[str]:
    if not isinstance(look, Snapshot):
        state = "is not running" if isinstance(look, Gone) else "does not answer"
        yield f"{state} ({look.detail})"
        return
    worker = look.worker
    reason = asyncio.run(explain_polling(instance, STREAM_TIMEOUT))
    how = "is polled" if reason else "sends events"
    yield f"answers: {worker.version}, up {format_duration(worker.uptime)}, {how}"
    if reason:
        yield f"polled every {instance.poll:g} s, not event-driven: {reason}"
    servers = {each.name: each.servers for each in look.backends.values()}
    yield from find_slots(list_backend_rules(profile, instance.name), servers)
    query = Query.from_profile(profile, instance.name)
    proxies = list_proxies(instance.socket)
    for kind, named, existing in (
        ("backend", query.backends, proxies.backends),
        ("frontend", query.frontends, proxies.frontends),
    ):
        if unnamed := sorted(set(existing) - named):
            listed = ", ".join(unnamed[:_MAX_LISTED]) + (", ..." if unnamed[_MAX_LISTED:] else "")
            yield f"no rule names its {kind}{'s' if unnamed[1:] else ''} {listed}"


_MAX_LISTED = 5


def _describe_tests(profile: Profile, evidence: Evidence) -> Iterator[tuple[str, str]]:
    for name, probe in evidence.self_test.items():
        test = profile.services[name].self_test
        if test is not None:
            what = f"{probe.outcome.value} on {describe_target(test)} ({probe.detail})"
            yield f"self-test of {name}", what
