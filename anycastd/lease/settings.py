"""Settings of a lease, and lease.json, from which most of them come (stdlib only, pure).

The speaker writes lease.json, the lease process reads it.  Fields are only ever added: ExaBGP may
start newer code of the lease process with an older file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from anycastd.lease.fields import UNREADABLE, load_object, read_list
from anycastd.lease.permits import PermittedRoutes, RouteList

VERSION = 1
"""Version of lease.json."""

_MAX_ITEMS = 1_000_000

MIN_TTL_MAX = 30.0
"""Seconds: lower bound of ``ttl_max``.

An agent that is about to execute itself anew renews the lease for as long.
"""


class LeaseStartError(Exception):
    """The lease cannot start.  The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """Content of lease.json, the only argument of the lease process.

    ``socket``: path of the socket for agents.  ``profile``: path from which the profile is read
    again when an agent asks for a reload (None or empty: it cannot be).  ``prefixes``,
    ``neighbors`` and ``local_as``: the lease announces nothing else.  ``ttl_max`` (seconds) bounds
    the time to live of a Want.  ``inherit`` (seconds): how long routes outlive the lease process
    that announced them when no agent renews them.  ``config`` and ``vips``: hashes of the sessions
    and of the prefixes with their routes.  ``routes``: all routes that may be announced (None: the
    file was written by an older release, so only the three above limit them).  ``last_routes``: the
    list of the profile before this one, which the agent may still run.
    """

    socket: str
    profile: str | None
    prefixes: tuple[str, ...]
    neighbors: tuple[str, ...]
    local_as: int
    ttl_max: float
    inherit: float = 5.0
    config: str = ""
    vips: str = ""
    routes: tuple[PermittedRoutes, ...] | None = None
    last_routes: tuple[PermittedRoutes, ...] = ()

    def dump(self) -> str:
        """Return the text of the file: JSON, with a newline at its end."""
        data: dict[str, object] = {
            "v": VERSION,
            "socket": self.socket,
            "profile": self.profile,
            "prefixes": list(self.prefixes),
            "vips": self.vips,
            "neighbors": list(self.neighbors),
            "local_as": self.local_as,
            "ttl_max": self.ttl_max,
            "inherit": self.inherit,
            "config": self.config,
        }
        if self.routes is not None:
            data["routes"] = [each.dump() for each in self.routes]
        if self.last_routes:
            data["last_routes"] = [each.dump() for each in self.last_routes]
        return json.dumps(data, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> LeaseFile:
        """Parse the text of the file.

        Raises LeaseStartError where it is of another version, or a field is missing or invalid.
        """
        try:
            data = load_object(text)
            if data["v"] != VERSION:
                raise LeaseStartError(
                    f"version {data['v']!r} is not known here; restart the speaker"
                )
            routes = data.get("routes")
            return cls(
                socket=str(data["socket"]),
                profile=str(data.get("profile") or ""),
                prefixes=tuple(data["prefixes"]),
                neighbors=tuple(data["neighbors"]),
                local_as=int(data["local_as"]),
                ttl_max=float(data["ttl_max"]),
                inherit=float(data.get("inherit", 5.0)),
                config=str(data.get("config", "")),
                vips=str(data.get("vips", "")),
                routes=None if routes is None else _load_routes(routes, "routes"),
                last_routes=_load_routes(data.get("last_routes", []), "last_routes"),
            )
        except UNREADABLE as error:
            raise LeaseStartError(f"cannot be used: {error!r}; restart the speaker") from None


def _load_routes(items: object, name: str) -> tuple[PermittedRoutes, ...]:
    return tuple(map(PermittedRoutes.load, read_list(items, name, _MAX_ITEMS)))


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a lease.

    ``lease_id`` names the lease process.  ``prefixes``, ``neighbors`` and ``local_as`` (the first
    ASN of each path) limit what it announces, and so does the list ``routes`` (None: there is none,
    since an older release wrote the file).  ``config`` and ``vips`` are hashes of the sessions
    and of the prefixes.  ``can_reload``: this speaker can change its sessions and prefixes while it
    runs.

    Seconds: ``ttl_max`` bounds the time to live of a Want.  ``inherit_ttl`` is how long routes that
    are found in the adj-rib-out at the start are kept without an owner.  ``answer_timeout`` is how
    long the speaker may take for an answer.  ``ping_interval`` is the longest silence towards the
    speaker.  ``read_interval`` is the time between two readings of the adj-rib-out, and
    ``settle_delay`` the time between the last change and a reading.
    """

    lease_id: str
    prefixes: frozenset[str]
    neighbors: tuple[str, ...]
    local_as: int
    ttl_max: float
    inherit_ttl: float
    answer_timeout: float = 4.0
    ping_interval: float = 1.0
    read_interval: float = 30.0
    settle_delay: float = 1.0
    config: str = ""
    vips: str = ""
    can_reload: bool = False
    routes: RouteList | None = None

    @classmethod
    def from_file(cls, file: LeaseFile, lease_id: str, loaded: str | None) -> Settings:
        """Build the settings of the lease process ``lease_id`` from its file.

        ``loaded`` is the hash of the configuration that ExaBGP runs.  None: its shim cannot say,
        and cannot load another one.
        """
        return cls(
            lease_id=lease_id,
            prefixes=frozenset(file.prefixes),
            neighbors=file.neighbors,
            local_as=file.local_as,
            ttl_max=file.ttl_max,
            inherit_ttl=file.inherit,
            config=loaded or file.config,
            vips=file.vips,
            can_reload=bool(file.profile) and loaded is not None,
            routes=None
            if file.routes is None
            else RouteList((*file.routes, *file.last_routes), file.local_as),
        )
