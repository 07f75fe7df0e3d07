"""HAProxy's inventory, partly through haproxyadmin: for `check` only, never for the running agent.

haproxyadmin knows version and workers of a HAProxy.  It blocks, opens two connections for each
property, and its timeouts are for each read, so a slow HAProxy may delay it without bound.  That is
acceptable once, with a deadline, but not in a daemon.
"""

from __future__ import annotations

import os
import re
import socket as sockets
import stat
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from haproxyadmin import haproxy
from haproxyadmin.exceptions import HAProxyBaseError

from anycastd.evidence.haproxy.advice import ServerRow, parse_server_rows
from anycastd.evidence.haproxy.answer import (
    MASTER_SOCKET,
    MAX_HEAD,
    MalformedAnswerError,
    is_masters_answer,
    split_answer,
    split_row,
)
from anycastd.evidence.haproxy.query import SHOW_ALL
from anycastd.evidence.haproxy.stats_socket import connect_blocking
from anycastd.system.printable import make_printable


class InventoryError(Exception):
    """There is no inventory; the message names the socket, the problem and the remedy."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a HAProxy has.

    ``version``; ``pid`` of its worker; ``backends``: name -> names of its servers; ``frontends``:
    names.
    """

    version: str
    pid: int
    backends: Mapping[str, tuple[str, ...]]
    frontends: tuple[str, ...]


def read_inventory(socket: str, timeout: float = 5.0) -> Inventory:
    """Ask the HAProxy behind the stats socket ``socket`` what it has.

    It blocks: each step may take ``timeout`` seconds, usually there are two.  Raises InventoryError
    where the path is no socket, is missing or forbidden, where nothing listens, and
    where HAProxy gives no answer in time or one that haproxyadmin cannot read.
    """
    _reach(socket, timeout)
    outcome: list[Inventory | Exception] = []

    def ask() -> None:
        try:
            outcome.append(_ask(socket, timeout))
        # haproxyadmin raises whatever its parsing runs into; all of it means the same here.
        except Exception as error:  # noqa: BLE001
            traceback.clear_frames(error.__traceback__)  # it leaves a socket open in one of them
            outcome.append(error)

    # A daemon thread that is not waited for: a HAProxy that answers slowly might never let it end.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    match outcome:
        case [Inventory() as found]:
            return found
        case [Exception() as error] if not isinstance(error, HAProxyBaseError | OSError):
            _reach(socket, timeout)  # a HAProxy that was just dying is refused by now
            raise InventoryError(
                f"{socket}: not an answer of HAProxy ({make_printable(str(error), 120)})"
            ) from error
        case _:
            raise InventoryError(f"{socket}: {_describe_silence(timeout)}")


def read_servers(socket: str, timeout: float = 2.0) -> dict[str, list[ServerRow]]:
    """Ask HAProxy for the address of each server: backend -> its servers.

    Empty where it gives no answer that can be read within ``timeout`` seconds.
    """
    try:
        return parse_server_rows(_exchange(socket, "show servers state", timeout))
    except (OSError, ValueError):
        return {}


class Proxies(NamedTuple):
    """Names of what a HAProxy has: backends, frontends, and files of maps; sorted."""

    backends: tuple[str, ...] = ()
    frontends: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()


def list_proxies(socket: str, timeout: float = 2.0) -> Proxies:
    """Ask HAProxy for the names of what it has.

    Empty where it gives no answer that can be read within ``timeout`` seconds.
    """
    try:
        backends, frontends = _list(socket, timeout)
        answer = _exchange(socket, "show map", timeout)
    except (OSError, ValueError, IndexError, MalformedAnswerError):
        return Proxies()
    return Proxies(tuple(sorted(backends)), frontends, tuple(sorted(_MAP.findall(answer))))


def read_config(pid: int) -> str:
    """Read the configuration files of the HAProxy whose worker is ``pid``; empty if that fails.

    They may have changed since it has read them.
    """
    text = []
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if "haproxy" not in os.path.basename(words[0]):
            return ""  # the pid is another namespace's: HAProxy runs in a container
        directory = Path(os.readlink(f"/proc/{pid}/cwd"))
        for option, value in pairwise(words):
            place = directory / value
            if option == "-f":
                files = sorted(place.glob("*.cfg")) if place.is_dir() else [place]
                for file in files:
                    with file.open(encoding="utf-8", errors="replace") as stream:
                        text.append(stream.read(_MAX_ANSWER))
    except (OSError, ValueError):
        return ""
    return "\n".join(text)


