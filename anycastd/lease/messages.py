"""The messages between agent and lease, as lines of JSON (stdlib only, pure).

The first two carry the whole state, never events; the third is a command::

    agent -> lease   Want    the whole set of wanted routes, with a time to live
    lease -> agent   Report  the whole state: what is leased, what is confirmed, each session
    agent -> lease   Reload  have the speaker take over the sessions and VIPs of the profile on disk
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.route import Route, canonicalize_route
from anycastd.bgp.session import Session
from anycastd.lease.fields import (
    UNREADABLE,
    load_object,
    read_int,
    read_list,
    read_mapping,
    read_seconds,
    read_text,
)

VERSION = 1
"""Version of all messages.  Fields are only ever added; unknown ones are ignored.

A name in JSON never changes, since agent and lease process may be of different releases.  In Python
``lapses`` is ``expirations``, ``held`` is ``leased`` and ``instance`` is ``lease_id``.
"""

MAX_MESSAGE = 4 * 1024 * 1024
"""Maximum size of a message in bytes; 10,000 routes need about 600 kB."""


class MessageError(ValueError):
    """A message that cannot be accepted.  The text says what is wrong with it."""


MAX_ROUTES = 100_000
"""Maximum number of routes of a message."""

Levels = Mapping[str, tuple[str, ...]]
"""What an agent says of the levels of its routes: name of a level -> the prefixes at it.

To the lease process it is only text, which it keeps with the routes for the next agent.
"""

_MAX_LEVELS = 16
_MAX_SHOWN = 200  # characters of an error in a message
_MAX_ADDRESS = 255  # characters of an address or a prefix
_MAX_LIST = 255  # ASNs of a path; a route has no more communities either
_MAX_32_BIT = 2**32 - 1  # an ASN, a MED and, on Linux, a process id are smaller

# Where Want.dump puts it: before the routes.
_EPOCH = re.compile(rb'"epoch": ?(\d{1,19})[,}]')
_HEAD = 512  # bytes in which it is looked for


@dataclass(frozen=True, slots=True)
class Want:
    """Message of an agent to the lease: all wanted routes, for ``ttl`` seconds of own time.

    ``serial`` counts the agent's messages.  ``epoch`` orders agents: the one with the highest epoch
    owns the lease.  ``pid`` is the agent's process id.  A ``ttl`` of 0 without routes is a clean
    stop.  ``leaving``: the agent stops or reloads, and this is its last message.  ``expirations``
    is the value of the newest Report that the agent has read (None: it has read none, or does not
    know the field).  ``levels`` are those of ``routes`` (None: the agent is too old to say them).
    """

    serial: int
    ttl: float
    routes: tuple[Route, ...]
    epoch: int
    pid: int
    leaving: bool = False
    expirations: int | None = None
    levels: Levels | None = None

    def dump(self) -> bytes:
        """Return it as one line of JSON, newline included."""
        data: dict[str, object] = {
            "v": VERSION,
            "serial": self.serial,
            "ttl": self.ttl,
            "epoch": self.epoch,
            "pid": self.pid,
            "routes": [_dump_route(route) for route in self.routes],
        }
        if self.leaving:
            data["leaving"] = True
        if self.expirations is not None:
            data["lapses"] = self.expirations
        if self.levels is not None:
            data["levels"] = self.levels
        return _dump_line(data)

    @classmethod
    def load(cls, line: bytes) -> Want:
        """Parse one line.

        Raises MessageError where it is not JSON of this version, or not a set of valid routes.
        """
        return cls.from_data(_load_object(line))

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Want:
        """Build a Want from a parsed line.

        Raises MessageError where a field is missing, of another type or out of bounds, or a
        neighbor has two routes for one prefix.
        """
        try:
            items = read_list(data["routes"], "routes", MAX_ROUTES)
            routes = tuple(_load_route(item) for item in items)
            expirations = data.get("lapses")
            want = cls(
                serial=read_int(data["serial"], "serial"),
                ttl=read_seconds(data["ttl"], "ttl"),
                routes=routes,
                epoch=read_int(data["epoch"], "epoch"),
                pid=read_int(data["pid"], "pid", _MAX_32_BIT),
                leaving=data.get("leaving") is True,
                expirations=None if expirations is None else read_int(expirations, "lapses"),
                levels=_load_levels(data.get("levels")),
            )
        except UNREADABLE as error:
            raise MessageError(f"not a set of wanted routes: {_describe(error)}") from None
        if len({route.key for route in routes}) != len(routes):
            raise MessageError("the same prefix twice for one neighbor")
        return want


@dataclass(frozen=True, slots=True)
class Reload:
    """Message of an agent to the lease: take over the sessions and VIPs of the profile on disk.

    Send it only to a lease whose Report says that it can reload: an older one refuses the message.
    """

    def dump(self) -> bytes:
        """Return it as one line of JSON, newline included."""
        return _dump_line({"v": VERSION, "reload": True})


def parse_agent_message(line: bytes) -> Want | Reload:
    """Parse one line from an agent.

    Raises MessageError where it is not JSON of this version, or neither Reload nor a valid Want.
    """
    data = _load_object(line)
    return Reload() if data.get("reload") is True else Want.from_data(data)


def read_epoch(line: bytes) -> int | None:
    """Read a Want's epoch without parsing its line; None where it is not at the beginning."""
    found = _EPOCH.search(line, 0, _HEAD)
    return None if found is None else int(found[1])


