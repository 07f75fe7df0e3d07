"""Which routes the speaker is to advertise, and which it does (stdlib only, pure).

A route passes three stages: an agent *requests* it, the speaker's settings *permit* it, and a
command to the speaker *advertises* it.  The speaker's own adj-rib-out (RFC 4271 section 3.2) is
read back and compared with what is advertised; what differs is sent again.

All times are own time, in seconds (``anycastd.system.clock``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.lease.commands import Announce, Command, Withdraw
from anycastd.lease.messages import Levels
from anycastd.lease.neighbor import NeighborState
from anycastd.lease.settings import Settings

MAX_FAILURES = 5
"""Readings of the adj-rib-out in a row that may fail: it cannot be read, or it has a route that was
withdrawn.  They are ``settle_delay`` apart."""

MAX_UNLISTED = 45.0
"""Seconds for which a route stays that an agent wants to change to one that is not on the list.

The speaker takes over a changed profile within that time, and then the new route is on it.
"""

MAX_PROBLEMS = 10
"""Maximum number of refused routes that a report describes one by one."""


class AdjRibOut:
    """The routes of one speaker: requested, permitted and advertised.

    ``permitted`` and ``advertised``: (neighbor, prefix) -> Route.  ``known``: what the lease
    process before this one left in the speaker's adj-rib-out has been read.  ``repairs`` counts the
    routes that were sent again because they differed there.
    """

    def __init__(self, now: float) -> None:
        self.requested: tuple[Route, ...] = ()
        self._levels: Levels | None = None
        self.permitted: dict[tuple[str, str], Route] = {}
        self.advertised: dict[tuple[str, str], Route] = {}
        self.known = False
        self.repairs = 0
        self._refused: list[str] = []
        self._failures = 0
        # key -> since when a route is requested that is not on the speaker's list
        self._unlisted_at: dict[tuple[str, str], float] = {}
        self._dirty = False
        self._changed_at = now
        self._read_at = now

    def request(self, routes: tuple[Route, ...], levels: Levels | None = None) -> None:
        """Replace the requested routes; ``levels`` are what their agent says of them."""
        self.requested, self._levels = routes, levels

    def describe_leased(self) -> tuple[tuple[Route, ...], Levels | None]:
        """Return the routes that are advertised, and the levels that came with the requested."""
        return tuple(sorted(self.advertised.values())), self._levels

    def update(self, settings: Settings, *, banned: bool, now: float) -> list[Command]:
        """Filter the requested routes, and advertise those that are permitted.

        ``banned``: agents are banned, so no route is permitted.  Returns the commands to send to
        the speaker, withdrawals first.
        """
        self._permit(() if banned else self.requested, settings, now)
        commands: list[Command] = [
            Withdraw(self.advertised.pop(key))
            for key in [key for key in self.advertised if key not in self.permitted]
        ]
        for key, route in self.permitted.items():
            if self.advertised.get(key) != route:
                self.advertised[key] = route
                commands.append(Announce(route))
        if commands:
            self._mark_dirty(now)
        return commands

    def inherit_routes(self, rib: tuple[Route, ...]) -> None:
        """Take over the routes that the lease process before this one left in the speaker.

        ``rib``: all routes in the speaker's adj-rib-out.
        """
        self.known = True
        # What was sent since the query is newer than its answer.
        self.advertised = {route.key: route for route in rib} | self.advertised

    def compare_rib(
        self, rib: tuple[Route, ...], neighbors: Mapping[str, NeighborState], now: float
    ) -> list[Command]:
        """Compare the speaker's adj-rib-out with what is advertised.

        ``rib``: all routes in the adj-rib-out.  ``neighbors``: address -> its state.  Those whose
        session is up are compared, and the result is stored in their state.  Returns the commands
        that repair the differences.
        """
        found = {route.key: route for route in rib}
        commands: list[Command] = []
        for address, neighbor in neighbors.items():
            if neighbor.session is not Session.UP:
                continue
            repairs: list[Command] = [
                Withdraw(route)
                for key, route in found.items()
                if key[0] == address and key not in self.advertised
            ]
            repairs += [
                Announce(route)
                for key, route in self.advertised.items()
                if key[0] == address and found.get(key) != route
            ]
            neighbor.set_rib(agrees=not repairs, now=now)
            commands += repairs
        if commands:
            self.repairs += len(commands)
            self._mark_dirty(now)
        stays = any(isinstance(command, Withdraw) for command in commands)
        self._failures = self._failures + 1 if stays else 0
        return commands

    def on_unreadable(self, neighbors: Mapping[str, NeighborState], now: float) -> None:
        """Handle that the speaker's adj-rib-out could not be read: it counts as different.

        ``neighbors``: address -> its state.  Before the state at the start is known it changes
        nothing.
        """
        if not self.known:
            return
        for neighbor in neighbors.values():
            if neighbor.session is Session.UP:
                neighbor.set_rib(agrees=False, now=now)
        self._failures += 1
        self._mark_dirty(now)

    def pop_failure(self) -> str:
        """Return why the speaker must be killed, empty where it need not; begin to count anew.

        It must be where MAX_FAILURES readings failed in a row: a route could outlive its lease.
        """
        if self._failures < MAX_FAILURES:
            return ""
        self._failures = 0
        return (
            f"its adj-rib-out could not be read, or had a route that was withdrawn, {MAX_FAILURES} "
            "times in a row: what it announces is unknown"
        )

    def reannounce(self, neighbor: str, now: float) -> list[Command]:
        """Announce all routes of ``neighbor`` again, because its session came up.

        What was sent before does not count.  ExaBGP sends no UPDATE for a route that the neighbor
        has already.  Returns the commands to send.
        """
        self._mark_dirty(now)
        return [Announce(route) for route in self.advertised.values() if route.neighbor == neighbor]

    def on_refused(self, command: Announce | Withdraw) -> None:
        """Handle that the speaker refused a command: it is sent again later."""
        if self.advertised.get(command.route.key) == command.route:
            del self.advertised[command.route.key]

    def keep_neighbors(self, neighbors: Collection[str]) -> None:
        """Remove the advertised routes of all neighbors but these (addresses)."""
        self.advertised = {
            key: route for key, route in self.advertised.items() if key[0] in neighbors
        }

    def on_read(self, now: float) -> None:
        """Handle that the speaker answered a query for its adj-rib-out, readable or not."""
        self._read_at = now

    def is_read_due(self, settings: Settings, now: float) -> bool:
        """Return whether it is time to query the speaker's adj-rib-out.

        It is ``settle_delay`` seconds after the last change, and ``read_interval`` seconds after
        the last answer; never before the state at the start is known.
        """
        return now >= self.find_read_due_at(settings)

    def find_read_due_at(self, settings: Settings) -> float:
        """Find when ``is_read_due`` becomes true, if nothing changes before (own time)."""
        if not self.known:
            return math.inf
        settled_at = self._changed_at + settings.settle_delay if self._dirty else math.inf
        return min(settled_at, self._read_at + settings.read_interval)

    def on_query(self) -> None:
        """Handle that the adj-rib-out is being queried: changes up to now will be in the answer."""
        self._dirty = False

    def describe_refused(self) -> list[str]:
        """Describe the requested routes that are not permitted.

        Returns at most MAX_PROBLEMS sentences, and then one with the number of the others.
        """
        more = len(self._refused) - MAX_PROBLEMS
        return self._refused[:MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])

    def _permit(self, routes: tuple[Route, ...], settings: Settings, now: float) -> None:
        refused: list[str] = []
        unlisted_at: dict[tuple[str, str], float] = {}
        self.permitted = {}
        for route in routes:
            if route.prefix not in settings.prefixes:
                refused.append(f"{route.prefix} is not a VIP that the speaker may announce")
            elif route.neighbor not in settings.neighbors:
                refused.append(f"{route.neighbor} is not a neighbor of the speaker")
            elif route.as_path and route.as_path[0] != settings.local_as:
                path = " ".join(map(str, route.as_path))
                refused.append(f"{route.prefix}: the path {path} does not begin with our ASN")
            elif _is_permitted(route, settings):
                self.permitted[route.key] = route
            else:
                since = unlisted_at[route.key] = self._unlisted_at.get(route.key, now)
                refused.append(_describe_unlisted(route))
                kept = self.advertised.get(route.key)
                if kept is not None and _may_stay(kept, route, now - since):
                    self.permitted[route.key] = kept
        self._unlisted_at = unlisted_at
        self._refused = list(dict.fromkeys(refused))

    def _mark_dirty(self, now: float) -> None:
        """Note that routes changed, so that the adj-rib-out is read back soon."""
        self._changed_at, self._dirty = now, True


def _may_stay(advertised: Route, requested: Route, age: float) -> bool:
    """Return whether a route stays while the one that is to replace it is not on the list.

    ``age``: seconds for which that one has been requested.  After MAX_UNLISTED seconds it stays
    only if it attracts no more traffic: a shorter path than the requested one is withdrawn.
    """
    if age < MAX_UNLISTED:
        return True
    if (advertised.local_pref is None) != (requested.local_pref is None):
        return False  # one is for iBGP, and the other one is not
    return (advertised.local_pref or 0) <= (requested.local_pref or 0) and len(
        advertised.as_path
    ) >= len(requested.as_path)


def _is_permitted(route: Route, settings: Settings) -> bool:
    """Return whether ``route`` is on the speaker's list; without a list only eBGP is permitted."""
    if settings.routes is None:
        return route.local_pref is None
    return settings.routes.permits(route)


def _describe_unlisted(route: Route) -> str:
    med = "no MED" if route.med is None else f"MED {route.med}"
    local_pref = "" if route.local_pref is None else f", local preference {route.local_pref}"
    return (
        f"{route.prefix} to {route.neighbor}: the speaker's profile has no route with next hop "
        f"{route.next_hop}, {len(route.as_path)} ASNs, {med}, {len(route.communities)} communities"
        f"{local_pref}"
    )
