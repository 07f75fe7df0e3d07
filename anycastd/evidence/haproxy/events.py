"""Lines of HAProxy's event ring: after which of them to look (pure).

They are lines of HAProxy's log, which ``show events`` gives (management manual, section 9.3).
"""

from __future__ import annotations

import re
from enum import Enum

from anycastd.evidence.haproxy.answer import MalformedAnswerError
from anycastd.evidence.haproxy.snapshot import Worker
from anycastd.evidence.haproxy.stats import parse_worker
from anycastd.system.printable import make_printable

MAX_START = 1 << 15
"""Maximum number of characters of the answer to ``show info``; HAProxy 3.0 has 2,300."""


class Event(Enum):
    """Class of a line of the event ring: what to do about it.

    NOTHING: ignore it.  LOOK: a server or a proxy changed.  STOPPING: the worker stops.
    LIMIT: the worker has reached a limit of its own (descriptors, memory).  PAUSED, RESUMED: a
    frontend refuses connections, or accepts them again; look, too.
    """

    NOTHING = "nothing"
    LOOK = "look"
    STOPPING = "stopping"
    LIMIT = "limit"
    PAUSED = "paused"
    RESUMED = "resumed"


# What precedes a message, by `format` of the ring (configuration manual, section 3.9): nothing for
# `raw`, and the headers of RFC 5424 (section 6), RFC 3164 and the formats made from them.  Requests
# have the same headers.  Behind the header stands what the format says, with text of clients in it.
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:[\d.]{2,9}[-+\dZ:]{1,6} "
_HEADER = (
    r"(?:<\d{1,3}>)?"
    rf"(?:{_TIME}|1 {_TIME}(?:[^ ]{{1,255}} ){{3}}[^ ]{{1,32}} - "
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:[^ ]{0,254}[^ :] )?[^ ]{1,255}: )?"
)
# Proxies and servers have no other characters in their names (configuration manual, section 4).
_NAME = r"[-\w.:]{1,255}"
# HAProxy's own messages, from the first character to behind the name.  What a client writes stands
# in the middle of a line of another form, so it is never taken for one of them.  Each part is
# bounded, so that a line of any length costs the same.
_MESSAGE = re.compile(
    rf"{_HEADER}(?:"
    rf"(?:Backup )?Server (?P<server>{_NAME}/{_NAME}) "
    rf"|(?:Health|Agent) check for (?:backup )?server (?P<check>{_NAME}/{_NAME}) "
    rf"(?:conditionally )?(?:succeeded|failed)[,.]"
    rf"|(?P<address>{_NAME}/{_NAME}) changed its (?:IP|FQDN|port) from "
    rf"|Paused [a-z]{{1,20}} (?P<paused>{_NAME})\.$"
    rf"|Resumed [a-z]{{1,20}} (?P<resumed>{_NAME})\.$"
    rf"|[a-z]{{1,20}} (?P<empty>{_NAME}) has no server available!$"
    rf"|Proxy (?P<stopped>{_NAME}|<HTTPCLIENT>) (?:hard-)?stopped \("
    rf"|Proxy (?P<limit>{_NAME}) reached (?:process FD|system FD|system memory) limit"
    r")",
    re.ASCII,
)
_EVENTS = {
    "stopped": Event.STOPPING,
    "limit": Event.LIMIT,
    "paused": Event.PAUSED,
    "resumed": Event.RESUMED,
}


def classify_event(line: str) -> tuple[Event, str, str]:
    """Classify a line of the event ring; returns (what to do, proxy or empty, server or empty).

    Only a line that has the form of a message of HAProxy's own, from its first character on, is
    more than NOTHING.  The time for it does not grow with the length of the line.
    """
    match = _MESSAGE.match(line)
    if match is None or match.lastgroup is None:
        return Event.NOTHING, "", ""
    proxy, _, server = match[match.lastgroup].partition("/")
    return _EVENTS.get(match.lastgroup, Event.LOOK), proxy, server


def build_stream_request(ring: str) -> str:
    """Build the request line that opens an event stream, with its newline.

    Its answer is that to ``show info``, then each new line of the ring.  Both commands are in
    HAProxy's management manual, section 9.3.
    """
    return f"show info;show events {ring} -w -n\n"


def describe_ring_setup(name: str) -> str:
    """Describe what to write into haproxy.cfg, so that HAProxy sends its events.

    ``log`` is described in HAProxy's configuration manual, sections 3.1 (`global`) and 4.2.
    """
    return (
        f"add a section `ring {name}` with `format raw`, "
        f"`log ring@{name} format raw local0 notice` to `global` and `log global` to `defaults`"
    )


def parse_stream_start(text: str) -> tuple[Worker, str] | None:
    """Parse the start of a stream: the answer to ``show info``.

    Returns (worker, the rest of ``text``), or None while the answer is incomplete.  Raises
    MalformedAnswerError when it is not an answer to ``build_stream_request``.
    """
    info, end, rest = text.partition("\n\n")
    if not end:
        if len(text) > MAX_START:
            raise MalformedAnswerError(f"`show info` has no end in {MAX_START} characters")
        return None
    return parse_worker(info.split("\n")), rest


def is_refusal(line: str) -> bool:
    """Return whether a line is HAProxy's refusal of an event stream, not an event."""
    return line.startswith(("No such event sink", "Permission denied"))


def explain_refusal(answer: str, ring_name: str) -> str:
    """Explain why HAProxy refused an event stream, and what to write; returns a sentence.

    ``level operator`` is an option of the `stats socket` line (configuration manual, section 5.1).
    """
    if "No such event sink" in answer:
        return f"it has no ring named {ring_name}: {describe_ring_setup(ring_name)}"
    if "Permission denied" in answer:
        return "it shows events to `level operator` only: write that on its `stats socket` line"
    return f"it gives no events: {make_printable(answer.strip(), 80) or 'no answer'}"
