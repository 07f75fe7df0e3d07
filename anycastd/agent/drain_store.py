"""Keep drains on disk, for the next agent: the file `drains.json`.

What cannot be read is never taken for "no drains": it becomes a drain of its own kind, which keeps
services at the longest path until an operator ends it (``decision/drains``).  That drain is stored
like any other, so it outlives restarts as well.
"""

from __future__ import annotations

import json
import logging

from anycastd.agent.state_file import StateFile
from anycastd.decision.drains import DrainTable
from anycastd.decision.stored_drains import build_unreadable_drain, dump_drains, load_drains
from anycastd.system.clock import OwnTime
from anycastd.views.event_commands import describe_origin

log = logging.getLogger(__name__)


class DrainStore:
    """The file of the drains in the directory ``state``.

    ``inherited`` are drains (the text of `dump_unsaved`) that this process could not write to disk
    before it executed itself anew; they count instead of those on disk.
    """

    def __init__(self, clock: OwnTime, state: str, inherited: str = "") -> None:
        self._clock = clock
        self._inherited = inherited
        self._file = StateFile(state, "drains", "drains")

    def load(self) -> DrainTable:
        """Load the drains that go on, before the first pass; raises nothing.

        A file that holds no drains is quarantined.
        """
        now = self._clock.now()
        table = self._load_file(now)
        if self._inherited:
            table = self._load_inherited(now)
        for drain in table.values():
            if drain.unreadable:
                log.error("%s: kept at standby until `undrain`: %s", drain.scope, drain.reason)
            else:
                log.warning("drain of %s goes on (%s)", drain.scope, describe_origin(drain))
        # An empty table, too: a disk that cannot be written is reported now, not in a drain.
        self._file.save_soon(dump_drains(table, now))
        return table

    def save_soon(self, table: DrainTable) -> None:
        """Have ``run()`` write this table, unless a newer one comes before that."""
        self._file.save_soon(dump_drains(table, self._clock.now()))

    async def save(self, table: DrainTable) -> list[str]:
        """Write the table to disk; returns warnings for the operator."""
        if await self._file.save(dump_drains(table, self._clock.now())):
            return [self._describe_unsaved()]
        return []

    async def run(self) -> None:
        """Write what is to be saved, until cancelled."""
        await self._file.run()

    async def flush(self) -> None:
        """Try once more to write what is not on disk yet, before the agent ends."""
        await self._file.flush()

    def is_saving(self) -> bool:
        """Return whether the newest table is still to be written."""
        return self._file.is_saving()

    def list_problems(self) -> tuple[str, ...]:
        """List what keeps drains from being stored, for the status: one sentence each."""
        found = [self._file.quarantine_notice()]
        if self._file.problem:
            found.append(self._describe_unsaved())
        return tuple(filter(None, found))

    def dump_unsaved(self, table: DrainTable) -> str:
        """Return the drains as JSON for this process's successor; empty if they are on disk."""
        if not self._file.problem:
            return ""
        return json.dumps(dump_drains(table, self._clock.now()))

    def _load_file(self, now: float) -> DrainTable:
        loaded = self._file.load()
        if loaded is not None:
            value, age = loaded
            try:
                return load_drains(value, now - age)
            except ValueError as error:
                self._file.quarantine(str(error))
        if not self._file.unreadable:
            return {}
        drain = build_unreadable_drain(f"{self._file.path}: {self._file.unreadable}", now)
        return {drain.key: drain}

    def _load_inherited(self, now: float) -> DrainTable:
        try:
            return load_drains(json.loads(self._inherited), now)
        except (ValueError, RecursionError):
            why = "the drains that the agent before the reload handed over cannot be read"
            drain = build_unreadable_drain(why, now)
            return {drain.key: drain}

    def _describe_unsaved(self) -> str:
        return (
            f"{self._file.path}: cannot be written: {self._file.problem}; which drains begin or "
            "end is lost with this agent, so make room or repair the directory (the agent tries "
            "again)"
        )
