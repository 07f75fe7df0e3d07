"""What people ask the agent about its decisions: `anycastd explain` and `anycastd return`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from anycastd.agent.history import History
from anycastd.decision.levels import CapSource
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from anycastd.views.explain import VERSION, explain_service

log = logging.getLogger(__name__)

_ENDED = (CapSource.MANUAL, CapSource.HOLD_DOWN)


class Answers:
    """Answer from what the agent knows: ``inputs`` gives that, ``may_return`` takes a word."""

    def __init__(
        self,
        profile: Profile,
        inputs: Callable[[], Inputs],
        may_return: Callable[[str, float], None],
        clock: OwnTime,
        journal: History,
    ) -> None:
        self._profile = profile
        self._inputs = inputs
        self._may_return = may_return
        self._clock = clock
        self._journal = journal

    async def explain(self, memory: Mapping[str, Memory]) -> dict[str, Any]:
        """Explain every service, one at a time: passes must not wait for that."""
        found = {}
        for name in self._profile.services:
            changes = self._journal.list_transitions(name)
            one = explain_service(
                self._profile, name, memory, self._inputs(), self._clock.now(), changes
            )
            found[name] = one.to_json()
            await asyncio.sleep(0)
        return {"v": VERSION, "region": self._profile.region, "services": found}

    async def come_back(
        self, arguments: Mapping[str, Any], step: PassResult | None
    ) -> dict[str, Any]:
        """Let what failed and waits return; a word for what does not wait would be for later."""
        asked = arguments.get("service")
        if asked is not None and asked not in self._profile.services:
            known = ", ".join(self._profile.services)
            return {
                "v": VERSION,
                "refused": f"there is no service {asked}; the profile has: {known}",
            }
        decisions = {} if step is None else step.decisions
        waiting = [
            name
            for name, decision in decisions.items()
            if asked in (None, name) and any(cap.source in _ENDED for cap in decision.caps)
        ]
        for name in waiting:
            self._may_return(name, self._clock.now())
            log.warning("%s: somebody said that it may return", name)
        return {"v": VERSION, "returned": waiting}
