"""Begin, end and store drains, as operators ask for it.

What a drain does to a service is decided in each pass, by ``decision/drains``.

``inbox.drains`` (key -> Drain) has two writers, both in the agent's one event loop:

* ``drain()`` and ``undrain()`` add or remove what an operator asked for;
* ``apply_pass_result()`` stores what a pass made of the table: drains whose time is up are gone,
  and each service that was withdrawn has its time in ``Drain.withdrawn_at``.

Neither waits (``await``) between reading the table and writing it, so no change is lost.  Whoever
writes it also saves it to disk.

A drain is on disk before the operator gets an answer.  If the disk does not take it, it begins
nevertheless, because the operator is about to switch the machine off.  Then the answer, the log and
the status say so, until it is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from anycastd.agent.deadline import is_late
from anycastd.agent.drain_store import DrainStore
from anycastd.agent.region_client import RegionClient
from anycastd.decision.drains import (
    AGENT_STOP,
    ALL_SERVICES,
    UNREADABLE,
    Drain,
    DrainTable,
    check_other_regions,
    needs_region_reports,
)
from anycastd.decision.levels import Level
from anycastd.decision.pipeline import PassResult
from anycastd.decision.region_report import RegionReport, clean_text
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from anycastd.system.instants import format_duration
from anycastd.views.event_commands import build_drain_began, build_drain_ended, describe_origin
from anycastd.views.events import Event

POLL_INTERVAL = 1.0
"""Seconds between two requests to the other regions, while a drain needs their reports."""
STOP_MARGIN = 60.0
"""Seconds that the drain of a stop lasts longer than twice the time that the stop may take."""
PASS_TIMEOUT = 1.0
"""Seconds to wait for the next pass; it runs at once unless the agent hangs."""
MAX_DURATION = 366 * 86400.0
"""Seconds that a drain may last by its ``for``."""

Arguments = Mapping[str, Any]
"""Arguments of a command, as JSON has them."""
Reply = dict[str, Any]
"""The JSON object that is sent back."""


class DrainInbox(Protocol):
    """The part of the inbox that the controller writes.

    ``drains`` maps key -> Drain, ``region_reports`` maps region name -> report.
    """

    drains: DrainTable
    region_reports: Mapping[str, RegionReport]

    def wake(self) -> None:
        """Ask for a pass."""


class DrainController:
    """The drains of one agent; ``drain`` and ``undrain`` answer requests on the control socket.

    ``state`` is the directory for the file.  ``record`` is given
    each event.  ``inherited`` are drains (the text from
    `unsaved_drains`) that this process could not write to disk before it executed itself anew.
    """

    def __init__(
        self,
        profile: Profile,
        inbox: DrainInbox,
        clock: OwnTime,
        state: str,
        record: Callable[[Event], object],
        inherited: str = "",
    ) -> None:
        self._record = record
        self._profile = profile
        self._inbox = inbox
        self._clock = clock
        self._regions = RegionClient(profile, clock)
        self._last_pass: PassResult | None = None
        self._one_command = asyncio.Lock()
        self._reports_needed = asyncio.Event()
        self._pass_done = asyncio.Event()
        self._store = DrainStore(clock, state, inherited)

    def load(self) -> None:
        """Load the drains that go on, before the first pass: inherited ones, or those on disk."""
        self._inbox.drains = self._store.load()

    async def run(self) -> None:
        """Write the file, and fetch the other regions' reports while a drain needs them.

        A file that could not be read is read again.  It runs until cancelled.
        """
        await asyncio.gather(self._store.run(), self._retry_read(), self._poll_regions())

    def apply_pass_result(self, step: PassResult) -> None:
        """Store the table that the pass ``step`` leaves, and log the drains whose time is up."""
        self._last_pass = step
        before, after = self._inbox.drains, step.drains
        if after != before:
            for key, drain in before.items():
                if key not in after:
                    self._record(build_drain_ended(drain, time.time()))
            self._inbox.drains = after
            self._store.save_soon(after)
        self._pass_done.set()
        if needs_region_reports(self._profile, after):
            self._reports_needed.set()
        else:
            self._reports_needed.clear()

    async def flush(self) -> None:
        """Try once more to write what is not on disk yet, before the agent ends."""
        await self._store.flush()

    def is_saving(self) -> bool:
        """Return whether the newest state of the drains is still to be written to disk."""
        return self._store.is_saving()

    def list_problems(self) -> tuple[str, ...]:
        """List what keeps drains from being stored, for the status: one sentence each."""
        return self._store.list_problems()

    def unsaved_drains(self) -> str:
        """Return the drains as JSON for this process's successor; empty if they are on disk."""
        return self._store.dump_unsaved(self._inbox.drains)

    def draining_services(self) -> frozenset[str]:
        """Return the names of the services that a drain covers now."""
        drains = self._inbox.drains.values()
        names = self._profile.services
        return frozenset(name for name in names if any(each.covers(name) for each in drains))

    # Commands of operators ------------------------------------------------------------------------

    async def drain(self, arguments: Arguments) -> Reply:
        """Begin a drain: ``service`` (None: all), ``reason``, ``by``, ``for`` (seconds), ``force``.

        ``stopping``: it is for a stop of the agent, so no other region is asked.

        Returns ``said`` and ``warnings`` (lines for the operator) and ``stop`` (seconds that a stop
        may take); or ``refused``, the reason as text, with its ``code``: unknown, already, last or
        late (``until``, the deadline of the request, passed meanwhile).
        """
        async with self._one_command:
            service, fault = self._find_service(arguments)
            duration = _parse_duration(arguments.get("for"))
            if fault:
                return _refuse("unknown", fault)
            if duration is None:
                text = f"{arguments.get('for')!r} is no time that a drain can last"
                return _refuse("unknown", text)
            stopping = arguments.get("stopping") is True
            table = self._inbox.drains
            key = AGENT_STOP if stopping else service or ALL_SERVICES
            if key in table:
                if stopping:
                    return self._reply([], stop=self._profile.drain.stop)
                return _refuse("already", self._describe_existing(table[key]))
            names = [name for name in self._profile.services if service in (None, name)]
            asks_regions = not (arguments.get("force") is True or stopping)
            fault = await self._find_last_region(names) if asks_regions else ""
            late = is_late(arguments)  # another command, and the regions, took their time
            if fault or late:
                return _refuse("late", _TOO_LATE) if late else _refuse("last", fault)
            drain = self._build_drain(arguments, service, duration, stopping=stopping)
            warnings = (
                [] if stopping else await self._store.save({**self._inbox.drains, key: drain})
            )
            outlook = list(self._describe_outlook(drain, names))
            await self._apply({**self._inbox.drains, key: drain})
            self._record(build_drain_began(drain, time.time()))
            return self._reply(outlook, warnings, stop=self._profile.drain.stop)

    async def undrain(self, arguments: Arguments) -> Reply:
        """End the drain of ``service``; None: the drain of all services.  ``by`` is who ends it.

        Returns ``said`` and ``warnings`` (lines for the operator); or ``refused``, the reason as
        text, with its ``code``: unknown, nothing or late.
        """
        async with self._one_command:
            if is_late(arguments):
                return _refuse("late", _TOO_LATE)
            service = arguments.get("service")
            table = self._inbox.drains
            # A drain that could not be read, and that of a stop, are ended together with its own.
            ended = [drain for drain in table.values() if drain.service == service]
            keys = {drain.key for drain in ended}
            if not ended:
                _, fault = self._find_service(arguments)
                if fault:
                    return _refuse("unknown", fault)
                return _refuse("nothing", self._describe_no_drain(service))
            warnings = await self._store.save(
                {k: drain for k, drain in table.items() if k not in keys}
            )
            # A pass may have changed the table while the file was written.
            rest = {k: drain for k, drain in self._inbox.drains.items() if k not in keys}
            await self._apply(rest)
            ended_by = clean_text(arguments.get("by"))
            for drain in ended:
                self._record(build_drain_ended(drain, time.time(), ended_by))
            return self._reply(list(self._describe_end(ended, rest)), warnings)

    def _find_service(self, arguments: Arguments) -> tuple[str | None, str]:
        """Return the service that is meant (None: all), and what is wrong with it, or empty."""
        service = arguments.get("service")
        if service is None or service in self._profile.services:
            return service, ""
        names = ", ".join(self._profile.services)
        return None, f"there is no service {clean_text(service)}; the profile has: {names}"

    def _build_drain(
        self, arguments: Arguments, service: str | None, duration: float, *, stopping: bool
    ) -> Drain:
        now = self._clock.now()
        times = self._profile.drain
        if stopping:
            duration = 2 * times.stop + STOP_MARGIN
        return Drain(
            reason=clean_text(arguments.get("reason"), "no reason was given"),
            by=clean_text(arguments.get("by")),
            began_at=now,
            wait=times.stop / 2 if stopping else times.wait,
            service=None if stopping else service,
            ends_at=now + duration if duration else None,
            force=arguments.get("force") is True,
            stopping=stopping,
        )

    async def _find_last_region(self, names: Iterable[str]) -> str:
        """Say why these services may not be drained: no other region serves; empty if they may.

        A service that is withdrawn may always be drained: that takes nothing away.
        """
        if not self._profile.regions:
            return ""
        # Earlier than now: reports have to follow the beginning of a drain, and none has begun.
        after = self._clock.now() - 2 * POLL_INTERVAL
        reports = await self._regions.fetch_reports()
        now = self._clock.now()
        for name in names:
            if self._level(name) is Level.WITHDRAWN:
                continue
            service = self._profile.services[name]
            guard = check_other_regions(self._profile, service, reports, after, now)
            if not guard.serves:
                return (
                    f"{name}: no other {self._peer} is known to serve ({guard.detail}); bring "
                    "one back, or drain with --force"
                )
        return ""

    @property
    def _peer(self) -> str:
        return "region" if self._profile.appliance is None else "appliance or region"

    def _level(self, name: str) -> Level | None:
        return None if self._last_pass is None else self._last_pass.decisions[name].level

    # What operators are told ----------------------------------------------------------------------

    def _describe_outlook(self, drain: Drain, names: Iterable[str]) -> Iterator[str]:
        """Say what the drain will do to each service, before it begins."""
        asks_regions = self._profile.regions and not (drain.force or drain.stopping)
        for name in names:
            other = next((d for d in self._inbox.drains.values() if d.covers(name)), None)
            if other is not None:
                yield (
                    f"{name}: the drain of {other.scope} stands already "
                    f"({describe_origin(other)}); both have to be ended"
                )
            elif self._level(name) is Level.WITHDRAWN and asks_regions:
                yield (
                    f"{name}: is withdrawn already, and stays so once another {self._peer} is "
                    "known to serve; until then it may return at standby"
                )
            elif self._level(name) is Level.WITHDRAWN:
                yield f"{name}: is withdrawn already, and stays so"
            elif self._profile.services[name].prepends_steer:
                yield f"{name}: at the longest path now, withdrawn in {drain.wait:g} s"
            else:
                yield (
                    f"{name}: withdrawn now, since prepends do not steer here; the other regions "
                    f"have {drain.wait:g} s to take over"
                )
        if not (self._profile.regions or drain.force):
            yield "no `regions` in the profile: it is not known whether another region serves"

    def _describe_end(self, ended: Iterable[Drain], rest: DrainTable) -> Iterator[str]:
        """Say what becomes of each service for which a drain has ended."""
        for drain in ended:
            yield f"the drain of {drain.scope} has ended ({describe_origin(drain)})"
        for name in self._profile.services:
            if not any(drain.covers(name) for drain in ended):
                continue
            left = next((each for each in rest.values() if each.covers(name)), None)
            if left is None:
                yield f"{name}: comes back as its rules and timers allow"
            else:
                origin = describe_origin(left)
                yield f"{name}: stays drained by the drain of {left.scope} ({origin})"

    def _describe_existing(self, drain: Drain) -> str:
        age = format_duration(self._clock.now() - drain.began_at)
        name = f" {drain.service}" if drain.service else ""
        return (
            f"{drain.scope}: it is drained already, for {age} "
            f"({describe_origin(drain)}); `anycastd undrain{name}` ends it"
        )

    def _describe_no_drain(self, service: object) -> str:
        existing = [each.scope for each in self._inbox.drains.values()]
        scope = "all services" if service is None else clean_text(service)
        if not existing:
            return f"{scope}: there is no drain to end"
        return f"{scope}: there is no such drain to end; there is a drain of {', '.join(existing)}"

    def _reply(self, said: list[str], warnings: Iterable[str] = (), stop: float = 0) -> Reply:
        return {"v": 1, "said": said, "warnings": list(warnings), "stop": stop}

    # The table, the disk, the other regions -------------------------------------------------------

    async def _apply(self, table: DrainTable) -> None:
        """Put the table into the inbox and wait for a pass, so that the status shows its effect."""
        self._inbox.drains = table
        # What is on disk may be older: a pass may have changed the table meanwhile.
        self._store.save_soon(table)
        self._pass_done.clear()
        self._inbox.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PASS_TIMEOUT):
                await self._pass_done.wait()

    async def _retry_read(self) -> None:
        """Put drains that can be read at last in the place of the one that stood for them."""
        found = await self._store.retry_read()
        if found is not None:
            own = {key: each for key, each in self._inbox.drains.items() if key != UNREADABLE}
            await self._apply({**own, **found})

    async def _poll_regions(self) -> None:
        while True:
            await self._reports_needed.wait()
            self._inbox.region_reports = await self._regions.fetch_reports()
            self._inbox.wake()
            await asyncio.sleep(POLL_INTERVAL)


def _parse_duration(value: object) -> float | None:
    """Return the seconds that a drain lasts, 0 for no end; None if the value cannot be meant."""
    if value is None:
        return 0.0
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= MAX_DURATION
    ):
        return None
    return float(value)


_TOO_LATE = "the agent came to the request too late; nothing has changed"


def _refuse(code: str, text: str) -> Reply:
    return {"v": 1, "refused": text, "code": code}