_MAX_ANSWER = 16 << 20
_MAP = re.compile(r"^-?[0-9]+ \(([^)\n]{1,4096})\)", re.MULTILINE)  # section 9.3, `show map`


def _exchange(path: str, command: str, timeout: float) -> str:
    """Ask, and read until HAProxy closes the connection."""
    deadline = time.monotonic() + timeout
    with connect_blocking(path, timeout) as sock:
        sock.sendall(command.encode() + b"\n")
        received = b""
        while len(received) < _MAX_ANSWER and (data := sock.recv(1 << 18)):
            received += data
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
    return received.decode(errors="replace")


def _ask(socket: str, timeout: float) -> Inventory:
    # With the library's own retries a dead socket takes 6 s, a hung one 9 s.  Its timeout gives no
    # message, so it comes after ours.
    process = haproxy.HAProxy(socket_file=socket, retry=None, retry_interval=0, timeout=2 * timeout)
    return Inventory(str(process.version), int(process.processids[0]), *_list(socket, timeout))


def _list(socket: str, timeout: float) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Ask for the names of all backends, with their servers, and of all frontends.

    The library asks `show stat -1 2 -1`, which is another question where a proxy is named -1.
    """
    blocks = split_answer(_exchange(socket, SHOW_ALL, timeout))
    if len(blocks) != 1:
        raise MalformedAnswerError(f"expected the answer to `{SHOW_ALL}`")
    header, *lines = blocks[0]
    names = header.removeprefix("# ").split(",")
    wanted = [names.index(each) for each in ("pxname", "svname", "type")]
    backends: dict[str, list[str]] = {}
    frontends = []
    for line in lines:
        fields, _ = split_row(line, max(wanted) + 1)
        proxy, server, kind = (fields[each] for each in wanted)
        if kind == _FRONTEND:
            frontends.append(proxy)
        elif kind in (_BACKEND, _SERVER):
            backends.setdefault(proxy, [])
            backends[proxy] += [server] if kind == _SERVER else []
    listed = {name: tuple(sorted(servers)) for name, servers in backends.items()}
    return listed, tuple(sorted(frontends))


_FRONTEND, _BACKEND, _SERVER = "0", "1", "2"  # column `type`, management manual, section 9.1


def _describe_silence(timeout: float) -> str:
    return (
        f"no answer within {timeout:g} s: HAProxy hangs, or all its `stats maxconn` connections "
        "are taken"
    )


def _reach(path: str, timeout: float) -> None:
    """Ask once: haproxyadmin says the same of a missing, forbidden, dead, hung or other socket."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # connecting would say "refused"
            raise InventoryError(
                f"{path}: not a socket; write the path of HAProxy's `stats socket`"
            )
        with sockets.socket(sockets.AF_UNIX) as probe:
            probe.settimeout(timeout)
            probe.connect(path)
            probe.sendall(b"show info\n")
            beginning = probe.recv(MAX_HEAD).decode(errors="replace")
        if is_masters_answer(beginning):  # it would not close the connection
            raise InventoryError(f"{path}: {MASTER_SOCKET}")
    except TimeoutError:
        raise InventoryError(f"{path}: {_describe_silence(timeout)}") from None
    except FileNotFoundError:
        raise InventoryError(
            f"{path}: no such file; start HAProxy, or write the path of its `stats socket`"
        ) from None
    except PermissionError:
        raise InventoryError(
            f"{path}: no permission; join the group that HAProxy's `stats socket` line names"
        ) from None
    except ConnectionRefusedError:
        raise InventoryError(f"{path}: nothing listens there; start HAProxy") from None
    except ConnectionError:
        raise InventoryError(
            f"{path}: HAProxy closed the connection; see whether it is being stopped, and try again"
        ) from None
    except OSError as error:
        raise InventoryError(f"{path}: {error.strerror or error}") from None
