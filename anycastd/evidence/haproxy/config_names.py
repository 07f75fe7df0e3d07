"""Read names out of a haproxy.cfg that somebody else wrote: proxies, stats socket, ring (pure).

For `anycastd init` alone.  It takes only what it understands for certain: a name with other
characters than HAProxy accepts, an unknown line or a conditional block is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_SIZE = 1 << 20
"""Bytes of a configuration that are read."""
_MAX_PROXIES = 1000
_MAX_SOCKET = 107  # unix(7)
_NAME = re.compile(r"[-A-Za-z0-9_.:]{1,255}")  # the characters that HAProxy accepts
_PATH = re.compile(r"/[-A-Za-z0-9_.+@/]+")
_RING = re.compile(r"ring@([-A-Za-z0-9_.:]{1,255})")
_SECTIONS = {
    *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist"),
    *("mailers", "cache", "program", "http-errors", "ring", "log-forward", "fcgi-app"),
    *("crt-store", "traces", "acme", "log-profile"),
}


@dataclass(slots=True)
class Frontend:
    """A frontend: its name, the addresses of its `bind` lines, its `default_backend` or none."""

    name: str
    binds: list[str] = field(default_factory=list)
    backend: str | None = None


@dataclass(slots=True)
class ConfigNames:
    """What a configuration has: backends with servers, frontends, the stats socket, its ring.

    ``socket`` is the path of a stats socket (None: there is none that is a path).  ``ring`` is a
    ring that `global` logs to.
    """

    backends: dict[str, None] = field(default_factory=dict)
    frontends: list[Frontend] = field(default_factory=list)
    socket: str | None = None
    ring: str | None = None

    def choose(self, vip: str) -> tuple[str | None, str | None]:
        """Choose (frontend, backend) of a VIP: where it is bound, else where there is only one.

        Either is None where the file does not say it clearly.
        """
        bound = [each for each in self.frontends if any(_has(bind, vip) for bind in each.binds)]
        found = bound or (self.frontends if len(self.frontends) == 1 else [])
        frontend = found[0] if found else None
        backend = frontend.backend if frontend is not None else None
        if backend not in self.backends:
            backend = next(iter(self.backends)) if len(self.backends) == 1 else None
        return (None if frontend is None else frontend.name), backend


def _has(bind: str, vip: str) -> bool:
    """Return whether an address of a `bind` line is the VIP, with a port after it."""
    address = bind.rpartition(":")[0].removeprefix("ipv4@").removeprefix("ipv6@").strip("[]")
    return address == vip


def parse_config_names(text: str) -> ConfigNames:
    """Parse a configuration; never raises, whatever ``text`` is."""
    found = ConfigNames()
    sockets: list[tuple[int, str]] = []
    kind = name = ""
    hidden = 0  # blocks of .if, whose conditions are not known here
    for line in text[:MAX_SIZE].splitlines():
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0] in {".if", ".endif"}:
            hidden = max(0, hidden + (1 if words[0] == ".if" else -1))
        if hidden or words[0].startswith("."):
            continue
        if words[0] in _SECTIONS:
            kind, name = words[0], words[1] if len(words) > 1 and _NAME.fullmatch(words[1]) else ""
            _add_section(found, kind, name)
        elif kind == "global":
            _read_global(found, sockets, words)
        elif name:
            _read_proxy(found, kind, name, words)
    found.socket = max(sockets, default=(0, None))[1]
    return found


def _add_section(found: ConfigNames, kind: str, name: str) -> None:
    known = len(found.frontends) < _MAX_PROXIES
    if name and kind in {"frontend", "listen"} and known:
        backend = name if kind == "listen" else None
        found.frontends.append(Frontend(name, backend=backend))


def _read_global(found: ConfigNames, sockets: list[tuple[int, str]], words: Sequence[str]) -> None:
    if words[:2] == ["stats", "socket"] and len(words) > 2:  # noqa: PLR2004 - the path is third
        path = words[2].removeprefix("unix@")
        if _PATH.fullmatch(path) and len(path) <= _MAX_SOCKET:
            # Ours by name first, then one that a group may use.
            sockets.append((2 * ("anycastd" in path) + ("group" in words), path))
    elif words[0] == "log" and len(words) > 1 and (match := _RING.fullmatch(words[1])):
        found.ring = match[1]


def _read_proxy(found: ConfigNames, kind: str, name: str, words: Sequence[str]) -> None:
    if kind in {"backend", "listen"}:
        is_server = words[0] in {"server", "server-template"}
        if is_server and len(found.backends) < _MAX_PROXIES:
            found.backends[name] = None
    if kind in {"frontend", "listen"} and found.frontends and found.frontends[-1].name == name:
        frontend = found.frontends[-1]
        if words[0] == "bind" and len(words) > 1:
            frontend.binds += words[1].split(",")[:_MAX_PROXIES]
        elif words[0] == "default_backend" and len(words) > 1 and _NAME.fullmatch(words[1]):
            frontend.backend = words[1]
