"""Read the history on disk: two files of events, a line of JSON each (blocking; light).

`events.jsonl` is written to; `events.1.jsonl` has what is older.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from anycastd.views.events import Event

CURRENT, OLDER = "events.jsonl", "events.1.jsonl"
"""Names of the files."""
MAX_READ = 8 * 1024 * 1024
"""Bytes of a file that are read at most; the agent keeps it far smaller."""
MAX_LINE = 64 * 1024
"""Bytes of a line at most."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events to read: the ``limit`` newest ones that fit.

    ``after``: only those with a higher number.  ``since``: only those from this Unix time on.
    ``service``: only those of this service, and those that are about no service.
    """

    limit: int
    after: int = 0
    since: float | None = None
    service: str | None = None

    def fits(self, event: Event) -> bool:
        """Return whether an event is one of them, whatever the limit."""
        return (
            event.number > self.after
            and (self.since is None or event.at >= self.since)
            and (self.service is None or event.service in ("", self.service))
        )


@dataclass(slots=True)
class Reading:
    """What was read: the ``events``, oldest first.

    ``is_cut``: there are older ones that fit.  ``damaged`` counts the lines that are no events,
    and ``has_short_line`` says that the last one was cut short.  ``problems`` says which file could
    not be read, and why.
    """

    events: list[Event] = field(default_factory=list)
    is_cut: bool = False
    damaged: int = 0
    has_short_line: bool = False
    problems: list[str] = field(default_factory=list)


class Line(NamedTuple):
    """One line of a file: its text, and its event (None: it has none that is known here).

    ``is_damaged``: it is no event of any release.  ``is_short``: it is the last one, and was cut
    short, as by a power failure.
    """

    text: bytes
    event: Event | None
    is_damaged: bool = False
    is_short: bool = False


def read_history(directory: str, selection: Selection) -> Reading:
    """Read the newest events of the files in ``directory``; raises nothing."""
    found = Reading()
    newest: deque[Event] = deque(maxlen=selection.limit)
    for name in (OLDER, CURRENT):
        path = Path(directory, name)
        try:
            for line in iter_lines(path):
                found.damaged += line.is_damaged
                found.has_short_line |= line.is_short
                if line.event is not None and selection.fits(line.event):
                    found.is_cut |= len(newest) == selection.limit
                    newest.append(line.event)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.problems.append(f"{path}: {error.strerror or error}")
    found.events = list(newest)
    return found


def iter_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file, oldest first, without having all of it in memory.

    Raises OSError where it cannot be read, or is no regular file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        left = MAX_READ
        while left > 0 and (text := file.readline(MAX_LINE)):
            left -= len(text)
            if text.endswith(b"\n"):
                yield _parse(text)
            elif len(text) < MAX_LINE:
                yield Line(text, None, is_short=True)
            else:
                yield Line(text, None, is_damaged=True)


def _parse(text: bytes) -> Line:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Line(text, None, is_damaged=True)
    try:
        return Line(text, Event.from_json(value))
    except ValueError:
        pass
    # A later release may know more kinds of events.
    known = isinstance(value, dict) and "at" in value and isinstance(value.get("kind"), str)
    return Line(text, None, is_damaged=not known)
