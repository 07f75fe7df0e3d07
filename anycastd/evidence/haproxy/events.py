"""Lines of HAProxy's event ring: after which of them to look (pure).

They are lines of HAProxy's log, which ``show events`` gives (management manual, section 9.3).
"""

from __future__ import annotations

import re
from enum import Enum

from anycastd.evidence.haproxy.snapshot import Worker
from anycastd.evidence.haproxy.stats import parse_worker


class Event(Enum):
    """Class of a line of the event ring: what to do about it.

    NOTHING: ignore it.  LOOK: a server or a proxy changed.  STOPPING: the worker stops.
    """

    NOTHING = "nothing"
    LOOK = "look"
    STOPPING = "stopping"


# Lines come as `format raw`, or after whatever header the operator's ring writes.
_SERVER = re.compile(r"(?:Server|(?:Health|Agent) check for (?:backup )?server) ([^\s/]+)/\S+ ")
_PROXY = re.compile(r"(?:Paused|Resumed) \S+ (\S+)\.|(\S+) has no server available!")
_STOPPED = re.compile(r"Proxy (\S+) (?:hard-)?stopped \(")


def classify_event(line: str) -> tuple[Event, str]:
    """Classify a line of the event ring; returns (what to do, name of the proxy or empty)."""
    if match := _STOPPED.search(line):
        return Event.STOPPING, match[1]
    if match := _SERVER.search(line):
        return Event.LOOK, match[1]
    if match := _PROXY.search(line):
        return Event.LOOK, match[1] or match[2]
    return Event.NOTHING, ""


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
        return None
    return parse_worker(info.split("\n")), rest


def explain_refusal(answer: str, ring_name: str) -> str:
    """Explain why HAProxy refused an event stream, and what to write; returns a sentence.

    ``level operator`` is an option of the `stats socket` line (configuration manual, section 5.1).
    """
    if "No such event sink" in answer:
        return f"it has no ring named {ring_name}: {describe_ring_setup(ring_name)}"
    if "Permission denied" in answer:
        return "it shows events to `level operator` only: write that on its `stats socket` line"
    return f"it gives no events: {answer.strip()[:80] or 'no answer'}"