def count_routes(line: bytes) -> int:
    """Count the routes of a Want without parsing its line."""
    return line.count(b'"prefix"')


@dataclass(frozen=True, slots=True)
class NeighborReport:
    """State of one neighbor.

    ``session_age``: seconds since the session changed its state.  ``unconfirmed``: number of routes
    that ExaBGP has not confirmed yet.  ``rib``: ``agrees``, ``differs`` or ``unread``.
    ``rib_age``: seconds since that comparison (None: there was none).  ``detail``: why the session
    is in its state, as text; it may be empty.  ``negotiated``: what was agreed on for the session
    that is up (None: it is not up, or the speaker is too old to report it).
    """

    session: Session
    session_age: float
    unconfirmed: int = 0
    rib: str = "unread"
    rib_age: float | None = None
    detail: str = ""
    negotiated: Negotiated | None = None

    def dump(self) -> dict[str, object]:
        """Return it as values for json.dumps."""
        return {
            "session": self.session.value,
            "since": round(self.session_age, 3),
            "untold": self.unconfirmed,
            "rib": self.rib,
            "rib_age": self.rib_age,
            "why": self.detail,
            "negotiated": None if self.negotiated is None else self.negotiated.dump(),
        }

    @classmethod
    def load(cls, data: object) -> NeighborReport:
        """Build it from what ``dump`` returned; fields of later releases may be missing.

        Raises KeyError, TypeError, ValueError or AttributeError for anything else.
        """
        item = read_mapping(data, "neighbor")
        negotiated, rib_age = item.get("negotiated"), item.get("rib_age")
        return cls(
            session=Session(item["session"]),
            session_age=read_seconds(item["since"], "since"),
            unconfirmed=read_int(item.get("untold", 0), "untold"),
            rib=str(item.get("rib", "unread")),
            rib_age=None if rib_age is None else read_seconds(rib_age, "rib_age"),
            detail=str(item.get("why", "")),
            negotiated=None if negotiated is None else Negotiated.load(negotiated),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """Message of the lease to an agent: the whole state.

    ``lease_id`` names the lease process.  ``serial`` is the newest Want that was accepted,
    ``acked`` the newest one of which ExaBGP has confirmed everything.  ``neighbors``: address ->
    its state.  ``leased``: the routes on the lease (None: as in the report before); ``levels`` came
    with them (None: nobody said them).  ``expires_in``: seconds (None: nothing is leased).
    ``expirations``: how often the lease has expired (None: the lease process is too old to report
    it).  ``exabgp`` is ExaBGP's version.

    ``lost`` says which agent took the lease over, ``refused`` what was wrong with the agent's
    message; both empty where that did not happen.  ``errors`` are refusals of ExaBGP, ``problems``
    those of the lease itself.  ``repairs`` counts routes that differed in ExaBGP's adj-rib-out.
    ``config`` and ``vips`` are hashes of the sessions that ExaBGP runs and of the VIPs that may be
    announced.  ``reload`` is ``ready``, ``busy``, or empty: this speaker cannot take over other
    sessions while it runs.  ``ibgp``: the lease process takes routes with a local preference; one
    that is older refuses all routes of a message with such a one.
    """

    lease_id: str
    serial: int
    acked: int
    expires_in: float | None
    neighbors: Mapping[str, NeighborReport]
    leased: tuple[Route, ...] | None = None
    errors: tuple[str, ...] = ()
    exabgp: str = ""
    config: str = ""
    repairs: int = 0
    lost: str = ""
    refused: str = ""
    problems: tuple[str, ...] = ()
    vips: str = ""
    reload: str = ""
    expirations: int | None = None
    ibgp: bool = True
    levels: Levels | None = None

    def dump(self) -> bytes:
        """Return it as one line of JSON, newline included."""
        data: dict[str, object] = {
            "v": VERSION,
            "instance": self.lease_id,
            "serial": self.serial,
            "acked": self.acked,
            "expires_in": self.expires_in,
            "errors": list(self.errors),
            "neighbors": {address: each.dump() for address, each in self.neighbors.items()},
            "exabgp": self.exabgp,
            "config": self.config,
            "repairs": self.repairs,
            "lost": self.lost,
            "refused": self.refused,
            "problems": list(self.problems),
            "vips": self.vips,
            "reload": self.reload,
            "lapses": self.expirations,
            "ibgp": self.ibgp,
        }
        if self.leased is not None:
            data["held"] = [_dump_route(route) for route in self.leased]
            data["levels"] = self.levels
        return _dump_line(data)

    @classmethod
    def load(cls, line: bytes) -> Report:
        """Parse one line.

        Raises MessageError where it is not JSON of this version, or a field is missing or invalid.
        """
        data = _load_object(line)
        try:
            leased, expirations = data.get("held"), data.get("lapses")
            expires_in = data.get("expires_in")
            return cls(
                lease_id=str(data["instance"]),
                serial=read_int(data["serial"], "serial"),
                acked=read_int(data["acked"], "acked"),
                expires_in=None if expires_in is None else read_seconds(expires_in, "expires_in"),
                neighbors={
                    address: NeighborReport.load(item)
                    for address, item in read_mapping(data["neighbors"], "neighbors").items()
                },
                leased=None
                if leased is None
                else tuple(_load_route(item) for item in read_list(leased, "held", MAX_ROUTES)),
                errors=_load_texts(data, "errors"),
                exabgp=str(data.get("exabgp", "")),
                config=str(data.get("config", "")),
                repairs=read_int(data.get("repairs", 0), "repairs"),
                lost=str(data.get("lost", "")),
                refused=str(data.get("refused", "")),
                problems=_load_texts(data, "problems"),
                vips=str(data.get("vips", "")),
                reload=str(data.get("reload", "")),
                expirations=None if expirations is None else read_int(expirations, "lapses"),
                ibgp=data.get("ibgp") is True,
                levels=_load_levels(data.get("levels")),
            )
        except UNREADABLE as error:
            raise MessageError(f"not a report of the lease: {_describe(error)}") from None


def _load_levels(value: object) -> Levels | None:
    if value is None:
        return None
    levels = read_mapping(value, "levels")
    if len(levels) > _MAX_LEVELS:
        raise ValueError(f"levels has {len(levels)} names; {_MAX_LEVELS} are allowed")
    for name, prefixes in levels.items():
        read_text(name, "a level", _MAX_ADDRESS)
        for prefix in read_list(prefixes, "a level", MAX_ROUTES):
            read_text(prefix, "a prefix", _MAX_ADDRESS)
    return {name: tuple(prefixes) for name, prefixes in levels.items()}


def _load_texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(map(str, read_list(data.get(name, []), name, MAX_ROUTES)))


def _dump_line(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _load_object(line: bytes) -> dict[str, Any]:
    try:
        data = load_object(line)
    except ValueError as error:
        raise MessageError(f"not JSON: {error}") from None
    version = data.get("v")
    if type(version) is not int or version != VERSION:
        shown = ascii(version) if len(line) < _HEAD else "unknown"
        raise MessageError(
            f"version {shown} of the lease's messages; version {VERSION} is spoken here"
        )
    return data


def _describe(error: BaseException) -> str:
    """Describe an error in one short line: what was sent may be long."""
    text = str(error) if isinstance(error, ValueError) else repr(error)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def _dump_route(route: Route) -> dict[str, object]:
    found: dict[str, object] = {
        "neighbor": route.neighbor,
        "prefix": route.prefix,
        "next_hop": route.next_hop,
        "as_path": list(route.as_path),
        "med": route.med,
        "communities": list(route.communities),
    }
    if route.local_pref is not None:
        found["local_pref"] = route.local_pref
    return found


def _load_route(item: object) -> Route:
    # These values become part of a command to ExaBGP: only addresses and numbers may pass.  Each
    # pass of an agent has all routes, so only what is wrong is looked at closely.
    data = read_mapping(item, "route")
    path, med, communities = data["as_path"], data.get("med"), data.get("communities", [])
    if type(path) is not list or len(path) > _MAX_LIST:
        read_list(path, "as_path", _MAX_LIST)
    if type(communities) is not list or len(communities) > _MAX_LIST:
        read_list(communities, "communities", _MAX_LIST)
    neighbor, prefix, next_hop = data["neighbor"], data["prefix"], data["next_hop"]
    for text in (neighbor, prefix, next_hop, *communities):
        if type(text) is not str or len(text) > _MAX_ADDRESS:
            read_text(text, "an address or a community", _MAX_ADDRESS)
    local_pref = data.get("local_pref")
    for number in (*path, med, local_pref):
        if type(number) is not int and (number is not None or number in path):
            read_int(number, "an ASN, a MED or a local preference", _MAX_32_BIT)
    route = Route(neighbor, prefix, next_hop, tuple(path), med, tuple(communities), local_pref)
    return canonicalize_route(route)
