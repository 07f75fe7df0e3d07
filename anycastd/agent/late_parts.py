"""The parts that decide nothing: answers to operators, pages by HTTP, recordings.

They are loaded once the first decision was sent, or where it does not come: an agent that starts
again loads first what it needs to decide.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Coroutine
from typing import Any

from anycastd.agent.answers import AgentIdentity, Answers
from anycastd.agent.control_server import Handler
from anycastd.agent.early_parts import EarlyParts
from anycastd.agent.recordings import Recordings
from anycastd.agent.web_loader import load_web


class LateParts:
    """The late parts of one agent: ``answers``, ``recordings``, and ``web``, None without it."""

    def __init__(self, agent: EarlyParts) -> None:
        loop, events = agent.loop, agent.events
        identity = AgentIdentity(
            os.urandom(8).hex(),
            agent.profile_path,
            agent.text,
            agent.failed_reload,
        )
        self.answers = Answers(
            identity, loop, agent.watchers, agent.problems, events, agent.history_file
        )
        self.recordings = Recordings(agent.state, loop.profile, agent.describe_profile)
        loop.note_pass = self.recordings.note_pass
        self.web = load_web(agent.text, self.answers, loop, agent.watchers, events)
        self._recorder = agent.recorder
        # Code and profile are never freed, so no collection need look at them again.  Only now,
        # since this takes as long as a tenth of the way to the first decision.
        gc.collect()
        gc.freeze()
        gc.enable()  # `cli/main.py` has disabled it

    def build_handlers(self, reload: Handler) -> dict[str, Handler]:
        """Return request name -> handler, for the control socket; ``reload`` answers `reload`."""
        return self.answers.build_handlers(reload) | self.recordings.build_handlers()

    def list_parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Map a name to each part that runs as long as the agent does."""
        parts: dict[str, Coroutine[Any, Any, None]] = {
            "problems": self._recorder.watch_problems(self.answers.find_problems)
        }
        if self.web is not None:
            parts["web"] = self.web.run()
        return parts

    def list_problems(self) -> tuple[str, ...]:
        """List what is wrong, for the status: one sentence each."""
        return () if self.web is None else tuple(self.web.list_problems())

    async def close(self) -> None:
        """End a recording that goes on."""
        await self.recordings.close()
