"""Describe everything that is not as wanted, in one sentence each (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anycastd.bgp.negotiated import name_family
from anycastd.bgp.session import Session
from anycastd.decision.levels import Level
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.evidence.finding import Truth
from anycastd.profile.model import Profile
from anycastd.reasons import Reason
from anycastd.views.check_status import CheckStatus
from anycastd.views.status_values import NeighborStatus, ServiceStatus

_UP = Session.UP.value
_FAMILY_NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}


def describe_troubles(
    inputs: Inputs,
    services: Mapping[str, ServiceStatus],
    neighbors: Mapping[str, NeighborStatus],
    polling: Mapping[str, str],
) -> Iterator[str]:
    """Yield what is wrong with the lease, sessions, routes, VIPs and event streams.

    ``polling``: the HAProxy instances that send no events and are polled, each with the reason.
    """
    report = inputs.lease.report if inputs.lease.connected else None
    if report is None:
        yield f"{Reason.NO_SPEAKER.sentence}: {Reason.NO_SPEAKER.remedy}"
    else:
        for error in report.errors:
            yield f"ExaBGP refused to {error}"
        for address, neighbor in neighbors.items():
            if neighbor.session != _UP:
                why = f" ({neighbor.why})" if neighbor.why else ""
                yield f"neighbor {address}: the session is {neighbor.session}{why}"
        for name, service in services.items():
            for address, one in service.neighbors.items():
                if one.session == _UP and not one.in_sync and one.negotiated is not False:
                    yield f"service {name}: neighbor {address} does not have the wanted route yet"
    for prefix, vip in inputs.vips.items():
        if not vip.usable:
            yield f"VIP {prefix}: {vip.detail}"
    for name, why in polling.items():
        yield f"haproxy {name}: polled, not event-driven: {why}"


def describe_sessions(
    profile: Profile,
    services: Mapping[str, ServiceStatus],
    neighbors: Mapping[str, NeighborStatus],
) -> Iterator[str]:
    """Yield what is wrong with what was agreed on for the sessions that are up."""
    for address, neighbor in neighbors.items():
        agreed = neighbor.negotiated
        if agreed is None:
            continue
        missing: dict[str, list[str]] = {}
        for name, service in services.items():
            one = service.neighbors[address]
            if one.wanted is not None and one.negotiated is False:
                missing.setdefault(name_family(service.vip), []).append(name)
        for family, names in missing.items():
            yield (
                f"neighbor {address} did not negotiate {family} unicast: {_list(services, names)} "
                f"not announced there; activate {_FAMILY_NAMES[family]} unicast for this machine "
                "on the neighbor, or leave it out of the neighbor's `families` in the profile"
            )
        if agreed.hold_time == 0:
            yield (
                f"neighbor {address}: the negotiated hold time is 0, so a dead host keeps its "
                "routes there for ever; configure a hold time on the neighbor, 9 s or more"
            )
        elif agreed.hold_time <= profile.ttl:
            yield (
                f"neighbor {address}: the negotiated hold time is {agreed.hold_time} s, not more "
                f"than lease.ttl ({profile.ttl:g} s), so a short pause closes the session; "
                f"configure more on the neighbor, or a lower lease.ttl"
            )


def _list(services: Mapping[str, ServiceStatus], names: list[str]) -> str:
    """Name the VIPs of services, the first ones only, with the verb."""
    shown = ", ".join(f"{services[name].vip} ({name})" for name in names[:_MAX_SHOWN])
    more = len(names) - _MAX_SHOWN
    if more > 0:
        return f"VIPs {shown} and {more} more are"
    return f"VIP {shown} is" if len(names) == 1 else f"VIPs {shown} are"


_MAX_SHOWN = 3


def describe_evidence(profile: Profile, step: PassResult) -> Iterator[str]:
    """Yield failed self-tests that no level shows, and maintenance maps that HAProxy lacks."""
    yield from _untested(profile, step)
    yield from _unmapped(step)


def describe_checks(
    checks: Mapping[str, CheckStatus], services: Mapping[str, ServiceStatus]
) -> Iterator[str]:
    """Yield the checks that do not pass, where no service's level shows it."""
    for name, check in checks.items():
        if check.state in ("passes", "unproved"):
            continue
        # A service's reason begins with its rule: see `CheckRule.description`.
        if not any(each.reason.detail.startswith(f"check {name} ") for each in services.values()):
            why = f" ({check.why})" if check.why else ""
            yield f"check {name}: {_CHECK_STATES[check.state]}{why}"


_CHECK_STATES = {
    "fails": Reason.CHECK_FAILED.sentence,
    "unseen": Reason.CHECK_UNSEEN.sentence,
    "stale": Reason.CHECK_STALE.sentence,
}


def _untested(profile: Profile, step: PassResult) -> Iterator[str]:
    """Describe failed self-tests of services whose level does not show them."""
    for name, decision in step.decisions.items():
        test = profile.services[name].self_test
        if test is None or decision.level is not Level.PREFERRED:
            continue
        for finding in decision.verdict.findings:
            if "self_test.answers" in finding.rule.paths and finding.truth is not Truth.TRUE:
                yield f"service {name}: {finding.reason.sentence} ({finding.value})"


def _unmapped(step: PassResult) -> Iterator[str]:
    """Describe maintenance maps that HAProxy lacks or refuses: they put no service to standby."""
    for name, decision in step.decisions.items():
        planned = decision.verdict.maintenance
        if planned is not None and planned.reason in (Reason.MAP_MISSING, Reason.ANSWER_REFUSED):
            reason = planned.reason
            yield f"service {name}: {reason.sentence} ({planned.value}): {reason.remedy}"
