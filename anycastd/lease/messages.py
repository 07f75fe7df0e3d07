"""Route, what is said to ExaBGP and heard from it, and the lease's two messages (stdlib only).

Both messages are one line of JSON and carry whole state, never events::

    agent -> lease   Want    the whole set of wanted routes, with a time to live
    lease -> agent   Report  the whole state: what is held, confirmed, and each session

There is one verb besides, Reload: have ExaBGP take over the sessions of the profile on disk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.bgp.route import Route, canonicalize
from anycastd.bgp.session import Session

# Whole state in each message: 2,000 routes take 50 ms to read without these, 10 ms with them.


# What the lease says to ExaBGP, without its words ------------------------------------------------


# What ExaBGP says, without its words -------------------------------------------------------------


# The two messages --------------------------------------------------------------------------------

VERSION = 1
"""The version that both messages carry; fields are only ever added, unknown ones are ignored."""

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes that one message may have; 10,000 routes need about 600 kB."""


class MessageError(ValueError):
    """A message that cannot be taken: says what is wrong with it."""


# What reading a value that is of another kind than expected may raise.
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Want:
    """agent -> lease: the whole set of wanted routes, for ``ttl`` seconds.

    ``serial`` counts the agent's messages, ``epoch`` orders agents (the newest one holds the
    lease), ``pid`` names it.  No routes with ``ttl`` 0 is a clean stop.  ``leaving``: the agent
    goes in order and says nothing more.  ``lapses`` is that of the newest Report that it knows.
    """

    serial: int
    ttl: float
    routes: tuple[Route, ...]
    epoch: int
    pid: int
    leaving: bool = False
    lapses: int | None = None

    def dump(self) -> bytes:
        """Write it as one line of JSON."""
        data: dict[str, object] = {
            "v": VERSION,
            "serial": self.serial,
            "ttl": self.ttl,
            "epoch": self.epoch,
            "pid": self.pid,
            "routes": [_route_out(route) for route in self.routes],
        }
        if self.leaving:
            data["leaving"] = True
        if self.lapses is not None:
            data["lapses"] = self.lapses
        return _line(data)

    @classmethod
    def load(cls, line: bytes) -> Want:
        """Read one line; raises MessageError."""
        return cls._of(_object(line))

    @classmethod
    def _of(cls, data: Mapping[str, Any]) -> Want:
        try:
            routes = tuple(_route_in(item) for item in data["routes"])
            lapses = data.get("lapses")
            want = cls(
                serial=int(data["serial"]),
                ttl=float(data["ttl"]),
                routes=routes,
                epoch=int(data["epoch"]),
                pid=int(data["pid"]),
                leaving=data.get("leaving") is True,
                lapses=None if lapses is None else int(lapses),
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
    """agent -> lease: have ExaBGP take over the sessions and VIPs of the profile on disk.

    Only for a lease whose Report says that it can: an older one takes it for garbage.
    """

    def dump(self) -> bytes:
        """Write it as one line of JSON."""
        return _line({"v": VERSION, "reload": True})


def parse_agent_message(line: bytes) -> Want | Reload:
    """Read one line of an agent's; raises MessageError."""
    data = _object(line)
    return Reload() if data.get("reload") is True else Want._of(data)  # noqa: SLF001 - one file


@dataclass(frozen=True, slots=True)
class NeighborReport:
    """What the lease knows of one neighbor.

    ``since``: seconds that the session has been so.  ``untold``: routes that ExaBGP has not
    confirmed yet.  ``rib``: ``agrees``, ``differs`` or ``unread``; ``rib_age`` in seconds.
    """

    session: Session
    since: float
    untold: int = 0
    rib: str = "unread"
    rib_age: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """lease -> agent: the whole state.

    ``acked`` is the newest serial of which ExaBGP has confirmed everything, ``held`` the routes
    on the lease (None: as in the report before), ``expires_in`` seconds (None: nothing held by
    anybody), ``lost`` says to whom the agent lost the lease (empty: it did not), ``refused`` what
    was wrong with its message.  ``problems`` are what the lease itself has to say.  ``config`` and
    ``vips`` are hashes of the sessions that ExaBGP runs and of the VIPs that may be announced.
    ``reload`` is ``ready`` or ``busy``; empty: this speaker cannot take over other sessions.
    ``lapses``: how often routes were withdrawn since nobody renewed them (None: not told).
    """

    instance: str
    serial: int
    acked: int
    expires_in: float | None
    neighbors: Mapping[str, NeighborReport]
    held: tuple[Route, ...] | None = None
    errors: tuple[str, ...] = ()
    exabgp: str = ""
    config: str = ""
    repairs: int = 0
    lost: str = ""
    refused: str = ""
    problems: tuple[str, ...] = ()
    vips: str = ""
    reload: str = ""
    lapses: int | None = None

    def dump(self) -> bytes:
        """Write it as one line of JSON."""
        data: dict[str, object] = {
            "v": VERSION,
            "instance": self.instance,
            "serial": self.serial,
            "acked": self.acked,
            "expires_in": self.expires_in,
            "errors": list(self.errors),
            "neighbors": {
                address: {
                    "session": report.session.value,
                    "since": round(report.since, 3),
                    "untold": report.untold,
                    "rib": report.rib,
                    "rib_age": report.rib_age,
                    "why": report.why,
                }
                for address, report in self.neighbors.items()
            },
            "exabgp": self.exabgp,
            "config": self.config,
            "repairs": self.repairs,
            "lost": self.lost,
            "refused": self.refused,
            "problems": list(self.problems),
            "vips": self.vips,
            "reload": self.reload,
            "lapses": self.lapses,
        }
        if self.held is not None:
            data["held"] = [_route_out(route) for route in self.held]
        return _line(data)

    @classmethod
    def load(cls, line: bytes) -> Report:
        """Read one line; raises MessageError."""
        data = _object(line)
        try:
            held = data.get("held")
            expires, lapses = data.get("expires_in"), data.get("lapses")
            return cls(
                instance=str(data["instance"]),
                serial=int(data["serial"]),
                acked=int(data["acked"]),
                expires_in=None if expires is None else float(expires),
                neighbors={
                    str(address): NeighborReport(
                        session=Session(item["session"]),
                        since=float(item["since"]),
                        untold=int(item.get("untold", 0)),
                        rib=str(item.get("rib", "unread")),
                        rib_age=item.get("rib_age"),
                        why=str(item.get("why", "")),
                    )
                    for address, item in data["neighbors"].items()
                },
                held=None if held is None else tuple(_route_in(item) for item in held),
                errors=tuple(str(error) for error in data.get("errors", ())),
                exabgp=str(data.get("exabgp", "")),
                config=str(data.get("config", "")),
                repairs=int(data.get("repairs", 0)),
                lost=str(data.get("lost", "")),
                refused=str(data.get("refused", "")),
                problems=tuple(str(problem) for problem in data.get("problems", ())),
                vips=str(data.get("vips", "")),
                reload=str(data.get("reload", "")),
                lapses=None if lapses is None else int(lapses),
            )
        except _UNREADABLE as error:
            raise MessageError(f"not a report of the lease: {error!r}") from None


def _line(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
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


def _route_out(route: Route) -> dict[str, object]:
    return {
        "neighbor": route.neighbor,
        "prefix": route.prefix,
        "next_hop": route.next_hop,
        "as_path": list(route.as_path),
        "med": route.med,
        "communities": list(route.communities),
    }


def _route_in(item: Mapping[str, Any]) -> Route:
    # These words are put into ExaBGP's command line: nothing but addresses and numbers may pass.
    med = item.get("med")
    return canonicalize(
        Route(
            neighbor=str(item["neighbor"]),
            prefix=str(item["prefix"]),
            next_hop=str(item["next_hop"]),
            as_path=tuple(int(asn) for asn in item["as_path"]),
            med=None if med is None else int(med),
            communities=tuple(str(text) for text in item.get("communities", ())),
        )
    )
