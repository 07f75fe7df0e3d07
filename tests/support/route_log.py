"""What peers saw of one prefix: its route over time, and each change of it.

A route change is a change of reachability, path or attributes; a session that closes takes the
route with it.  UPDATEs that say again what stands are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from support.bgp_wire import Closed, Event, Heard, Opened, Update
from support.peer import Peer, wait_for

GONE = "x"


@dataclass(frozen=True, slots=True)
class Change:
    """At ``at`` (``time.monotonic()``) a peer's route became ``route``; None: it has none.

    ``closed``: the session ended, and took the route along.
    """

    at: float
    peer: int
    route: Heard | None
    closed: Closed | None = None

    @property
    def asns(self) -> int:
        """Length of the path; 0 without a route."""
        return 0 if self.route is None else len(self.route.as_path)

    def __str__(self) -> str:
        """Give the length of the path, or that there is none."""
        return str(self.asns or GONE)


class History:
    """The changes of one prefix at one peer, read on as events come in."""

    def __init__(self, number: int, prefix: str, events: Sequence[Event]) -> None:
        self.number, self.prefix = number, prefix
        self.changes: list[Change] = []
        self.route: Heard | None = None
        self._events = events
        self._read = 0

    def refresh(self) -> None:
        """Take what has been heard since the last time."""
        while self._read < len(self._events):
            event = self._events[self._read]
            self._read += 1
            if isinstance(event, Update):
                route = self.route
                if self.prefix in event.withdrawn:
                    route = None
                for heard in event.announced:
                    route = heard if heard.prefix == self.prefix else route
                self._become(event.at, route)
            elif isinstance(event, Closed):
                self._become(event.at, None, event)
            elif isinstance(event, Opened):
                self._become(event.at, None)

    def _become(self, at: float, route: Heard | None, closed: Closed | None = None) -> None:
        if route != self.route:
            self.route = route
            self.changes.append(Change(at, self.number, route, closed))


class Wire:
    """One prefix at several peers."""

    def __init__(self, peers: Sequence[Peer], prefix: str) -> None:
        self._peers = peers
        self.histories = [History(number, prefix, peer.events) for number, peer in enumerate(peers)]

    def refresh(self) -> None:
        """Take what has been heard since the last time; raises what went wrong in a peer."""
        for peer, history in zip(self._peers, self.histories, strict=True):
            peer.check()
            history.refresh()

    def changes(self, since: float = 0.0) -> list[Change]:
        """All changes after ``since`` in the order of time."""
        self.refresh()
        found = [change for each in self.histories for change in each.changes if change.at > since]
        return sorted(found, key=lambda change: change.at)

    def lengths(self) -> list[int]:
        """The length of each peer's path now, 0 without a route."""
        self.refresh()
        return [0 if each.route is None else len(each.route.as_path) for each in self.histories]

    def wait(self, asns: int, within: float, what: str = "") -> None:
        """Wait until each peer has a path of ``asns`` ASNs (0: no route)."""
        wait_for(
            lambda: self.lengths() == [asns] * len(self._peers),
            within,
            f"{asns} ASNs at each peer, it is {self.lengths()}; {what}",
        )

    def first(self, since: float, *, gone: bool = True) -> list[float]:
        """For each peer when its route first went (or changed at all) after ``since``."""
        return [
            change.at
            for each in self.histories
            for change in [
                next(
                    (
                        change
                        for change in each.changes
                        if change.at > since and (change.route is None or not gone)
                    ),
                    None,
                )
            ]
            if change is not None
        ]

    def story(self, since: float) -> list[str]:
        """What each peer saw after ``since``: ``x 7 1`` is gone, standby, preferred."""
        words: list[list[str]] = [[] for _ in self.histories]
        for change in self.changes(since):
            words[change.peer].append(str(change))
        return [" ".join(each) or "nothing" for each in words]


def common(stories: Sequence[str]) -> str:
    """The story that was told most, and how many told another one."""
    counted = Counter(stories).most_common()
    others = len(stories) - counted[0][1]
    return counted[0][0] + (f" ({others} other)" if others else "")
