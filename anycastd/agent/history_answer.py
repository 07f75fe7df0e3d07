"""Answer `anycastd history`: from memory, and from the disk what the memory has not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from anycastd.agent.event_log import EventLog
from anycastd.agent.history_file import HistoryFile
from anycastd.agent.history_reader import Selection
from anycastd.agent.json_cache import encode_json

VERSION = 1
"""Version of the answer; keys are only ever added."""
MAX_EVENTS = 1000
"""Events of one answer at most."""
MAX_SINCE = 1e11
"""Unix time (s) that is taken; the year 5138."""
DEFAULT_EVENTS = 200
"""Events of one answer, unless more are asked for."""


class HistoryAnswer:
    """The answers about the history: of the ``events`` of this agent, and of the ``file``."""

    def __init__(self, region: str, events: EventLog, file: HistoryFile) -> None:
        self._region = region
        self._events = events
        self._file = file
        self._one_reading = asyncio.Lock()

    async def answer(
        self, arguments: Mapping[str, Any], services: Iterable[str]
    ) -> dict[str, Any] | bytes:
        """Answer with the newest events, oldest first.

        ``arguments`` may have ``service``, ``since`` (Unix time), ``after`` (the number of the
        newest event that is known already) and ``limit``.  Returns ``events``, ``newest`` (the
        number to ask after the next time), ``cut`` (older events that fit are left out) and
        ``problems`` (what could not be read); or ``refused``, the reason as text.
        """
        service, names = arguments.get("service"), list(services)
        if service is not None and service not in names:
            known = ", ".join(names)
            return {"v": VERSION, "refused": f"there is no service {service}; there are: {known}"}
        selection = _select(arguments)
        newest = self._events.newest
        kept = self._events.recent(selection.after, service)
        events = [event for event in kept if selection.fits(event)]
        is_cut, problems = len(events) > selection.limit, list(self._file.list_problems())
        if not is_cut and not self._events.reaches(selection.after, selection.since):
            async with self._one_reading:
                reading = await self._file.read(selection)
            last = reading.events[-1].number if reading.events else 0
            events = [*reading.events, *(event for event in events if event.number > last)]
            is_cut = reading.is_cut or len(events) > selection.limit
            problems += reading.problems
        head = {
            "v": VERSION,
            "region": self._region,
            "services": names,
            "newest": newest,
            "cut": is_cut,
            "problems": problems,
        }
        # One event after the other: all of them as values would take five times the memory.
        lines = b", ".join(encode_json(each.to_json()) for each in events[-selection.limit :])
        return encode_json(head)[:-1] + b', "events": [' + lines + b"]}\n"


def _select(arguments: Mapping[str, Any]) -> Selection:
    since, limit = arguments.get("since"), arguments.get("limit") or DEFAULT_EVENTS
    return Selection(
        limit=max(1, min(int(limit), MAX_EVENTS)),
        after=int(arguments.get("after") or 0),
        since=float(since) if since is not None and abs(since) < MAX_SINCE else None,
        service=arguments.get("service"),
    )
