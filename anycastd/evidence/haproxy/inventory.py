"""HAProxy's inventory through haproxyadmin: for `check` only, never for the running agent.

haproxyadmin is good at naming what a HAProxy has.  It blocks, takes two connections for each
property, and its time-outs are per read, so that a slow HAProxy may hold it for as long as it
likes: all of that is fine once, with a deadline, and nothing for a daemon.
"""

from __future__ import annotations

import os
import socket as sockets
import stat
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from haproxyadmin import haproxy
from haproxyadmin.exceptions import HAProxyBaseError


class InventoryError(Exception):
    """Why there is no inventory: what is wrong with which socket, and what to do."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a HAProxy has: its version, its worker's pid, servers by backend, frontends."""

    version: str
    pid: int
    backends: Mapping[str, tuple[str, ...]]
    frontends: tuple[str, ...]


def read_inventory(socket: str, within: float = 5.0) -> Inventory:
    """Ask the HAProxy behind the stats socket ``socket`` what it has, in ``within`` seconds.

    Raises InventoryError.
    """
    _reach(socket, within)
    outcome: list[Inventory | Exception] = []

    def ask() -> None:
        try:
            outcome.append(_ask(socket, within))
        # haproxyadmin lets through whatever its parsing meets; all of it means the same here.
        except Exception as error:  # noqa: BLE001
            traceback.clear_frames(error.__traceback__)  # it leaves a socket open in one of them
            outcome.append(error)

    # A thread, and no waiting for its end: a HAProxy that drips would never let it end.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within)
    match outcome:
        case [Inventory() as found]:
            return found
        case [Exception() as error] if not isinstance(error, HAProxyBaseError | OSError):
            _reach(socket, within)  # a HAProxy that was just dying is refused by now
            raise InventoryError(f"{socket}: not an answer of HAProxy's ({error})") from error
        case _:
            raise InventoryError(
                f"{socket}: no answer within {within:g} s: HAProxy hangs, or all its "
                "`stats maxconn` connections are taken"
            )


def _ask(socket: str, within: float) -> Inventory:
    # With the library's own retries a dead socket takes 6 s, a hung one 9 s.  Its time-out has no
    # words of its own, so it comes after our deadline.
    process = haproxy.HAProxy(socket_file=socket, retry=None, retry_interval=0, timeout=2 * within)
    return Inventory(
        version=str(process.version),
        pid=int(process.processids[0]),
        backends={
            backend.name: tuple(sorted(server.name for server in backend.servers()))
            for backend in process.backends()
        },
        frontends=tuple(sorted(frontend.name for frontend in process.frontends())),
    )


def _reach(path: str, within: float) -> None:
    """Connect once: haproxyadmin says the same of a missing, forbidden, dead and hung socket."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # connecting would say "refused"
            raise InventoryError(
                f"{path}: not a socket; write the path of HAProxy's `stats socket`"
            )
        with sockets.socket(sockets.AF_UNIX) as probe:
            probe.settimeout(within)
            probe.connect(path)
    except FileNotFoundError:
        raise InventoryError(
            f"{path}: no such file; start HAProxy, or write the path of its `stats socket`"
        ) from None
    except PermissionError:
        raise InventoryError(
            f"{path}: no permission; join the group that HAProxy's `stats socket` line names"
        ) from None
    except ConnectionRefusedError:
        raise InventoryError(f"{path}: nobody listens there; start HAProxy") from None
    except OSError as error:
        raise InventoryError(f"{path}: {error.strerror or error}") from None
