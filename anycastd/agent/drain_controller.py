"""Drains as operators ask for them: begun, kept on disk, watched until they end.

What a drain does is decided in the pass (``drains``); this only hands it the table, and takes the
table that a pass leaves.  A drain is on the disk before it is acknowledged.  Where the disk does
not take it, it stands nevertheless, since the operator is about to take the machine away; but that
is said, in the answer, in the log and in the status, until it is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from anycastd.agent.region_client import RegionClient
from anycastd.agent.state_file import StateFile
from anycastd.decision.drains import (
    ALL,
    STOP,
    Drain,
    Table,
    another_region_serves,
    dump_drains,
    load_drains,
    needs_region_reports,
)
from anycastd.decision.levels import Level
from anycastd.decision.pipeline import PassResult
from anycastd.decision.region_report import RegionReport, clean_text
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime

log = logging.getLogger(__name__)

ASK_INTERVAL = 1.0
"""Seconds between two questions to the other regions, while a drain wants to know."""
STOP_LASTS = 60.0
"""A drain for a stop ends by itself so many seconds after the stop should be over."""
PASS_TIMEOUT = 1.0
"""Seconds to wait for the next pass; it comes at once, but for an agent that hangs."""
MAX_DURATION = 366 * 86400.0

Asked = Mapping[str, Any]
Reply = dict[str, Any]


class DrainInbox(Protocol):
    """What the drainer gives to the pass; ``wake()`` asks for one."""

    drains: Table
    region_reports: Mapping[str, RegionReport]

    def wake(self) -> None:
        """Ask for a pass."""


class DrainController:
    """The drains of one agent; ``drain`` and ``undrain`` answer the control socket.

    ``inherited`` are drains that the agent before us, in this process, could not keep on disk.
    """

    def __init__(
        self, profile: Profile, inbox: DrainInbox, clock: OwnTime, state: str, inherited: str = ""
    ) -> None:
        self._profile = profile
        self._inbox = inbox
        self._clock = clock
        self._inherited = inherited
        self._others = RegionClient(profile, clock)
        self._step: PassResult | None = None
        self._one = asyncio.Lock()
        self._curious = asyncio.Event()
        self._passed = asyncio.Event()
        self._shelf = StateFile(state, "drains", "drains")

    def load(self) -> None:
        """Take up the drains that are kept, before the first pass."""
        now = self._clock.now()
        loaded = self._shelf.load()
        table: Table = {}
        if loaded is not None:
            value, age = loaded
            try:
                table = load_drains(value, now - age)
            except ValueError:
                self._shelf.quarantine("it holds no list of drains")
        if self._inherited:
            table = load_drains(json.loads(self._inherited), now)
        for drain in table.values():
            log.warning("drain of %s goes on (%s)", drain.scope, _whose(drain))
        self._inbox.drains = table
        # Also where nothing is to be kept: who cannot write here is told now, not when it matters.
        self._shelf.save_soon(dump_drains(table, now))

    async def run(self) -> None:
        """Keep on disk what is to be kept, ask the other regions while a drain wants to know."""
        await asyncio.gather(self._shelf.run(), self._ask())

    def apply_pass_result(self, step: PassResult) -> None:
        """Take what a pass leaves of the drains."""
        self._step = step
        before, after = self._inbox.drains, step.drains
        if after != before:
            for key, drain in before.items():
                if key not in after:
                    log.warning("drain of %s ends: its time is up (%s)", drain.scope, _whose(drain))
            self._inbox.drains = after
            self._shelf.save_soon(dump_drains(after, self._clock.now()))
        self._passed.set()
        if needs_region_reports(self._profile, after):
            self._curious.set()
        else:
            self._curious.clear()

    async def flush(self) -> None:
        """Write what has not been written, before the end."""
        await self._shelf.flush()

    def problems(self) -> tuple[str, ...]:
        """Say what is wrong with keeping drains."""
        found = [self._shelf.quarantine_notice()]
        if self._shelf.problem:
            found.append(f"{self._shelf.path}: {self._unkept()}")
        return tuple(filter(None, found))

    def unsaved_drains(self) -> str:
        """Give the drains as text where they are not on the disk, for a successor here."""
        kept = not self._shelf.problem
        return "" if kept else json.dumps(dump_drains(self._inbox.drains, self._clock.now()))

    def draining_services(self) -> frozenset[str]:
        """Name the services that are being drained, as of now."""
        drains = self._inbox.drains.values()
        names = self._profile.services
        return frozenset(name for name in names if any(each.covers(name) for each in drains))

    # What operators ask for -----------------------------------------------------------------------

    async def drain(self, asked: Asked) -> Reply:
        """Begin a drain: ``service`` (None: all), ``reason``, ``by``, ``for``, ``force``.

        ``stopping``: one for a stop of the agent, which nobody is asked about.
        """
        async with self._one:
            service, fault = self._service(asked)
            seconds = _lasts(asked.get("for"))
            if fault:
                return _refused("unknown", fault)
            if seconds is None:
                return _refused("unknown", f"{asked.get('for')!r} is no time that a drain can last")
            stopping = asked.get("stopping") is True
            table = self._inbox.drains
            key = STOP if stopping else service or ALL
            if key in table:
                if stopping:
                    return self._reply([], stop=self._profile.drain.stop)
                return _refused("already", self._already(table[key]))
            force = asked.get("force") is True
            names = [name for name in self._profile.services if service in (None, name)]
            if not (force or stopping):
                fault = await self._last(names)
                if fault:
                    return _refused("last", fault)
            now = self._clock.now()
            times = self._profile.drain
            lasts = 2 * times.stop + STOP_LASTS if stopping else seconds
            drain = Drain(
                reason=clean_text(asked.get("reason"), "no reason was given"),
                by=clean_text(asked.get("by")),
                began_at=now,
                wait=times.stop / 2 if stopping else times.wait,
                service=None if stopping else service,
                ends_at=now + lasts if lasts else None,
                force=force,
                stopping=stopping,
            )
            warnings = [] if stopping else await self._keep({**self._inbox.drains, key: drain})
            said = list(self._outlook(drain, names))
            await self._put({**self._inbox.drains, key: drain})
            log.warning("drain of %s begins (%s)", drain.scope, _whose(drain))
            return self._reply(said, warnings, stop=times.stop)

    async def undrain(self, asked: Asked) -> Reply:
        """End the drain of ``service``, or that of everything (None)."""
        async with self._one:
            service = asked.get("service")
            table = self._inbox.drains
            keys = {str(service)} if service is not None else {ALL, STOP}
            ended = [drain for key, drain in table.items() if key in keys]
            if not ended:
                _, fault = self._service(asked)
                return _refused("unknown" if fault else "nothing", fault or self._nothing(service))
            rest = {key: drain for key, drain in table.items() if key not in keys}
            warnings = await self._keep(rest)
            rest = {key: drain for key, drain in self._inbox.drains.items() if key not in keys}
            await self._put(rest)
            said = []
            for drain in ended:
                log.warning("drain of %s is ended by %s", drain.scope, clean_text(asked.get("by")))
                said.append(f"the drain of {drain.scope} has ended ({_whose(drain)})")
            for name in self._profile.services:
                if any(drain.covers(name) for drain in ended):
                    left = next((each for each in rest.values() if each.covers(name)), None)
                    said.append(
                        f"{name}: comes back as its rules and timers allow"
                        if left is None
                        else f"{name}: stays drained by the drain of {left.scope} ({_whose(left)})"
                    )
            return self._reply(said, warnings)

    def _service(self, asked: Asked) -> tuple[str | None, str]:
        service = asked.get("service")
        if service is None or service in self._profile.services:
            return service, ""
        known = ", ".join(self._profile.services)
        return None, f"there is no service {clean_text(service)}; the profile has: {known}"

    async def _last(self, names: Iterable[str]) -> str:
        """Say what keeps these from being drained: nobody else would serve."""
        if not self._profile.regions:
            return ""
        began = self._clock.now() - 2 * ASK_INTERVAL
        others = await self._others.fetch_reports()
        now = self._clock.now()
        for name in names:
            if self._level(name) is Level.WITHDRAWN:
                continue
            found = another_region_serves(
                self._profile, self._profile.services[name], others, began, now
            )
            if not found.serves:
                return (
                    f"{name}: no other region is known to serve ({found.detail}); bring one back, or "
                    "drain with --force"
                )
        return ""

    def _outlook(self, drain: Drain, names: Iterable[str]) -> Iterable[str]:
        for name in names:
            other = next((d for d in self._inbox.drains.values() if d.covers(name)), None)
            if other is not None:
                yield (
                    f"{name}: the drain of {other.scope} stands already ({_whose(other)}); both "
                    "have to be ended"
                )
            elif self._level(name) is Level.WITHDRAWN:
                yield f"{name}: is withdrawn already, and stays so"
            elif self._profile.services[name].prepends_steer:
                yield f"{name}: at the longest path now, withdrawn in {drain.wait:g} s"
            else:
                yield (
                    f"{name}: withdrawn now, since prepends do not steer here; the others have "
                    f"{drain.wait:g} s to take over"
                )
        if not (self._profile.regions or drain.force):
            yield "no `regions` in the profile: nobody was asked whether another region serves"

    def _level(self, name: str) -> Level | None:
        return None if self._step is None else self._step.decisions[name].level

    def _already(self, drain: Drain) -> str:
        minutes = (self._clock.now() - drain.began_at) / 60
        name = f" {drain.service}" if drain.service else ""
        return (
            f"{drain.scope}: a drain stands already, for {minutes:.0f} min ({_whose(drain)}); "
            f"`anycastd undrain{name}` ends it"
        )

    def _nothing(self, service: object) -> str:
        standing = [each.scope for each in self._inbox.drains.values()]
        what = "all services" if service is None else clean_text(service)
        if not standing:
            return f"{what}: there is no drain to end"
        return f"{what}: there is no such drain to end; there is a drain of {', '.join(standing)}"

    async def _put(self, table: Table) -> None:
        """Hand the pass another table, and wait for it: who asks then sees what came of it."""
        self._inbox.drains = table
        # A pass may have had another table written while this one was.
        self._shelf.save_soon(dump_drains(table, self._clock.now()))
        self._passed.clear()
        self._inbox.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PASS_TIMEOUT):
                await self._passed.wait()

    async def _keep(self, table: Table) -> list[str]:
        if await self._shelf.save(dump_drains(table, self._clock.now())):
            return [f"{self._shelf.path}: {self._unkept()}"]
        return []

    def _unkept(self) -> str:
        return (
            f"cannot be written: {self._shelf.problem}; what is drained or not is lost with this "
            "agent, so make room or mend the directory (it is tried again)"
        )

    def _reply(self, said: list[str], warnings: Iterable[str] = (), stop: float = 0) -> Reply:
        return {"v": 1, "said": said, "warnings": list(warnings), "stop": stop}

    async def _ask(self) -> None:
        while True:
            await self._curious.wait()
            self._inbox.region_reports = await self._others.fetch_reports()
            self._inbox.wake()
            await asyncio.sleep(ASK_INTERVAL)


def _whose(drain: Drain) -> str:
    return f"{drain.reason}; by {drain.by}" if drain.by else drain.reason


def _lasts(given: object) -> float | None:
    """Seconds that a drain lasts, 0 for no end; None where that cannot be meant."""
    if given is None:
        return 0.0
    if (
        isinstance(given, bool)
        or not isinstance(given, int | float)
        or not 0 < given <= MAX_DURATION
    ):
        return None
    return float(given)


def _refused(code: str, why: str) -> Reply:
    return {"v": 1, "refused": why, "code": code}
