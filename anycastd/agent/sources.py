"""Build the sources of an agent: they put what they observe into its inbox."""

from __future__ import annotations

from anycastd.agent.inbox import Inbox
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.evidence.vip.loopback import Loopback
from anycastd.evidence.vip.prober import Prober
from anycastd.evidence.vip.selftest import Probe
from anycastd.profile.model import Profile, SelfTest, Service
from anycastd.system.clock import OwnTime


def build_watchers(profile: Profile, clock: OwnTime, inbox: Inbox) -> dict[str, Watcher]:
    """Build the watcher of each HAProxy: instance name -> watcher."""
    return {name: _build_watcher(profile, name, clock, inbox) for name in profile.haproxy}


def build_probers(profile: Profile, clock: OwnTime, inbox: Inbox) -> dict[str, Prober]:
    """Build the self-tests: service name -> prober, for services that have one."""
    return {
        name: _build_prober(service, service.self_test, clock, inbox)
        for name, service in profile.services.items()
        if service.self_test is not None
    }


def build_loopback(profile: Profile, inbox: Inbox) -> Loopback:
    """Build what puts the VIPs on their interfaces, and watches them."""
    vips = [(service.vip, service.interface) for service in profile.services.values()]
    return Loopback(vips, inbox.store_vip_state)


def _build_watcher(profile: Profile, name: str, clock: OwnTime, inbox: Inbox) -> Watcher:
    def emit(observation: Observation) -> None:
        inbox.store_observation(name, observation)

    instance = profile.haproxy[name]
    return Watcher(
        instance,
        Query.from_profile(profile, name),
        clock=clock,
        emit=emit,
        interval=min(instance.deadline / 3, profile.ttl / 4),
    )


def _build_prober(service: Service, test: SelfTest, clock: OwnTime, inbox: Inbox) -> Prober:
    def emit(probe: Probe) -> None:
        inbox.store_self_test(service.name, probe)

    return Prober(service.vip, test, clock=clock, emit=emit)
