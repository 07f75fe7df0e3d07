"""How the agent logs: text, JSON, or entries of the journal with fields.

A record that `EventLog` has made has its event; all others are texts with a priority.
"""

from __future__ import annotations

import json
import logging
import sys

from anycastd.cli.output import MAX_LINE
from anycastd.system.journal import JournalSocket, encode_fields, is_journal
from anycastd.system.log_queue import QueuedLogHandler
from anycastd.system.printable import make_printable
from anycastd.views.events import Event, format_time

FORMATS = ("auto", "text", "json")
"""Forms of the log; ``auto`` is the journal's where standard error is the journal, else text."""
NAME = "anycastd"
"""SYSLOG_IDENTIFIER of the agent."""


def log_to_stderr(*, wait: bool = True, form: str = "auto") -> None:
    """Log to standard error, with the wall time on a terminal only: a journal adds its own.

    ``form`` is one of FORMATS.  ``wait``: a line is written when the call that logs it returns.
    Without it nothing ever waits for the reader of the log, and what is not read is dropped and
    counted; where standard error is the journal, entries with fields go there instead.
    """
    use_journal = form == "auto" and not wait and is_journal()
    formatter: logging.Formatter = _TextFormatter(with_prefix=use_journal)
    if form == "json":
        formatter = _JsonFormatter()
    handler: logging.Handler = logging.StreamHandler()
    if use_journal:
        handler = QueuedLogHandler(journal=JournalSocket(), encode=encode_record)
    elif not wait:
        handler = QueuedLogHandler()
    handler.setFormatter(formatter)
    handler.addFilter(_make_record_printable)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def encode_record(record: logging.LogRecord) -> bytes:
    """Encode a record as an entry of the journal (systemd.journal-fields(7))."""
    event = _find_event(record)
    fields: dict[str, str | int | float | None] = {
        "MESSAGE": _describe(record),
        "PRIORITY": _find_priority(record),
        "SYSLOG_IDENTIFIER": NAME,
    }
    if event is not None:
        fields |= {
            "MESSAGE_ID": event.kind.message_id,
            "SERVICE": event.service,
            "REASON": event.reason,
            "ANYCASTD_KIND": event.kind.value,
            "ANYCASTD_NEIGHBOR": event.neighbor,
            "ANYCASTD_HAPROXY": event.haproxy,
            "ANYCASTD_NUMBER": event.number,
        }
        fields |= {f"ANYCASTD_{name}": value for name, value in event.fields.items()}
    return encode_fields(fields)


class _TextFormatter(logging.Formatter):
    """One line a record; a warning that is no event is marked.

    ``with_prefix``: with the priority as `<N>`, as journald reads it from a stream (sd-daemon(3)).
    """

    def __init__(self, *, with_prefix: bool) -> None:
        super().__init__()
        self._with_prefix = with_prefix
        self._with_time = sys.stderr.isatty()

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        prefix = f"<{_find_priority(record)}>" if self._with_prefix else ""
        stamp = f"{self.formatTime(record)} " if self._with_time else ""
        is_marked = record.levelno == logging.WARNING and _find_event(record) is None
        mark = "warning: " if is_marked else ""
        return f"{prefix}{stamp}{NAME}: {mark}{_describe(record)}"


class _JsonFormatter(logging.Formatter):
    """One JSON object a record: an event as in the history, or a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        event = _find_event(record)
        if event is None:
            at = record.created
            value = {"v": 1, "at": round(at, 3), "time": format_time(at), "kind": "message"}
            value["text"] = _describe(record)
        else:
            value = event.to_json()
        return json.dumps({**value, "priority": _find_priority(record)})


def _describe(record: logging.LogRecord) -> str:
    """Return the message of a record, with the traceback that it may have."""
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _find_event(record: logging.LogRecord) -> Event | None:
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else None


def _find_priority(record: logging.LogRecord) -> int:
    """Return the priority of a record, as syslog(3) counts it."""
    event = _find_event(record)
    if event is not None:
        return event.priority
    return next((number for level, number in _PRIORITIES if record.levelno >= level), 7)


_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)


def _make_record_printable(record: logging.LogRecord) -> bool:
    """Make a message printable, its further lines indented: none of them looks like another one."""
    message = record.getMessage()
    if not message.isprintable():
        lines = (make_printable(line, MAX_LINE) for line in message.split("\n"))
        record.msg, record.args = "\n  ".join(lines), ()
    return True
