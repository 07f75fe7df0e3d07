"""Build the sources of an agent: they put what they observe into its inbox.

The daemon runs each of them in the same way.  A new kind of source is added to ``build_sources``.
"""

from __future__ import annotations

import functools
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, Protocol

from anycastd.agent.inbox import Inbox
from anycastd.evidence.finding import RuleRef, Truth
from anycastd.evidence.haproxy.conditions import evaluate_rule
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.evidence.servers.asker import ServerAsker
from anycastd.evidence.servers.refusals import ReachReport
from anycastd.evidence.vip.loopback import Loopback
from anycastd.evidence.vip.prober import Prober
from anycastd.evidence.vip.selftest import Probe
from anycastd.profile.model import Instance, Profile, SelfTest, Service
from anycastd.system.clock import OwnTime


class Source(Protocol):
    """A part of the agent that observes something, and puts it into the inbox.

    ``name`` is unique among the parts of an agent.
    """

    @property
    def name(self) -> str:
        """Return the name of this source, for logs."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Observe until cancelled; what cannot be observed is an observation, not an error."""

    def list_problems(self) -> Sequence[str]:
        """List what is wrong, one line each, for the status."""


def build_sources(
    profile: Profile, clock: OwnTime, inbox: Inbox, watchers: Mapping[str, Watcher]
) -> tuple[Source, ...]:
    """Build all sources of ``profile``; ``watchers`` are those of ``build_watchers``."""
    askers = _build_askers(profile, clock, inbox, watchers)
    probers = _build_probers(profile, clock, inbox, askers)
    return (*watchers.values(), *probers, *_build_checks(profile, clock, inbox), *askers)


def build_watchers(profile: Profile, clock: OwnTime, inbox: Inbox) -> dict[str, Watcher]:
    """Build the watcher of each HAProxy: instance name -> watcher."""
    return {name: _build_watcher(profile, name, clock, inbox) for name in profile.haproxy}


def _build_askers(
    profile: Profile, clock: OwnTime, inbox: Inbox, watchers: Mapping[str, Watcher]
) -> list[ServerAsker]:
    """Build what asks the servers of each HAProxy, where the profile wants that."""
    askers = []
    for name, instance in profile.haproxy.items():
        # A HAProxy on another machine reaches others than this one does.
        if instance.ask_servers and "://" not in instance.socket:
            asker = _build_asker(profile, instance, clock, inbox, watchers[name])
            watchers[name].subscribe(asker.note_look)
            askers.append(asker)
    return askers


def _build_asker(
    profile: Profile, instance: Instance, clock: OwnTime, inbox: Inbox, watcher: Watcher
) -> ServerAsker:
    def emit(report: ReachReport) -> None:
        inbox.store_reached(instance.name, report)

    def is_excused(name: str) -> bool:
        rule = profile.services[name].maintenance
        if rule is None:
            return False
        ref = RuleRef(name, ("maintenance",), rule.instance, "")
        at, look = profile.haproxy[rule.instance], inbox.haproxy.get(rule.instance)
        return evaluate_rule(ref, rule, at, look, clock.now()).truth is Truth.FALSE

    return ServerAsker(
        instance,
        profile.services,
        clock=clock,
        emit=emit,
        request_look=watcher.request_look,
        is_excused=is_excused,
    )


def _build_probers(
    profile: Profile, clock: OwnTime, inbox: Inbox, askers: Sequence[ServerAsker]
) -> Iterator[Prober]:
    """Build the self-test of each service that has one."""
    for service in profile.services.values():
        if service.self_test is not None:
            yield _build_prober(service, service.self_test, clock, inbox, askers)


def _build_checks(profile: Profile, clock: OwnTime, inbox: Inbox) -> Iterator[Source]:
    """Build what runs each check; without checks nothing of it is loaded."""
    if profile.checks:
        from anycastd.evidence.checks.runner import CheckRunner, Slots  # noqa: PLC0415 - see above

        slots = Slots()
        for name, check in profile.checks.items():
            emit = functools.partial(inbox.store_check, name)
            yield CheckRunner(check, slots, clock=clock, emit=emit)


def build_loopback(profile: Profile, inbox: Inbox) -> Loopback:
    """Build what puts the VIPs on their interfaces, and watches them."""
    return Loopback(profile.local_vips, inbox.store_vip_state)


def _build_watcher(profile: Profile, name: str, clock: OwnTime, inbox: Inbox) -> Watcher:
    def emit(observation: Observation) -> None:
        inbox.store_observation(name, observation)

    instance = profile.haproxy[name]
    return Watcher(
        instance,
        Query.from_profile(profile, name),
        clock=clock,
        emit=emit,
        interval=min(instance.look_timeout, profile.ttl / 4),
    )


def _build_prober(
    service: Service, test: SelfTest, clock: OwnTime, inbox: Inbox, askers: Sequence[ServerAsker]
) -> Prober:
    def emit(probe: Probe) -> None:
        inbox.store_self_test(service.name, probe)
        for asker in askers:
            asker.note_self_test(service.name, probe)

    def note_late() -> None:
        for asker in askers:
            asker.note_late(service.name)

    return Prober(service.vip, test, clock=clock, emit=emit, name=service.name, on_late=note_late)
