"""What a hook is told of an event, and which events it is told of (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from anycastd.views.events import Event, EventKind

EVENT_GROUPS: Mapping[str, frozenset[EventKind]] = {
    "transition": frozenset({EventKind.TRANSITION}),
    "drain": frozenset({EventKind.DRAIN_BEGAN, EventKind.DRAIN_ENDED, EventKind.RETURN}),
    "problem": frozenset({EventKind.PROBLEM_BEGAN, EventKind.PROBLEM_ENDED}),
    "session": frozenset({EventKind.SESSION_LOST, EventKind.SESSION_FOUND}),
    "haproxy": frozenset(
        {
            EventKind.HAPROXY_GONE,
            EventKind.HAPROXY_BACK,
            EventKind.HAPROXY_CHANGED,
            EventKind.MAINTENANCE_BEGAN,
            EventKind.MAINTENANCE_ENDED,
        }
    ),
    "speaker": frozenset({EventKind.LEASE_EXPIRED, EventKind.REPAIR}),
    "agent": frozenset(
        {
            EventKind.AGENT_STARTED,
            EventKind.AGENT_STOPPED,
            EventKind.RELOAD_DONE,
            EventKind.RELOAD_REFUSED,
        }
    ),
}
"""Word of `events` in a hook of the profile -> kinds of events; each kind is in one of them."""


def build_input(event: Event, region: str) -> bytes:
    """Return what stands on a hook's standard input: one line of JSON, newline included.

    It is the event as the history has it, with ``region``.
    """
    return json.dumps({**event.to_json(), "region": region}).encode() + b"\n"


def build_variables(event: Event, region: str) -> dict[str, str]:
    """Return the environment variables of a hook: what a short script needs without JSON."""
    variables = {
        "ANYCASTD_REGION": region,
        "ANYCASTD_KIND": event.kind.value,
        "ANYCASTD_SERVICE": event.service,
        "ANYCASTD_FROM": str(event.fields.get("from") or ""),
        "ANYCASTD_TO": str(event.fields.get("to") or ""),
        "ANYCASTD_REASON": event.reason,
        "ANYCASTD_TEXT": event.text,
    }
    # A variable cannot have a NUL, execve(2).
    return {name: value.replace("\0", "") for name, value in variables.items()}
