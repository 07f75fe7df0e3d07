"""Record when a router's kernel routes to the VIP change, with the kernel's own times."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO

from anycastd.lab.network.namespaces import Nodes

_LINE = re.compile(r"^\[(?P<time>[0-9T:.-]+)\]\s+(?P<gone>Deleted )?(?P<network>\S+)(?P<rest>.*)")

_MAX_REPLACEMENT = 0.001  # seconds between the deletion and the addition of a replaced route


@dataclass(frozen=True, slots=True)
class RouteChange:
    """One change of a router's route to the VIP.

    ``at`` is a time of the monotonic clock (s).  ``next_hops`` are those of an added route, empty
    for a deleted one.
    """

    at: float
    next_hops: tuple[str, ...]


class RouteMonitor:
    """A monitor of one router's kernel routes to the VIP, until the nodes are closed.

    All times are of the monotonic clock, in seconds.
    """

    def __init__(self, nodes: Nodes, node: str, vip: str) -> None:
        self.node = node
        self._vip = vip
        self._changes: list[RouteChange] = []
        lines = nodes.stream_lines(node, "ip", "-o", "-ts", "monitor", "route")
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def next_hops(self) -> tuple[str, ...]:
        """Return the next hops of the route as it is now; empty without a route."""
        return self._changes[-1].next_hops if self._changes else ()

    def changes(self, since: float = 0.0) -> list[RouteChange]:
        """Return the changes at ``since`` (monotonic clock, s) or later, oldest first."""
        return [change for change in self._changes if change.at >= since]

    def moved_at(self, since: float, *next_hops: str) -> float | None:
        """Return when a route over one of ``next_hops`` was first added, at ``since`` or later.

        Both are times of the monotonic clock, in seconds.  None: no such route was added.
        """
        for change in self.changes(since):
            if set(next_hops) & set(change.next_hops):
                return change.at
        return None

    def lost_at(self, since: float) -> float | None:
        """Return when the route was first deleted, at ``since`` or later; None: it was not.

        Both are times of the monotonic clock, in seconds.

        A router that replaces a route deletes the old one and adds the new one: a deletion
        followed by an addition within a millisecond does not count.
        """
        changes = self.changes(since)
        for change, following in zip_longest(changes, changes[1:]):
            replaced = (
                following and following.next_hops and following.at - change.at < _MAX_REPLACEMENT
            )
            if not change.next_hops and not replaced:
                return change.at
        return None

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for text in lines:
                # `ip` stamps with the wall clock; the clocks differ now as they did a moment ago.
                now, wall = time.monotonic(), time.time()
                line = _LINE.match(text)
                # Another table than the main one is named, and is none of ours.
                if line and line["network"] == self._vip and " table " not in line["rest"]:
                    stamp = dt.datetime.fromisoformat(line["time"]).timestamp()
                    hops = () if line["gone"] else tuple(re.findall(r"via (\S+)", line["rest"]))
                    self._changes.append(RouteChange(now - (wall - stamp), hops))
