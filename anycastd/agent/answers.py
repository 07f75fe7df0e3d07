"""Answers of the agent: requests on the control socket, and pages of the HTTP server."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from anycastd import __version__
from anycastd.agent.control_server import Answer, Arguments, Handler
from anycastd.agent.decision_loop import DecisionLoop
from anycastd.agent.event_log import EventLog
from anycastd.agent.history_answer import HistoryAnswer
from anycastd.agent.history_file import HistoryFile
from anycastd.agent.json_cache import Costs, JsonCache
from anycastd.agent.lease_client import describe_leased
from anycastd.agent.regions_answer import RegionsAnswer
from anycastd.bgp.session import Session
from anycastd.decision.levels import CapSource
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import LeaseView, advance
from anycastd.decision.policy import Decision
from anycastd.decision.region_report import build_region_report
from anycastd.decision.routes import build_wanted_path
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.system.instants import format_utc
from anycastd.system.local_address import is_local_address
from anycastd.views.announcement import list_serving
from anycastd.views.event_commands import build_return
from anycastd.views.explain import VERSION, explain_service
from anycastd.views.judged import Judged, judge_status
from anycastd.views.status import AgentFacts, build_status
from anycastd.views.status_values import Status

log = logging.getLogger(__name__)

STATUS_MAX_AGE = 0.0
"""Seconds for which a status is reused at least; ``JsonCache`` may make it longer."""
JUDGING_SHARE = 0.01
"""Share of a core that probes and scrapes may have the agent spend on building a status."""
_RELEASABLE = (CapSource.MANUAL, CapSource.HOLD_DOWN)


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """The identity of one agent.

    ``agent_id`` is random and new with each start; the profile that it runs is given by its path
    and its text.  ``failed_reload``: why a reload left the old code and profile in place.
    """

    agent_id: str
    profile_path: str
    profile_text: str
    failed_reload: str = ""


class Answers:
    """The answers of one agent: to requests on its control socket, and for its pages by HTTP.

    ``watchers`` maps the name of an HAProxy to its watcher.  ``problems`` lists what is wrong with
    the agent's parts, one line each.  ``events`` are the agent's events, ``history_file`` has
    those that are on disk.
    """

    def __init__(
        self,
        identity: AgentIdentity,
        loop: DecisionLoop,
        watchers: Mapping[str, Watcher],
        problems: Callable[[], Iterable[str]],
        events: EventLog,
        history_file: HistoryFile,
    ) -> None:
        self._events = events
        self._history = HistoryAnswer(loop.profile.region, events, history_file)
        self._identity = identity
        self._loop = loop
        self._watchers = watchers
        self._problems = problems
        self.costs: Costs = {}
        self.status = JsonCache(self.build_status, costs=self.costs)
        self._judged = Judged(0, 0, "")
        self._judged_at, self._judging_cost = -math.inf, 0.0
        self._one_explanation = asyncio.Lock()
        self._regions = RegionsAnswer(loop.profile, loop.clock, self.build_report)

    def build_handlers(self, reload: Handler) -> dict[str, Handler]:
        """Return request name -> handler; ``reload`` is the handler of a reload."""
        drains = self._loop.sinks.drains
        return {
            "status": self.answer_status,
            "running": self.answer_running,
            "explain": self.answer_explain,
            "history": self.answer_history,
            "regions": self._regions.answer,
            "return": self._forget_status_after(self.answer_return),
            "drain": self._forget_status_after(drains.drain),
            "undrain": self._forget_status_after(drains.undrain),
            "reload": reload,
        }

    async def answer_status(self, _: Arguments) -> bytes:
        """Answer `anycastd status`, with the JSON of ``build_status``."""
        return self.status.read(STATUS_MAX_AGE)

    async def answer_running(self, _: Arguments) -> Answer:
        """Answer `anycastd reload`: the profile that runs, and what a new one may change.

        ``ready`` is true once a pass has decided.  ``held`` are the routes in the lease,
        ``sessions`` maps address -> up, down or unknown, ``speaker`` is the state of its
        reconfiguration.
        """
        lease = self._loop.inbox.lease
        result = self._loop.last_result
        sinks = self._loop.sinks
        levels = {} if result is None else result.decisions
        neighbors = {} if lease.report is None else lease.report.neighbors
        return {
            "v": 1,
            "version": __version__,
            "pid": os.getpid(),
            "instance": self._identity.agent_id,
            "profile": self._identity.profile_path,
            "text": self._identity.profile_text,
            "failed_reload": self._identity.failed_reload,
            "ready": result is not None and result.wanted is not None,
            "levels": {name: decision.level.label for name, decision in levels.items()},
            **describe_leased(lease),
            "sessions": {address: peer.session.value for address, peer in neighbors.items()},
            "speaker": "" if lease.report is None else lease.report.reload,
            "draining": sorted(sinks.drains.draining_services()),
            "problems": sinks.lease.list_problems(),
        }

    async def answer_explain(self, _: Arguments) -> Answer:
        """Answer `anycastd explain`, with every service.

        Services are explained one at a time, also where several clients ask, and passes run between
        them.
        """
        loop = self._loop
        services = {}
        memory = loop.memory
        async with self._one_explanation:
            for name in loop.profile.services:
                services[name] = self._explain(name, memory)
                await asyncio.sleep(0)
        at = format_utc(time.time(), "%Y-%m-%dT%H:%M:%S.%fZ")
        return {"v": VERSION, "region": loop.profile.region, "at": at, "services": services}

    async def answer_history(self, arguments: Arguments) -> Answer | bytes:
        """Answer `anycastd history`; see ``HistoryAnswer``."""
        return await self._history.answer(arguments, self._loop.profile.services)

    def _explain(self, name: str, memory: Mapping[str, Memory]) -> dict[str, Any]:
        loop = self._loop
        transitions = loop.sinks.history.list_transitions(name)
        view = explain_service(
            loop.profile, name, memory, loop.inbox.copy_inputs(), loop.clock.now(), transitions
        )
        return view.to_json()

    async def answer_return(self, arguments: Arguments) -> Answer:
        """Answer `anycastd return`: release services from hold-down or from a manual wait.

        Services that do not wait are ignored, so that the command has no effect later.  Returns
        ``returned``, the names of the services, and ``others``: the name of each other service
        that was meant -> its level with the reason, as text.  Or ``refused``, the reason as text.
        """
        requested = arguments.get("service")
        loop = self._loop
        if requested is not None and requested not in loop.profile.services:
            names = ", ".join(loop.profile.services)
            refusal = f"there is no service {requested}; the profile has: {names}"
            return {"v": VERSION, "refused": refusal}
        decisions = {} if loop.last_result is None else loop.last_result.decisions
        meant = {name: each for name, each in decisions.items() if requested in (None, name)}
        waiting = [
            name
            for name, decision in meant.items()
            if any(cap.source in _RELEASABLE for cap in decision.caps)
        ]
        others = {
            name: _describe_level(each) for name, each in meant.items() if name not in waiting
        }
        for name in waiting:
            loop.inbox.request_return(name, loop.clock.now())
            self._events.record(build_return(name, str(arguments.get("by")), time.time()))
        return {"v": VERSION, "returned": waiting, "others": others}

    def build_status(self) -> dict[str, Any]:
        """Build the status as JSON, as docs/status.md describes it."""
        return self._build_view().to_json()

    def find_problems(self) -> tuple[str, ...]:
        """Find everything that is not as wanted, as the status does."""
        return self._build_view(with_servers=False).problems

    def _build_view(self, *, with_servers: bool = True) -> Status:
        loop, began_at = self._loop, time.monotonic()
        inputs, now = loop.inbox.copy_inputs(), loop.clock.now()
        result = loop.last_result or advance(loop.profile, loop.memory, inputs, now)
        polling = {
            name: watcher.polling for name, watcher in self._watchers.items() if watcher.polling
        }
        facts = AgentFacts(
            os.getpid(),
            __version__,
            polling,
            self._find_foreign(inputs.lease),
            saving_drains=loop.sinks.drains.is_saving(),
            at=format_utc(time.time(), "%Y-%m-%dT%H:%M:%SZ"),
        )
        view = build_status(loop.profile, inputs, result, now, facts, with_servers=with_servers)
        view = replace(view, problems=(*view.problems, *self._problems()))
        self._judged, self._judged_at = judge_status(view), began_at
        self._judging_cost = time.monotonic() - began_at
        return view

    def _find_foreign(self, lease: LeaseView) -> set[str]:
        """Find the local addresses of sessions that are down and not on this machine."""
        peers = {} if lease.report is None else lease.report.neighbors
        up = {address for address, peer in peers.items() if peer.session is Session.UP}
        neighbors = self._loop.profile.bgp.neighbors
        local = {str(each.local_address) for each in neighbors if str(each.address) not in up}
        return {address for address in local if not is_local_address(address)}

    def judge(self, max_age: float) -> Judged:
        """Judge a status that is not older than ``max_age`` seconds, if that is cheap.

        Where a status costs C seconds, the last one is judged for C / ``JUDGING_SHARE`` seconds.
        """
        age = time.monotonic() - self._judged_at
        if age >= max(max_age, self._judging_cost / JUDGING_SHARE):
            self._build_view(with_servers=False)
        return self._judged

    def build_report(self) -> dict[str, Any]:
        """Build the report for the agents of other regions."""
        loop = self._loop
        inputs = loop.inbox.copy_inputs()
        result = loop.last_result or advance(loop.profile, loop.memory, inputs, loop.clock.now())
        serving = list_serving(loop.profile, inputs, result)
        draining = loop.sinks.drains.draining_services()
        announced = {
            name: (
                decision.level.label,
                build_wanted_path(loop.profile, loop.profile.services[name], decision.level) or (),
            )
            for name, decision in result.decisions.items()
        }
        return build_region_report(loop.profile, serving, draining, announced)

    def _forget_status_after(self, handler: Handler) -> Handler:
        """Let the next status show the effect of a command."""

        async def answer(arguments: Arguments) -> Answer | bytes:
            try:
                return await handler(arguments)
            finally:
                self.status.clear()

        return answer


def _describe_level(decision: Decision) -> str:
    cap = decision.cap
    detail = f" ({cap.detail})" if cap.detail else ""
    return f"{decision.level.label}: {cap.reason.sentence}{detail}"
