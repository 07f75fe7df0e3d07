"""What the late parts of an agent need of those that run already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from anycastd.agent.decision_loop import DecisionLoop
from anycastd.agent.event_log import EventLog
from anycastd.agent.event_recorder import EventRecorder
from anycastd.agent.history_file import HistoryFile
from anycastd.evidence.haproxy.watcher import Watcher


@dataclass(frozen=True, slots=True)
class EarlyParts:
    """What the late parts need of an agent.

    ``text`` is the text of its profile, ``describe_profile`` returns it without secrets;
    ``failed_reload``: why a reload left the old code and profile in place.  ``state`` is the
    directory of what outlives the agent, ``problems`` lists what is wrong with its parts.
    """

    text: str
    describe_profile: Callable[[], str]
    profile_path: str
    failed_reload: str
    state: str
    loop: DecisionLoop
    watchers: Mapping[str, Watcher]
    problems: Callable[[], Iterable[str]]
    events: EventLog
    history_file: HistoryFile
    recorder: EventRecorder
