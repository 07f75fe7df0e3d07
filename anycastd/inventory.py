"""What HAProxy has, through haproxyadmin: for `check` and the lab, never for the daemon.

haproxyadmin blocks, opens several connections for one question, and its time-out is one for each
read; DESIGN.md has the figures.  It is right for a list that a person asks for once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from haproxyadmin import haproxy
from haproxyadmin.exceptions import HAProxySocketError

TIMEOUT = 1.0
"""Seconds for each read; haproxyadmin has no bound for a whole question."""


class InventoryError(Exception):
    """HAProxy's inventory cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """HAProxy's version, its frontends, and its backends with the names of their servers."""

    version: str
    frontends: tuple[str, ...]
    backends: dict[str, tuple[str, ...]]


def inventory(socket: str) -> Inventory:
    """Ask the HAProxy behind the stats socket ``socket`` what it has; raises InventoryError."""
    if not Path(socket).exists():
        raise InventoryError(f"{socket}: there is no such socket; start HAProxy, or correct it")
    try:
        # Its own retries would take 6 s for a dead socket and 9 s for a hung one.
        asked = haproxy.HAProxy(socket_file=socket, retry=None, retry_interval=0, timeout=TIMEOUT)
        return Inventory(
            version=str(asked.version),
            frontends=tuple(sorted(frontend.name for frontend in asked.frontends())),
            backends={
                backend.name: tuple(sorted(server.name for server in backend.servers()))
                for backend in asked.backends()
            },
        )
    except (OSError, ValueError, HAProxySocketError) as error:
        # Dead, hung and forbidden sockets all give one ValueError here.
        raise InventoryError(
            f"{socket}: HAProxy gives no inventory ({error}); see whether it answers, and whether "
            "this user may use the socket"
        ) from None
