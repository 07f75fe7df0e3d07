"""The forms of the agent's log."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from anycastd.cli.log import encode_record
from anycastd.views.events import Event, EventKind

EVENT = Event(
    1764471680.5,
    EventKind.TRANSITION,
    "web: preferred -> withdrawn: a reason",
    service="web",
    reason="too_few_servers",
    fields={"from": "preferred", "to": "withdrawn", "sent_ms": 1.5, "acknowledged_ms": None},
    number=7,
)
PROGRAM = """
import logging, sys
from anycastd.agent.event_log import EventLog
from anycastd.cli.log import log_to_stderr
from anycastd.views.events import Event, EventKind
log_to_stderr(wait=False, form=sys.argv[1])
EventLog().record(Event(5.0, EventKind.SESSION_LOST, "a session is lost", neighbor="192.0.2.4"))
logging.getLogger("x").warning("careful\\x1b[31m\\nnext")
logging.getLogger("x").info("100% fine")
try:
    raise ValueError("why")
except ValueError:
    logging.getLogger("x").exception("a bug")
logging.getLogger().handlers[0].flush()
"""


def run(form: str) -> list[str]:
    """Log some records in a process of its own; return its lines on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    return done.stderr.splitlines()


def test_text_is_one_line_a_change() -> None:
    """A warning that is no event is marked; nothing of others can look like a line."""
    lines = run("text")
    assert lines[:5] == [
        "anycastd: a session is lost",
        "anycastd: warning: careful\\x1b[31m",
        "  next",
        "anycastd: 100% fine",
        "anycastd: a bug",
    ]
    assert lines[-1] == "ValueError: why"
    assert run("auto") == lines, "standard error is not the journal"


def test_json_is_one_object_a_line() -> None:
    """An event is as in the history; other messages have their text and priority."""
    values = [json.loads(line) for line in run("json")]
    assert [(each["kind"], each["priority"]) for each in values] == [
        ("session_lost", 4),
        ("message", 4),
        ("message", 6),
        ("message", 3),
    ]
    assert Event.from_json(values[0]).neighbor == "192.0.2.4"
    assert values[1]["text"] == "careful\\x1b[31m\n  next"
    assert values[3]["text"].endswith("ValueError: why")
    assert all(each["time"].endswith("Z") for each in values)


def test_an_event_has_fields_in_the_journal() -> None:
    """Those of every program, and ours."""
    record = logging.LogRecord("x", logging.ERROR, "", 0, EVENT.text, (), None)
    record.event = EVENT
    assert encode_record(record).decode().splitlines() == [
        "MESSAGE=web: preferred -> withdrawn: a reason",
        "PRIORITY=3",
        "SYSLOG_IDENTIFIER=anycastd",
        f"MESSAGE_ID={EventKind.TRANSITION.message_id}",
        "SERVICE=web",
        "REASON=too_few_servers",
        "ANYCASTD_KIND=transition",
        "ANYCASTD_NUMBER=7",
        "ANYCASTD_FROM=preferred",
        "ANYCASTD_TO=withdrawn",
        "ANYCASTD_SENT_MS=1.5",
    ]
