"""When a router changed its mind: the kernel's own route events, with their times."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO

from anycastd.lab.network.namespaces import Nodes
from anycastd.lab.network.topology import VIP

_LINE = re.compile(r"^\[(?P<time>[0-9T:.-]+)\]\s+(?P<gone>Deleted )?(?P<network>\S+)(?P<rest>.*)")

_REPLACED = 0.001


@dataclass(frozen=True, slots=True)
class Change:
    """A route to the VIP came or went in a router, at a moment of the monotonic clock.

    ``hops`` are the next hops of a route that came, empty for one that went.
    """

    at: float
    hops: tuple[str, ...]


class Watch:
    """Follows one router's kernel routes to the VIP, until the nodes are closed."""

    def __init__(self, nodes: Nodes, node: str) -> None:
        self.node = node
        self._changes: list[Change] = []
        lines = nodes.follow(node, "ip", "-o", "-ts", "monitor", "route")
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def changes(self, since: float = 0.0) -> list[Change]:
        """Return the changes after a moment, oldest first."""
        return [change for change in self._changes if change.at >= since]

    def first(self, since: float, *hops: str) -> float | None:
        """Return when a route over one of ``hops`` came first after ``since``; none: when it went.

        A router that replaces a route deletes the old one and adds the new one; a deletion that is
        followed by a route within a millisecond is no loss.
        """
        changes = self.changes(since)
        for change, following in zip_longest(changes, changes[1:]):
            if hops and set(hops) & set(change.hops):
                return change.at
            replaced = following and following.hops and following.at - change.at < _REPLACED
            if not hops and not change.hops and not replaced:
                return change.at
        return None

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for text in lines:
                # `ip` stamps with the wall clock; the clocks differ now as they did a moment ago.
                now, wall = time.monotonic(), time.time()
                line = _LINE.match(text)
                if line and line["network"] == VIP:
                    stamp = dt.datetime.fromisoformat(line["time"]).timestamp()
                    hops = () if line["gone"] else tuple(re.findall(r"via (\S+)", line["rest"]))
                    self._changes.append(Change(now - (wall - stamp), hops))
