"""Look once at HAProxy, at the VIPs and at what checks ask, for `check` and `reload`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from anycastd.evidence.checks.observation import CheckObservation, add_result
from anycastd.evidence.checks.runner import Slots, run_check_once
from anycastd.evidence.haproxy.look import look_once
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.prober import probe_once
from anycastd.evidence.vip.selftest import Probe
from anycastd.profile.checks import Check
from anycastd.profile.model import Instance, Profile, SelfTest, Service
from anycastd.system.clock import OwnTime

LOOK_TIMEOUT = 2.0
"""Seconds for the one look at HAProxy."""


def gather_evidence(profile: Profile) -> Evidence:
    """Look at every HAProxy once, send each self-test and run each check, all at the same time."""
    return asyncio.run(_gather(profile))


def gather_looks(profile: Profile) -> dict[str, Observation]:
    """Look at every HAProxy once; return instance name -> what was seen."""
    return asyncio.run(_gather_looks(profile))


async def _gather_looks(profile: Profile) -> dict[str, Observation]:
    return dict(await asyncio.gather(*(_look(profile, it) for it in profile.haproxy.values())))


async def _gather(profile: Profile) -> Evidence:
    slots = Slots()
    looks, probes, checks = await asyncio.gather(
        _gather_looks(profile),
        asyncio.gather(
            *(
                _probe(service, service.self_test)
                for service in profile.services.values()
                if service.self_test is not None
            )
        ),
        asyncio.gather(*(_check(check, slots) for check in profile.checks.values())),
    )
    return Evidence(looks, dict(probes), dict(checks))


async def _look(profile: Profile, instance: Instance) -> tuple[str, Observation]:
    query = Query.from_profile(profile, instance.name)
    look = await look_once(instance.socket, query, OwnTime(), LOOK_TIMEOUT)
    return instance.name, look


async def _check(check: Check, slots: Slots) -> tuple[str, CheckObservation]:
    """Run a check once, and let its result count as if there had been enough of them."""
    once = replace(check, rise=1, fall=1)
    return check.name, add_result(once, None, await run_check_once(check, slots, OwnTime()))


async def _probe(service: Service, test: SelfTest) -> tuple[str, Probe]:
    return service.name, await probe_once(service.vip, test, OwnTime())
