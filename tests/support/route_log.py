"""Route changes of one prefix, as BGP peers received them.

A route change is a change of reachability, path or attributes.  A session that closes removes its
routes.  An UPDATE that repeats the route is no change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from support.bgp_wire import Closed, Event, Opened, ReceivedRoute, Update
from support.peer import Peer, wait_for

GONE = "x"
"""How a change to no route is written."""


@dataclass(frozen=True, slots=True)
class Change:
    """At ``at`` (``time.monotonic()``) the route of ``peer`` became ``route`` (None: no route).

    ``closed`` is set where the end of the session removed the route.
    """

    at: float
    peer: int
    route: ReceivedRoute | None
    closed: Closed | None = None

    @property
    def asns(self) -> int:
        """Return the length of the path; 0 without a route."""
        return 0 if self.route is None else len(self.route.as_path)

    def __str__(self) -> str:
        """Return the length of the path, or ``x`` without a route."""
        return str(self.asns or GONE)


class PeerRouteLog:
    """Changes of one prefix at one peer, read from its events as they arrive."""

    def __init__(self, number: int, prefix: str, events: Sequence[Event]) -> None:
        self.number, self.prefix = number, prefix
        self.changes: list[Change] = []
        self.route: ReceivedRoute | None = None
        self._events = events
        self._read = 0

    def refresh(self) -> None:
        """Read the events since the last call."""
        while self._read < len(self._events):
            event = self._events[self._read]
            self._read += 1
            if isinstance(event, Update):
                route = self.route
                if self.prefix in event.withdrawn:
                    route = None
                for announced in event.announced:
                    route = announced if announced.prefix == self.prefix else route
                self._set_route(event.at, route)
            elif isinstance(event, Closed):
                self._set_route(event.at, None, event)
            elif isinstance(event, Opened):
                self._set_route(event.at, None)

    def _set_route(
        self, at: float, route: ReceivedRoute | None, closed: Closed | None = None
    ) -> None:
        if route != self.route:
            self.route = route
            self.changes.append(Change(at, self.number, route, closed))


class RouteLog:
    """Route changes of one prefix at several peers."""

    def __init__(self, peers: Sequence[Peer], prefix: str) -> None:
        self._peers = peers
        self.logs = [PeerRouteLog(number, prefix, peer.events) for number, peer in enumerate(peers)]

    def refresh(self) -> None:
        """Read the events since the last call.  Raises the error of a peer's thread."""
        for peer, log in zip(self._peers, self.logs, strict=True):
            peer.check()
            log.refresh()

    def changes(self, after: float = 0.0) -> list[Change]:
        """Return all changes after ``after`` (monotonic clock, s) in the order of time."""
        self.refresh()
        found = [change for each in self.logs for change in each.changes if change.at > after]
        return sorted(found, key=lambda change: change.at)

    def lengths(self) -> list[int]:
        """Return the length of each peer's path now, 0 without a route."""
        self.refresh()
        return [0 if each.route is None else len(each.route.as_path) for each in self.logs]

    def wait(self, asns: int, timeout: float, what: str = "") -> None:
        """Wait until each peer has a path of ``asns`` ASNs (0: no route).

        Raises AssertionError after ``timeout`` seconds.
        """
        wait_for(
            lambda: self.lengths() == [asns] * len(self._peers),
            timeout,
            f"{asns} ASNs at each peer, it is {self.lengths()}; {what}",
        )

    def list_first_changes(self, after: float, *, gone: bool = True) -> list[float]:
        """Return, for each peer, when its route first went after ``after``.

        ``gone=False``: when it first changed at all.  A peer without such a change is left out.
        All are times of the monotonic clock, in seconds.
        """
        return [
            change.at
            for each in self.logs
            for change in [
                next(
                    (
                        change
                        for change in each.changes
                        if change.at > after and (change.route is None or not gone)
                    ),
                    None,
                )
            ]
            if change is not None
        ]

    def describe_changes(self, after: float) -> list[str]:
        """Return what each peer received after ``after`` (monotonic clock, s), as one text each.

        ``x 7 1`` is: no route, then a path of 7 ASNs, then one of 1 ASN.
        """
        lengths: list[list[str]] = [[] for _ in self.logs]
        for change in self.changes(after):
            lengths[change.peer].append(str(change))
        return [" ".join(each) or "nothing" for each in lengths]


def find_most_common(stories: Sequence[str]) -> str:
    """Return the most frequent story, and how many differ from it; IndexError without a story."""
    counted = Counter(stories).most_common()
    others = len(stories) - counted[0][1]
    return counted[0][0] + (f" ({others} other)" if others else "")
