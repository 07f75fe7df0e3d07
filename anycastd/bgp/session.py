"""State of a BGP session, and why one was closed, with what to do (stdlib only, pure).

The codes of NOTIFICATION messages are those of RFC 4271 section 4.5, RFC 4486 and RFC 8538
(Cease), RFC 5492 (capabilities), RFC 9234 (role mismatch) and RFC 9384 (BFD down).
"""

from __future__ import annotations

from enum import Enum

NO_CONNECTION = (
    "no connection, or it was closed without a NOTIFICATION: see whether the neighbor is "
    "reachable, listens on TCP port 179, expects this address, and has the same MD5 password "
    "(or none, as here)"
)
"""Text for operators: why a session is down where no NOTIFICATION gives a reason."""
UNREADABLE = (
    "closed by the neighbor: a NOTIFICATION that this ExaBGP cannot read, "
    "perhaps a Cease with a text"
)
"""Text for operators: the neighbor sent a NOTIFICATION that ExaBGP could not parse.

A Cease may carry a text (RFC 9003).
"""

_OPEN = {
    1: "unsupported BGP version",
    2: "bad peer AS",
    3: "bad BGP identifier",
    4: "unsupported optional parameter",
    5: "authentication failure",
    6: "unacceptable hold time",
    7: "unsupported capability",
    11: "role mismatch",
}
_CEASE = {
    1: "maximum number of prefixes reached",
    2: "administrative shutdown",
    3: "peer de-configured",
    4: "administrative reset",
    5: "connection rejected",
    6: "other configuration change",
    7: "connection collision resolution",
    8: "out of resources",
    9: "hard reset",
    10: "BFD down",
}
_ERRORS = {
    1: "message header error",
    3: "UPDATE message error",
    4: "hold timer expired",
    5: "finite state machine error",
    7: "ROUTE-REFRESH message error",
}
# (sent by us, code, subcode) -> what to do
_REMEDIES = {
    (True, 2, 2): "its AS number is not the profile's `peer_as`",
    (False, 2, 2): "it expects another AS number than the profile's `local_as`",
    (False, 2, 3): "see `router_id`: it must be this machine's own",
    (True, 2, 6): "its hold time is 1 or 2 s",
    (False, 2, 6): "see `hold_time`",
    (True, 4, 0): "no message came from it for the hold time",
    (False, 4, 0): "it received no message from here for the hold time",
    (False, 6, 5): "it has no neighbor of this address and AS number",
}


def describe_notification(code: int, subcode: int, *, sent: bool) -> str:
    """Describe a NOTIFICATION message (RFC 4271 section 4.5), and what to do about it.

    ``sent``: we sent it; otherwise the neighbor did.  Returns one line of text for operators, also
    for codes that no RFC defines.
    """
    if code == 2:  # noqa: PLR2004 - OPEN message error
        error = _OPEN.get(subcode, "OPEN message error")
    elif code == 6:  # noqa: PLR2004 - Cease
        error = f"Cease, {_CEASE.get(subcode, 'for no known reason')}"
    else:
        error = _ERRORS.get(code, "an unknown error")
    closed = "closed from here" if sent else "closed by the neighbor"
    remedy = _REMEDIES.get((sent, code, subcode))
    return f"{closed}: {error} ({code}/{subcode})" + (f"; {remedy}" if remedy else "")


class Session(Enum):
    """State of the session with a neighbor.

    UP is the state Established of RFC 4271 section 8.2.2, DOWN is any other state.  UNKNOWN: the
    speaker has not reported it yet.
    """

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
