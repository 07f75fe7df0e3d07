"""lease.json, the lease process's only argument: both ends of the format (stdlib only, pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What a lease is told at its start.

    ``prefixes`` are all it will ever announce, to ``neighbors`` only, ``local_as`` first in each
    path.  ``ttl_max`` bounds a lease, ``inherit`` is how long a lease that finds routes in ExaBGP
    at its start keeps them without a holder, ``answer_within`` is how long ExaBGP may take to
    answer: seconds.  ``config`` and ``vips`` are hashes of the sessions and of the prefixes;
    ``able``: this speaker can take over others of both while it runs.
    """

    instance: str
    prefixes: frozenset[str]
    neighbors: tuple[str, ...]
    local_as: int
    ttl_max: float
    inherit: float
    answer_within: float = 4.0
    ping_every: float = 1.0
    read_every: float = 30.0
    settle: float = 1.0
    config: str = ""
    vips: str = ""
    able: bool = False


class LeaseStartError(Exception):
    """The lease cannot start: says why and what to do."""


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """Where the lease lives: its own file, its socket, and the profile (empty: not known)."""

    file: str
    socket: str
    profile: str


def load_lease_file(path: str, instance: str, loaded: str | None) -> tuple[Settings, LeaseFile]:
    """Read the speaker's lease file (version 1).

    ``loaded`` is the hash of what ExaBGP runs (None: its shim cannot say, nor read another one).
    Raises KeeperError.
    """
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        if data["v"] != 1:
            version = data["v"]
            raise LeaseStartError(
                f"{path}: version {version!r} is not known here; restart the speaker"
            )
        profile = str(data.get("profile") or "")
        settings = Settings(
            instance=instance,
            prefixes=frozenset(data["prefixes"]),
            neighbors=tuple(data["neighbors"]),
            local_as=int(data["local_as"]),
            ttl_max=float(data["ttl_max"]),
            inherit=float(data.get("inherit", 5.0)),
            config=loaded or str(data.get("config", "")),
            vips=str(data.get("vips", "")),
            able=bool(profile) and loaded is not None,
        )
        return settings, LeaseFile(path, str(data["socket"]), profile)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LeaseStartError(f"{path}: cannot be used: {error!r}; restart the speaker") from None
