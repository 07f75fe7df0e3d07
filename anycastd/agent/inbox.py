"""The newest value of every source, and whether a new pass is due.

Sources call its methods; the decision loop waits for news and takes a copy for each pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from anycastd.decision.drains import DrainTable
from anycastd.decision.pipeline import Inputs, LeaseView, VipState
from anycastd.decision.region_report import RegionReport
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.servers.refusals import ReachReport
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.loopback import VipAddress
from anycastd.evidence.vip.selftest import Probe
from anycastd.profile.model import Network


class Inbox:
    """The newest value of every source, and whether there is news since the last pass.

    ``haproxy`` maps instance name -> observation, ``vips`` prefix -> state, ``self_tests`` service
    name -> self-test, ``checks`` name -> what is known of a check, ``reached`` instance name ->
    what asking its servers found, ``drains`` key -> Drain, ``region_reports`` region name ->
    report.
    ``returned_at`` maps service name -> when an operator let it return (own time).
    """

    def __init__(self) -> None:
        self.haproxy: dict[str, Observation] = {}
        self.vips: dict[str, VipState] = {}
        self.lease = LeaseView()
        self.self_tests: dict[str, Probe] = {}
        self.checks: dict[str, CheckObservation] = {}
        self.reached: dict[str, ReachReport] = {}
        self.returned_at: dict[str, float] = {}
        self.drains: DrainTable = {}
        self.region_reports: Mapping[str, RegionReport] = {}
        self._news = asyncio.Event()

    def store_observation(self, instance: str, observation: Observation) -> None:
        """Store the newest observation of the HAProxy ``instance``."""
        self.haproxy[instance] = observation
        self._news.set()

    def store_vip_state(self, vip: Network, address: VipAddress) -> None:
        """Store the state of a VIP on its interface."""
        self.vips[str(vip)] = VipState(address.usable, address.detail)
        self._news.set()

    def store_self_test(self, service: str, probe: Probe) -> None:
        """Store the newest self-test of a service; it is news only if it can change a verdict."""
        before = self.self_tests.get(service)
        self.self_tests[service] = probe
        if before is None or before.decision_key != probe.decision_key:
            self._news.set()

    def store_check(self, check: str, observation: CheckObservation) -> None:
        """Store what is known of a check; it is news only if it can change a decision."""
        before = self.checks.get(check)
        self.checks[check] = observation
        if before is None or before.decision_key != observation.decision_key:
            self._news.set()

    def store_reached(self, instance: str, report: ReachReport) -> None:
        """Store what asking the servers of the HAProxy ``instance`` has found."""
        self.reached[instance] = report
        self._news.set()

    def store_lease_view(self, view: LeaseView) -> None:
        """Store the state of the lease; it is news only if a decision depends on the change.

        Each pass sends a Want, and a report answers each Want.  If every report were news, passes
        would follow each other without a pause.
        """
        before, self.lease = self.lease, view
        if _decision_relevant(before) != _decision_relevant(view):
            self._news.set()

    def request_return(self, service: str, now: float) -> None:
        """Store that an operator let a service return at ``now`` (own time)."""
        self.returned_at[service] = now
        self._news.set()

    def wake(self) -> None:
        """Request a pass, because an attribute was changed."""
        self._news.set()

    async def wait_for_news(self, timeout: float | None) -> None:
        """Wait for news, at most ``timeout`` seconds (None: without a limit)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()
        self._news.clear()

    def copy_inputs(self) -> Inputs:
        """Copy all values for one pass."""
        return Inputs(
            Evidence(
                dict(self.haproxy), dict(self.self_tests), dict(self.checks), dict(self.reached)
            ),
            dict(self.vips),
            self.lease,
            self.drains,
            self.region_reports,
            returned_at=dict(self.returned_at),
        )


def _decision_relevant(view: LeaseView) -> tuple[object, ...]:
    report = view.report
    sessions = (
        ()
        if report is None
        else tuple((address, peer.session) for address, peer in report.neighbors.items())
    )
    lease = None if report is None else (report.lease_id, report.expirations)
    return (view.connected, view.leased is None, lease, sessions)
