"""What the shim, ExaBGP's configuration and the lease process agree on (stdlib only, pure).

The shim runs inside ExaBGP, the lease process is ExaBGP's API child.  After an upgrade a running
shim meets newer code, so names and values here do not change; fields are only ever added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from anycastd.bgp.negotiated import Negotiated

PARENT_VARIABLE = "ANYCASTD_PARENT"
"""Environment of the shim: the pid of the process whose death must end ExaBGP."""

LOADED_VARIABLE = "ANYCASTD_LOADED"
"""Environment of the lease process: the hash of the configuration that ExaBGP runs.

Only a shim that can read another configuration sets it.
"""

NOT_TAKEN = "(anycastd: not taken)"
"""What the shim adds to the reason for a closed session: the peer took nothing for too long."""

WATCH_COMMENT = "# watched"
"""First line of an API child that wants to be ended when it sends nothing for some seconds."""

_EVENT_TYPE = "anycastd"
_NEGOTIATED = "negotiated"


def format_config_line(config: str) -> str:
    """Format the line of exabgp.conf that says which configuration the file holds.

    ``config`` is a hash; the line is the first or the second of the file.
    """
    return f"# config {config}\n"


def parse_config_line(lines: Iterable[str]) -> str:
    """Return the hash that one of the first lines of an exabgp.conf holds, or an empty string."""
    for line in lines:
        if found := re.fullmatch(r"# config (\S+)\n", line):
            return found[1]
    return ""


def dump_loaded_event(config: str, error: str | None) -> str:
    """Format the line of JSON that the shim sends to the API child after a reload.

    The line has no newline.  ``config`` is the hash of what ExaBGP runs now.  ``error`` says why a
    new configuration was not taken, None: it was.
    """
    event = {"type": _EVENT_TYPE, "loaded": config}
    return json.dumps(event if error is None else event | {"error": error})


def parse_loaded_event(event: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Return ``config`` and ``error`` of ``dump_loaded_event``, or None for another kind of event.

    Raises KeyError where the event has no hash.
    """
    if event.get("type") != _EVENT_TYPE or _NEGOTIATED in event:
        return None
    error = event.get("error")
    return str(event["loaded"]), None if error is None else str(error)


def dump_negotiated_event(neighbor: str, negotiated: Negotiated) -> str:
    """Format the line of JSON that the shim sends to the API child before a session comes up.

    The line has no newline.  ``neighbor`` is the address.  A child that was just started gets the
    lines of all sessions.
    """
    event = {"type": _EVENT_TYPE, _NEGOTIATED: negotiated.dump(), "neighbor": neighbor}
    return json.dumps(event)


def parse_negotiated_event(event: Mapping[str, Any]) -> tuple[str, Negotiated] | None:
    """Return the values of ``dump_negotiated_event``, or None for another kind of event.

    Raises KeyError, TypeError or ValueError where a value is missing or of another type.
    """
    if event.get("type") != _EVENT_TYPE or _NEGOTIATED not in event:
        return None
    return str(event["neighbor"]), Negotiated.load(event[_NEGOTIATED])


def format_peer_as(number: int) -> str:
    """Format what the shim adds to the reason for a refused session: the peer's AS number."""
    return f"(anycastd: peer AS {number})"


def parse_peer_as(reason: str) -> int | None:
    """Return the number of ``format_peer_as`` in the reason for a refused session, or None."""
    found = re.search(r"\(anycastd: peer AS (\d+)\)", reason)
    return int(found[1]) if found else None
