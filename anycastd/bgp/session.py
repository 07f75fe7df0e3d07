"""State of a BGP session, and why one was closed, with what to do (stdlib only, pure).

The codes of NOTIFICATION messages are those of RFC 4271 section 4.5, RFC 4486 and RFC 8538
(Cease), RFC 5492 (capabilities), RFC 9234 (role mismatch), RFC 9384 (BFD down) and RFC 9687
(send hold timer).
"""

from __future__ import annotations

from enum import Enum

NO_CONNECTION = (
    "no connection, or it was closed without a NOTIFICATION: see whether the neighbor is "
    "reachable, listens on TCP port 179, expects this address and is not shut down for it, and has "
    "the same MD5 password (or none, as here); if it checks the TTL (ttl-security, GTSM), write "
    "`multihop: 255`"
)
"""Text for operators: why a session is down where no NOTIFICATION gives a reason."""
NOT_TAKEN = (
    "closed from here: the neighbor took nothing of what was sent for longer than the hold time: "
    "it hangs, or packets to it are lost (a firewall, or a large packet where the MTU is small)"
)
"""Text for operators: the kernel gave up to deliver what was sent (RFC 9687)."""
NO_REASON = (
    "closed from here: ExaBGP gives no reason; most often it did not understand a message of the "
    "neighbor"
)
"""Text for operators: an error inside ExaBGP ended the session."""
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
    8: "send hold timer expired",
}
# (sent by us, code, subcode) -> what to do
_REMEDIES = {
    (True, 1, 1): "what answers there is no BGP router: see `address`",
    (True, 2, 0): "a capability in its OPEN cannot be read: see what it announces of itself",
    (False, 2, 0): "it cannot read this OPEN (an FRR with `extended-optional-parameters` cannot)",
    (True, 2, 1): "it does not speak BGP version 4",
    (False, 2, 1): "it does not speak BGP version 4",
    (True, 2, 2): "its AS number is not the profile's `peer_as`",
    (False, 2, 2): "it expects another AS number than the profile's `local_as`",
    (True, 2, 3): "its BGP identifier is 0.0.0.0 or the one of this machine",
    (False, 2, 3): "see `router_id`: it must be this machine's own",
    (False, 2, 5): "see `md5_file`, and its authentication",
    (True, 2, 6): "its hold time is 1 or 2 s",
    (False, 2, 6): "see `hold_time`: write what it takes, or lower its minimum hold time",
    (False, 2, 11): "it insists on a role (RFC 9234), which is not offered: let it accept sessions "
    "without one (no `strict-mode`, `require roles off`)",
    (False, 2, 7): "it refuses what is offered, often an address family: see `families`",
    (True, 4, 0): "no message came from it for the hold time",
    (False, 4, 0): "it received no message from here for the hold time",
    (False, 8, 0): "nothing that it sent was taken for a long time: see the load of this machine",
    (False, 6, 1): "raise its limit of prefixes; it may wait until it is reset there by hand",
    (False, 6, 5): "it has no neighbor of this address and AS number",
    (False, 6, 7): "it has another connection from this address: look for a second speaker here, "
    "or another machine with the same `local_address` or `router_id`",
    (False, 6, 8): "it has no memory or no session left",
    (False, 6, 10): "see `bfd` and its BFD session",
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
    if code == 3 and not sent:  # noqa: PLR2004 - UPDATE message error
        remedy = "it does not accept what is announced: its log says why"
    return f"{closed}: {error} ({code}/{subcode})" + (f"; {remedy}" if remedy else "")


class Session(Enum):
    """State of the session with a neighbor.

    UP is the state Established of RFC 4271 section 8.2.2, DOWN is any other state.  UNKNOWN: the
    speaker has not reported it yet.
    """

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
