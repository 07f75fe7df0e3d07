"""Look at HAProxy and at the VIPs once, as the agent does first; for `check` and `reload`."""

from __future__ import annotations

import asyncio

from anycastd.evidence.haproxy.look import look_once
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.prober import probe_once
from anycastd.evidence.vip.selftest import Probe
from anycastd.profile.model import Instance, Profile, SelfTest, Service
from anycastd.system.clock import OwnTime

LOOK_TIMEOUT = 2.0
"""Seconds for the one look at HAProxy."""


def gather_evidence(profile: Profile) -> Evidence:
    """Look at every HAProxy of the profile once, and send each self-test, all at the same time."""
    return asyncio.run(_gather(profile))


async def _gather(profile: Profile) -> Evidence:
    looks, probes = await asyncio.gather(
        asyncio.gather(*(_look(profile, each) for each in profile.haproxy.values())),
        asyncio.gather(
            *(
                _probe(service, service.self_test)
                for service in profile.services.values()
                if service.self_test is not None
            )
        ),
    )
    return Evidence(dict(looks), dict(probes))


async def _look(profile: Profile, instance: Instance) -> tuple[str, Observation]:
    query = Query.from_profile(profile, instance.name)
    look = await look_once(instance.socket, query, OwnTime(), LOOK_TIMEOUT)
    return instance.name, look


async def _probe(service: Service, test: SelfTest) -> tuple[str, Probe]:
    return service.name, await probe_once(service.vip, test, OwnTime())
