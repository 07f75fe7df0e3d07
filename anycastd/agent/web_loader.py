"""Load the pages by HTTP, with their libraries, only where the profile has ``web``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anycastd.agent.answers import Answers
from anycastd.agent.decision_loop import DecisionLoop
from anycastd.agent.event_log import EventLog
from anycastd.evidence.haproxy.watcher import Watcher

if TYPE_CHECKING:
    from anycastd.agent.web import WebPart


def load_web(
    profile_text: str,
    answers: Answers,
    loop: DecisionLoop,
    watchers: Mapping[str, Watcher],
    events: EventLog,
) -> WebPart | None:
    """Build the HTTP server with its pages; None where the profile has no ``web``."""
    if loop.profile.web is None:
        return None
    from anycastd.agent.web import AgentParts, WebPart  # noqa: PLC0415 - 1.7 MB for those who use it

    return WebPart(AgentParts(loop.profile, profile_text, answers, loop, watchers, events))
