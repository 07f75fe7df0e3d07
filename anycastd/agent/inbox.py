"""The newest value of every source, and what of it is news: what the daemon's loop waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from anycastd.decision.drains import Table
from anycastd.decision.pipeline import Inputs, LeaseView, VipState
from anycastd.decision.region_report import RegionReport
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.loopback import VipAddress
from anycastd.evidence.vip.selftest import Probe
from anycastd.profile.model import Network


class Inbox:
    """The newest value of every source, and whether there is news since the last pass."""

    def __init__(self) -> None:
        self.haproxy: dict[str, Observation] = {}
        self.vips: dict[str, VipState] = {}
        self.lease = LeaseView()
        self.self_tests: dict[str, Probe] = {}
        self.returns: dict[str, float] = {}
        self.drains: Table = {}
        self.region_reports: Mapping[str, RegionReport] = {}
        self._news = asyncio.Event()

    def look(self, instance: str, observation: Observation) -> None:
        """Take a look at HAProxy."""
        self.haproxy[instance] = observation
        self._news.set()

    def vip(self, vip: Network, address: VipAddress) -> None:
        """Take the state of a VIP on its interface."""
        self.vips[str(vip)] = VipState(address.usable, address.detail)
        self._news.set()

    def probe(self, service: str, probe: Probe) -> None:
        """Take a self-test; only what changes a verdict is news, or each test would cost a pass."""
        before = self.self_tests.get(service)
        self.self_tests[service] = probe
        if before is None or before.decision_key != probe.decision_key:
            self._news.set()

    def leased(self, view: LeaseView) -> None:
        """Take the state of the lease; only what a decision depends on is news.

        Each pass sends a Want and each Want is answered by a report: were that news, the two
        would chase each other for ever.
        """
        before, self.lease = self.lease, view
        if _matters(before) != _matters(view):
            self._news.set()

    def said_return(self, service: str, now: float) -> None:
        """Take somebody's word that a service may return."""
        self.returns[service] = now
        self._news.set()

    def wake(self) -> None:
        """Ask for a pass: something else in here is another one."""
        self._news.set()

    async def news(self, within: float | None) -> None:
        """Wait for news, at most ``within`` seconds (None: for ever)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._news.wait()
        self._news.clear()

    def inputs(self) -> Inputs:
        """Give a copy for one pass."""
        return Inputs(
            Evidence(dict(self.haproxy), dict(self.self_tests)),
            dict(self.vips),
            self.lease,
            self.drains,
            self.region_reports,
            returns=dict(self.returns),
        )


def _matters(view: LeaseView) -> tuple[object, ...]:
    report = view.report
    sessions = (
        ()
        if report is None
        else tuple((address, peer.session) for address, peer in report.neighbors.items())
    )
    lease = None if report is None else (report.instance, report.expirations)
    return (view.connected, view.leased is None, lease, sessions)
