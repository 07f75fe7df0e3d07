"""Accept or refuse a message of an agent: size, sender, epoch (stdlib only, pure).

A process that may open the socket may send anything. So cheap checks come first, and a message of
a connection that does not own the lease is parsed only if it can have an effect.
"""

from __future__ import annotations

from dataclasses import dataclass

from anycastd.lease.messages import (
    MAX_MESSAGE,
    MessageError,
    Reload,
    Want,
    count_routes,
    parse_agent_message,
)
from anycastd.lease.settings import Settings

MAX_FOREIGN_MESSAGE = 256 * 1024
"""Maximum size in bytes of a message on a connection that does not own the lease.

Where the settings allow more routes than fit into it, it is ``ROUTE_SIZE`` for each of them.
"""
ROUTE_SIZE = 1024
"""Bytes of a route in a message: more than one with twenty ASNs and twenty communities needs."""

MIN_ROUTES = 1000
"""Routes that a message may have, however few the settings allow.

Twice as many as the settings allow may come, too: after a change of the profile the agent knows of
routes that the speaker does not know of yet, and those are only left out.
"""

MAX_EPOCH_AHEAD = 5_000_000_000
"""Nanoseconds that an epoch may lie ahead of this machine's monotonic clock."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a message, as the kernel says.

    ``pids`` are its process ids, one of which must be in its message: in our pid namespace and in
    its own (empty: not known).  ``uid`` is its user.  ``clock`` is the machine's monotonic clock in
    nanoseconds (None: epochs are not compared with it).
    """

    pids: frozenset[int] = frozenset()
    uid: int | None = None
    clock: int | None = None

    def __str__(self) -> str:
        return f"pid {min(self.pids, default=0)}, uid {self.uid}"


def compute_max_message(settings: Settings, *, owns: bool) -> int:
    """Compute the maximum size in bytes of a message; ``owns``: it comes from the lease's owner."""
    if owns:
        return MAX_MESSAGE
    size = ROUTE_SIZE * len(settings.prefixes) * len(settings.neighbors)
    return min(MAX_MESSAGE, max(MAX_FOREIGN_MESSAGE, size))


def accept_message(line: bytes, sender: Sender, settings: Settings, *, owns: bool) -> Want | Reload:
    """Parse a message of ``sender``; ``owns``: it owns the lease.

    Raises MessageError where the message is too long, has more routes than the settings allow, is
    not valid, names another process than its sender, or has an epoch that lies ahead of the clock.
    """
    if len(line) > compute_max_message(settings, owns=owns):
        raise MessageError(f"{len(line)} bytes are more than a message may have")
    allowed = len(settings.prefixes) * len(settings.neighbors)
    count = count_routes(line)
    if not owns and count > max(MIN_ROUTES, 2 * allowed):
        raise MessageError(f"it has {count} routes; the speaker's profile allows {allowed}")
    try:
        message = parse_agent_message(line)
    except MemoryError:
        raise MessageError("there is no memory to read it") from None
    if isinstance(message, Want):
        _check_sender(message, sender)
    return message


def _check_sender(want: Want, sender: Sender) -> None:
    if sender.pids and want.pid not in sender.pids:
        real = min(sender.pids)
        raise MessageError(f"it says that it comes from pid {want.pid}, but pid {real} sent it")
    if sender.clock is not None and want.epoch > sender.clock + MAX_EPOCH_AHEAD:
        ahead = (want.epoch - sender.clock) / 1e9
        raise MessageError(
            f"its epoch lies {ahead:.3g} s ahead of this machine's monotonic clock: "
            "the agent must run on the speaker's machine, and in its time namespace"
        )
