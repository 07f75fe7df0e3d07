"""The messages between agent and lease, as lines of JSON (stdlib only, pure).

The first two carry the whole state, never events; the third is a command::

    agent -> lease   Want    the whole set of wanted routes, with a time to live
    lease -> agent   Report  the whole state: what is leased, what is confirmed, each session
    agent -> lease   Reload  have the speaker take over the sessions and VIPs of the profile on disk
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.route import Route, canonicalize_route
from anycastd.bgp.session import Session

VERSION = 1
"""Version of all messages.  Fields are only ever added; unknown ones are ignored.

A name in JSON never changes, since agent and lease process may be of different releases.  In Python
``lapses`` is ``expirations``, ``held`` is ``leased`` and ``instance`` is ``lease_id``.
"""

MAX_MESSAGE = 4 * 1024 * 1024
"""Maximum size of a message in bytes; 10,000 routes need about 600 kB."""


class MessageError(ValueError):
    """A message that cannot be accepted.  The text says what is wrong with it."""


# Raised where a value is not of the expected type.
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Want:
    """Message of an agent to the lease: all wanted routes, for ``ttl`` seconds of own time.

    ``serial`` counts the agent's messages.  ``epoch`` orders agents: the one with the highest epoch
    owns the lease.  ``pid`` is the agent's process id.  A ``ttl`` of 0 without routes is a clean
    stop.  ``leaving``: the agent stops or reloads, and this is its last message.  ``expirations``
    is the value of the newest Report that the agent has read (None: it has read none, or does not
    know the field).
    """

    serial: int
    ttl: float
    routes: tuple[Route, ...]
    epoch: int
    pid: int
    leaving: bool = False
    expirations: int | None = None

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

        Raises MessageError where a field is missing or invalid, ``ttl`` is negative or not finite,
        or a neighbor has two routes for one prefix.
        """
        try:
            routes = tuple(_load_route(item) for item in data["routes"])
            expirations = data.get("lapses")
            want = cls(
                serial=int(data["serial"]),
                ttl=float(data["ttl"]),
                routes=routes,
                epoch=int(data["epoch"]),
                pid=int(data["pid"]),
                leaving=data.get("leaving") is True,
                expirations=None if expirations is None else int(expirations),
            )
        except _UNREADABLE as error:
            raise MessageError(f"not a set of wanted routes: {error!r}") from None
        if not 0 <= want.ttl < math.inf:
            raise MessageError(f"a ttl of {want.ttl} seconds")
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
    def load(cls, item: Mapping[str, Any]) -> NeighborReport:
        """Build it from what ``dump`` returned; fields of later releases may be missing.

        Raises KeyError, TypeError, ValueError or AttributeError for anything else.
        """
        negotiated = item.get("negotiated")
        return cls(
            session=Session(item["session"]),
            session_age=float(item["since"]),
            unconfirmed=int(item.get("untold", 0)),
            rib=str(item.get("rib", "unread")),
            rib_age=item.get("rib_age"),
            detail=str(item.get("why", "")),
            negotiated=None if negotiated is None else Negotiated.load(negotiated),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """Message of the lease to an agent: the whole state.

    ``lease_id`` names the lease process.  ``serial`` is the newest Want that was accepted,
    ``acked`` the newest one of which ExaBGP has confirmed everything.  ``neighbors``: address ->
    its state.  ``leased``: the routes on the lease (None: the same as in the report before).
    ``expires_in``: seconds (None: nothing is leased).  ``expirations``: how often the lease has
    expired (None: the lease process is too old to report it).  ``exabgp`` is ExaBGP's version.

    ``lost`` says which agent took the lease over, ``refused`` what was wrong with the agent's
    message; both empty where that did not happen.  ``errors`` are refusals of ExaBGP, ``problems``
    those of the lease itself.  ``repairs`` counts routes that differed in ExaBGP's adj-rib-out.
    ``config`` and ``vips`` are hashes of the sessions that ExaBGP runs and of the VIPs that may be
    announced.  ``reload`` is ``ready``, ``busy``, or empty: this speaker cannot take over other
    sessions while it runs.
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
        }
        if self.leased is not None:
            data["held"] = [_dump_route(route) for route in self.leased]
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
                serial=int(data["serial"]),
                acked=int(data["acked"]),
                expires_in=None if expires_in is None else float(expires_in),
                neighbors={
                    str(address): NeighborReport.load(item)
                    for address, item in data["neighbors"].items()
                },
                leased=None if leased is None else tuple(_load_route(item) for item in leased),
                errors=tuple(str(error) for error in data.get("errors", ())),
                exabgp=str(data.get("exabgp", "")),
                config=str(data.get("config", "")),
                repairs=int(data.get("repairs", 0)),
                lost=str(data.get("lost", "")),
                refused=str(data.get("refused", "")),
                problems=tuple(str(problem) for problem in data.get("problems", ())),
                vips=str(data.get("vips", "")),
                reload=str(data.get("reload", "")),
                expirations=None if expirations is None else int(expirations),
            )
        except _UNREADABLE as error:
            raise MessageError(f"not a report of the lease: {error!r}") from None


def _dump_line(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _load_object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise MessageError("not a JSON object")
    if data.get("v") != VERSION:
        raise MessageError(
            f"version {data.get('v')!r} of the lease's messages; version {VERSION} is spoken here"
        )
    return data


def _dump_route(route: Route) -> dict[str, object]:
    return {
        "neighbor": route.neighbor,
        "prefix": route.prefix,
        "next_hop": route.next_hop,
        "as_path": list(route.as_path),
        "med": route.med,
        "communities": list(route.communities),
    }


def _load_route(item: Mapping[str, Any]) -> Route:
    # These values become part of a command to ExaBGP: only addresses and numbers may pass.
    med = item.get("med")
    return canonicalize_route(
        Route(
            neighbor=str(item["neighbor"]),
            prefix=str(item["prefix"]),
            next_hop=str(item["next_hop"]),
            as_path=tuple(int(asn) for asn in item["as_path"]),
            med=None if med is None else int(med),
            communities=tuple(str(text) for text in item.get("communities", ())),
        )
    )
