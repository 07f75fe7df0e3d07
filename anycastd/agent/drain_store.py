"""Keep drains on disk, for the next agent: the file `drains.json`.

What cannot be read is never taken for "no drains": it becomes a drain of its own kind, which keeps
services at the longest path until an operator ends it (``decision/drains``).  That drain is stored
like any other, so it outlives restarts as well.  Where the file can only not be read now (a disk
that fails once, no descriptor left), it is read again each second, and what it holds then takes
that drain's place.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from anycastd.agent.state_file import StateFile
from anycastd.decision.drains import DrainTable
from anycastd.decision.stored_drains import build_unreadable_drain, dump_drains, load_drains
from anycastd.system.clock import OwnTime
from anycastd.views.event_commands import describe_origin

log = logging.getLogger(__name__)

READ_INTERVAL = 1.0
"""Seconds between two attempts to read a file that could not be read when the agent started."""


class DrainStore:
    """The file of the drains in the directory ``state``.

    ``inherited`` are drains (the text of `dump_unsaved`) that this process could not write to disk
    before it executed itself anew; they count instead of those on disk.
    """

    def __init__(self, clock: OwnTime, state: str, inherited: str = "") -> None:
        self._clock = clock
        self._inherited = inherited
        self._file = StateFile(state, "drains", "drains")
        self._is_replaced = False  # an operator's command was written

    def load(self) -> DrainTable:
        """Load the drains that go on, before the first pass; raises nothing.

        A file that holds no drains is quarantined.
        """
        now = self._clock.now()
        table = self._use(self._file.load(), now)
        if self._inherited:
            table = self._load_inherited(now)
        self._log_drains(table)
        if self._inherited or not self._file.postponed:
            # An empty table, too: a disk that cannot be written is reported now, not in a drain.
            self._file.save_soon(dump_drains(table, now))
        return table

    async def retry_read(self) -> DrainTable | None:
        """Wait until a file can be read that could not be read when the agent started.

        Returns the drains that it holds.  Returns None where there is nothing to wait for, or an
        operator's command has written the file meanwhile.
        """
        while self._file.postponed:
            await asyncio.sleep(READ_INTERVAL)
            found = await self._file.retry_read()
            if self._file.postponed:
                continue
            if self._is_replaced:
                return None
            table = self._use(found, self._clock.now())
            log.info("%s: drains can be read again", self._file.path)
            self._log_drains(table)
            return table
        return None

    def save_soon(self, table: DrainTable) -> None:
        """Have ``run()`` write this table, unless a newer one comes before that.

        A file that is still to be read is not replaced: only an operator's command does that.
        """
        if not self._file.postponed:
            self._file.save_soon(dump_drains(table, self._clock.now()))

    async def save(self, table: DrainTable) -> list[str]:
        """Write the table of an operator's command to disk; returns warnings for the operator."""
        self._is_replaced = True
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
        if self._file.postponed:
            found.append(
                f"{self._file.path}: drains of an earlier agent cannot be read now: "
                f"{self._file.unreadable}; services stay at standby meanwhile (the agent tries "
                "again)"
            )
        if self._file.problem:
            found.append(self._describe_unsaved())
        return tuple(filter(None, found))

    def dump_unsaved(self, table: DrainTable) -> str:
        """Return the drains as JSON for this process's successor; empty if they are on disk."""
        if not self._file.problem:
            return ""
        return json.dumps(dump_drains(table, self._clock.now()))

    def _use(self, loaded: tuple[Any, float] | None, now: float) -> DrainTable:
        """Return the drains of a file, or the drain that stands for those that cannot be read."""
        if loaded is not None:
            value, age = loaded
            try:
                return load_drains(value, now - age)
            except ValueError as error:
                self._file.quarantine(str(error))
        if not self._file.unreadable:
            return {}
        then = "; it is read again each second" if self._file.postponed else ""
        drain = build_unreadable_drain(f"{self._file.path}: {self._file.unreadable}{then}", now)
        return {drain.key: drain}

    def _log_drains(self, table: DrainTable) -> None:
        until = "" if self._file.postponed else " until `undrain`"
        for drain in table.values():
            if drain.unreadable:
                log.error("%s: kept at standby%s: %s", drain.scope, until, drain.reason)
            else:
                log.warning("drain of %s goes on (%s)", drain.scope, describe_origin(drain))

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
