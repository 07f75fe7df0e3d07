"""Find changes that no event announced: of proxies that do not log to the ring (pure).

HAProxy writes a line for each server that goes up or down, and for each frontend that is paused,
to the loggers of its proxy.  A proxy without `log global` has none, and no other sign of it exists.
"""

from __future__ import annotations

from collections.abc import Collection

from anycastd.evidence.haproxy.snapshot import Backend, Snapshot

EVENT_DELAY = 0.5
"""Seconds that the event of a change may come after the look that has found the change."""


class UnannouncedChanges:
    """Proxies that changed while no event named them, of one worker.

    ``silent`` are those; an event that names one of them takes it out again.
    """

    def __init__(self) -> None:
        self.silent: frozenset[str] = frozenset()
        self._last: Snapshot | None = None
        self._waiting: dict[str, float] = {}

    def note_look(self, seen: Snapshot, named: Collection[str], now: float) -> None:
        """Note a look and the proxies that events have named since the look before.

        ``now`` is own time in seconds.
        """
        last, self._last = self._last, seen
        if last is None or not seen.worker.is_same_process(last.worker) or seen.worker.stopping:
            self.silent, self._waiting = frozenset(), {}
            return
        self.silent = self.silent.difference(named)
        overdue = {name for name, at in self._waiting.items() if now - at >= EVENT_DELAY}
        self.silent |= overdue.difference(named)
        for name in {*named, *overdue}:
            self._waiting.pop(name, None)
        for name in _find_changed(last, seen):
            if name not in named:
                self._waiting.setdefault(name, now)

    def forget_changes(self) -> None:
        """Forget the changes that are not decided yet: events may have been lost."""
        self._last, self._waiting = None, {}

    def describe(self) -> str:
        """Describe what to write into haproxy.cfg, for operators; empty if there is nothing."""
        if not self.silent:
            return ""
        names = ", ".join(sorted(self.silent)[:3])
        more = f" and {len(self.silent) - 3} more" if len(self.silent) > 3 else ""  # noqa: PLR2004
        return (
            f"no event announced a change in {names}{more}: "
            "add `log global` to it, or to the `defaults` that it uses (and `log ring@...` in "
            "`global` needs the level `notice`)"
        )


def _find_changed(last: Snapshot, seen: Snapshot) -> set[str]:
    """Find the proxies of which HAProxy must have logged a change between two looks."""
    changed = {
        name
        for name, frontend in seen.frontends.items()
        if name in last.frontends and last.frontends[name].is_open is not frontend.is_open
    }
    for name, backend in seen.backends.items():
        before = last.backends.get(name)
        if before is not None and before.servers != backend.servers:
            states = _states(before)
            if any(states.get(each, word) != word for each, word in _states(backend).items()):
                changed.add(name)
    return changed


def _states(backend: Backend) -> dict[str, str]:
    """List the servers that are up or down: other states can be set without a line in the log."""
    # Of 10,000 servers in a few milliseconds: a look costs ten times as much.
    return {
        server.name: server.status[:2]
        for server in backend.servers
        if server.status[:2] in ("UP", "DO")
    }
