"""The values of a status: everything that `anycastd status` shows.

The field names are the keys of the JSON.  "Announced" is five separate facts for each neighbor, and
each is shown: the route is wanted, ExaBGP has acknowledged it, it is in ExaBGP's adj-rib-out, the
session is up, and the VIP's address family was negotiated on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any

from anycastd.bgp.negotiated import Negotiated
from anycastd.views.check_status import CheckStatus
from anycastd.views.drain_progress import DrainStatus
from anycastd.views.reason_view import TimedReasonView
from anycastd.views.route_choice import MedView, NextHopView
from anycastd.views.severity import SEVERITIES, compute_severity
from anycastd.views.summary import summarize_status

VERSION = 1
"""Version of the JSON; keys are only ever added."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server of a rule's backend; ``status`` and ``check`` are HAProxy's own words.

    ``usable``: ``yes``, ``no`` or ``unproved``; ``why`` says why.
    """

    name: str
    usable: str
    why: str
    status: str
    check: str


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule of the profile; ``truth``: ``true``, ``false`` or ``unknown``.

    ``value`` is what was found, ``needed`` what the rule asks for, both as text.
    """

    rule: str
    truth: str
    value: str
    servers: tuple[ServerStatus, ...]
    needed: str = ""


@dataclass(frozen=True, slots=True)
class Announcement:
    """The route of one service at one neighbor.

    ``wanted``, ``acknowledged`` (by ExaBGP): AS paths, None: no route.  ``local_pref``: the wanted
    one, None: no route, or eBGP.  ``rib``: ``agrees``,
    ``differs`` or ``unread``.  ``negotiated``: the VIP's address family was agreed on for the
    session that is up (None: no session is up, or the speaker does not report it).  ``in_sync``:
    wanted, acknowledged, rib, session and family all agree.
    """

    wanted: tuple[int, ...] | None
    acknowledged: tuple[int, ...] | None
    rib: str
    session: str
    in_sync: bool
    negotiated: bool | None = None
    local_pref: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service.

    ``since``: seconds at this level.  ``as_path``, ``prepend``, ``local_pref``: without a
    neighbor's own prepends; None: not announced (``local_pref``: or no neighbor is an iBGP one).
    ``waits``: its caps, the lowest first.  ``serves``: it is announced to a neighbor, and `serve`
    is not false.  ``sessions``: open at the frontends that its rules name; None: not known.
    ``safe``: it is drained, and this machine may be rebooted.  ``held``: why it is announced only
    because its last known value still counts, and for how long; None: it is not.  ``next_hops``:
    those of a service that has several.  ``med`` is a MED by a check (None: it has none).
    """

    vip: str
    level: str
    reason: TimedReasonView
    since: float
    as_path: tuple[int, ...] | None
    prepend: int | None
    in_sync: bool
    waits: tuple[TimedReasonView, ...]
    rules: tuple[RuleStatus, ...]
    neighbors: Mapping[str, Announcement]
    serves: bool
    sessions: int | None
    drains: tuple[DrainStatus, ...]
    safe: bool
    prepends_steer: bool = True
    held: TimedReasonView | None = None
    local_pref: int | None = None
    next_hops: tuple[NextHopView, ...] = ()
    med: MedView | None = None


@dataclass(frozen=True, slots=True)
class NeighborStatus:
    """One neighbor; ``session``: ``up``, ``down`` or ``unknown``, and ``why`` (text).

    ``since``: seconds in this state (None: not known).  ``announced``: prefixes.  ``negotiated``:
    address families, hold time (seconds) and length of AS numbers that both ends agreed on (None:
    no session is up, or the speaker does not report it).
    """

    peer_as: int
    session: str
    since: float | None
    why: str
    announced: tuple[str, ...]
    negotiated: Negotiated | None = None


@dataclass(frozen=True, slots=True)
class HaproxyStatus:
    """One HAProxy; ``state``: ``answers``, ``gone``, ``silent`` or ``unseen``, and ``why`` (text).

    ``age``: seconds since the newest look was asked (None: no look).  ``uptime``: seconds.
    ``events``: its events arrive, so that it is not polled.
    """

    socket: str
    state: str
    why: str
    age: float | None
    version: str | None
    pid: int | None
    uptime: float | None
    events: bool


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """The lease, with the fields of Report; ``expires_in``: seconds, None if nothing is leased."""

    connected: bool
    expires_in: float | None
    serial: int
    acked: int
    repairs: int
    exabgp: str


@dataclass(frozen=True, slots=True)
class Status:
    """The whole status at one moment.

    ``v`` is the version of this format, ``version`` that of anycastd.  The keys of ``neighbors``
    are addresses.  ``problems`` are sentences for operators.  ``at`` is when it was built: UTC, as
    RFC 3339 writes it (empty: not known).  ``appliance`` is the name of this appliance where the
    region has several.
    """

    v: int
    version: str
    region: str
    pid: int
    services: Mapping[str, ServiceStatus]
    neighbors: Mapping[str, NeighborStatus]
    haproxy: Mapping[str, HaproxyStatus]
    lease: LeaseStatus
    problems: tuple[str, ...]
    at: str = ""
    appliance: str | None = None
    checks: Mapping[str, CheckStatus] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for json.dumps, with ``severity`` and ``verdict``, as text."""
        status = {name: _to_plain(getattr(self, name)) for name in _list_fields(Status)}
        status["severity"] = SEVERITIES[compute_severity(status)]
        status["verdict"] = summarize_status(status)
        return status


@lru_cache(maxsize=64)
def _list_fields(kind: type[Any]) -> tuple[str, ...]:
    """List the names of the fields of a dataclass; none of anything else."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()


def _to_plain(value: object) -> object:
    """Return what ``dataclasses.asdict`` does, three times as fast: it copies no text."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    if names := _list_fields(kind):
        return {name: _to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: _to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(_to_plain, value))
    return value


_PLAIN = {str, int, float, bool, type(None)}
