"""Ask the servers of one HAProxy when there is reason to doubt -> ReachReports (I/O).

``doubts`` says when, ``addresses`` whom, ``refusals`` what the answers prove.  All times are own
time (`anycastd.system.clock`), in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import NoReturn

from anycastd.evidence.haproxy.query import iter_rules
from anycastd.evidence.haproxy.snapshot import Observation, Snapshot
from anycastd.evidence.haproxy.unix_listeners import listens_somewhere
from anycastd.evidence.servers.addresses import ServerKey, Target, find_checker, iter_askable
from anycastd.evidence.servers.connector import ask_server
from anycastd.evidence.servers.doubts import Doubt, Pace, find_doubts
from anycastd.evidence.servers.refusals import (
    Answer,
    Reached,
    ReachReport,
    note_asked,
    note_look,
)
from anycastd.evidence.servers.settings import build_settings_request, parse_checked_here
from anycastd.evidence.vip.selftest import Outcome, Probe
from anycastd.profile.conditions import BackendRule
from anycastd.profile.model import Instance, Service
from anycastd.system.clock import OwnTime

MAX_AT_ONCE, MAX_ASKED = 32, 128
"""Maximum number of connections at the same time, and of servers that are asked in one round."""
REFUSED_EVERY = 1.0
"""Seconds until a server that refused is asked once more."""
SETTINGS_TIMEOUT, SETTINGS_FOR = 0.25, 1.0
"""Seconds.  HAProxy's answer on where it checks its servers: how long it may take, and counts."""
MAX_SETTINGS = 4 << 20
"""Maximum size of that answer in bytes."""
_BAD = {Outcome.FAILED, Outcome.SLOW}


class ServerAsker:
    """Source of ReachReports about the servers of one HAProxy.

    ``services`` are those of the profile.  ``emit`` is called in the event loop and must not block.
    ``request_look`` asks for a look at HAProxy.  ``is_excused`` tells of a service, by name,
    whether it is in maintenance: nobody needs to know more of it then.
    """

    def __init__(
        self,
        instance: Instance,
        services: Mapping[str, Service],
        *,
        clock: OwnTime,
        emit: Callable[[ReachReport], None],
        request_look: Callable[[], object],
        is_excused: Callable[[str], bool],
    ) -> None:
        self._instance = instance
        self._backends: dict[str, tuple[str, ...]] = {}  # of each service
        self._services: dict[str, list[str]] = {}  # of each backend
        for name, service in services.items():
            self._backends[name] = list_counted_backends(service, instance.name)
            for backend in self._backends[name]:
                self._services.setdefault(backend, []).append(name)
        self._clock = clock
        self._emit = emit
        self._request_look = request_look
        self._is_excused = is_excused
        self._state = Reached()
        self._report = ReachReport()
        self._paces: dict[tuple[str, Doubt], Pace] = {}
        self._due: dict[str, dict[Doubt, float]] = {}
        self._asked_at: dict[ServerKey, float] = {}
        self._asking: set[ServerKey] = set()
        self._settings: dict[str, tuple[float, asyncio.Task[frozenset[ServerKey]]]] = {}
        self._limit = asyncio.Semaphore(MAX_AT_ONCE)
        self._wake = asyncio.Event()

    @property
    def name(self) -> str:
        """Return the name of this source, for logs."""
        return f"servers of haproxy {self._instance.name}"

    def list_problems(self) -> tuple[str, ...]:
        """List the servers that refuse the agent although HAProxy's checks of them pass."""
        return tuple(
            f"haproxy {self._instance.name}: server {backend}/{server} refuses this agent at "
            f"{address}, though HAProxy's check passes: what the agent finds there does not count"
            for (backend, server), address in self._state.disbelieved.items()
        )

    # What raises doubts -------------------------------------------------------------------------

    def note_look(self, seen: Observation) -> None:
        """Take a look at HAProxy: what it shows of refusals, and reasons to doubt."""
        if not isinstance(seen, Snapshot):
            return
        last = self._state.seen
        self._set_state(note_look(self._state, seen))
        for backend in self._services:
            for doubt in find_doubts(last, seen, backend):
                if self._is_wanted(backend):
                    self._note_doubt(backend, doubt)
        if self._state.unverified:
            self._wake.set()

    def note_self_test(self, service: str, probe: Probe) -> None:
        """Take a result of the self-test of ``service``."""
        if probe.outcome in _BAD:
            self._note_service(service, Doubt.SELF_TEST)

    def note_late(self, service: str) -> None:
        """Take that an answer to the self-test of ``service`` is later than usual."""
        self._note_service(service, Doubt.LATE)

    def _note_service(self, service: str, doubt: Doubt) -> None:
        backends = self._backends.get(service, ())
        if backends and not self._is_excused(service):
            for backend in backends:
                self._note_doubt(backend, doubt)

    def _note_doubt(self, backend: str, doubt: Doubt) -> None:
        pace = self._paces.setdefault((backend, doubt), Pace())
        due = pace.note_doubt(self._clock.now())
        self._due.setdefault(backend, {}).setdefault(doubt, due)
        self._wake.set()

    def _is_wanted(self, backend: str) -> bool:
        """Tell whether a service that is in use counts the servers of ``backend``."""
        return not all(map(self._is_excused, self._services[backend]))

    # Asking -------------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Ask when there is a doubt, until cancelled; what is not answered is no error."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for key, target in self._choose_servers():
                    self._asking.add(key)
                    group.create_task(self._ask(key, target))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._compute_wait()):
                        await self._wake.wait()

    def _choose_servers(self) -> list[tuple[ServerKey, Target]]:
        """Choose whom to ask now, those first that were not asked for longest."""
        now, found = self._clock.now(), dict[ServerKey, Target]()
        wanted = set(self._state.unverified)
        wanted |= {
            key
            for key in self._state.refusals
            if now - self._asked_at.get(key, 0.0) >= REFUSED_EVERY
        }
        doubted = self._take_due(now)
        for backend in filter(self._is_wanted, {key[0] for key in wanted} | doubted):
            for key, target in self._iter_askable(backend):
                is_new = backend in doubted and key not in self._state.refusals
                if (is_new or key in wanted) and key not in self._asking:
                    found[key] = target
        chosen = sorted(found, key=lambda key: self._asked_at.get(key, 0.0))[:MAX_ASKED]
        self._asked_at |= dict.fromkeys(chosen, now)
        return [(key, found[key]) for key in chosen]

    def _iter_askable(self, backend: str) -> list[tuple[ServerKey, Target]]:
        if self._state.seen is None:
            return []
        overrides = self._report.refused.get(backend, {})
        return [*iter_askable(self._state.seen, backend, overrides)]

    def _take_due(self, now: float) -> set[str]:
        """Take the backends that are to be asked now because of a doubt."""
        doubted = set()
        for backend, doubts in list(self._due.items()):
            for doubt in [doubt for doubt, due in doubts.items() if due <= now]:
                del doubts[doubt]
                self._paces.setdefault((backend, doubt), Pace()).note_round(now)
                doubted.add(backend)
            if not doubts:
                del self._due[backend]
        return doubted

    def _compute_wait(self) -> float | None:
        """Compute the seconds until somebody has to be asked (None: for no time)."""
        now = self._clock.now()
        due = [at for doubts in self._due.values() for at in doubts.values()]
        due += [self._asked_at.get(key, now) + REFUSED_EVERY for key in self._state.refusals]
        # Own time goes on in ticks.
        return max(min(due) - now, self._clock.interval) if due else None

    async def _ask(self, key: ServerKey, target: Target) -> None:
        try:
            asked = await ask_server(
                target, self._clock, self._limit, lambda: self._is_comparable(key)
            )
        finally:
            self._asking.discard(key)
        known = key in self._state.refusals
        self._set_state(note_asked(self._state, key, asked))
        if asked.answer is Answer.REFUSED and key in self._state.refusals and not known:
            self._request_look()  # what HAProxy finds from now on is compared with that look
        self._wake.set()  # it is asked once more in a while

    def _set_state(self, state: Reached) -> None:
        self._state = state
        report = state.build_report()
        if report != self._report:
            before, self._report = self._report.refused, report
            for backend, doubt in list(self._paces):
                if before.get(backend) != report.refused.get(backend):
                    del self._paces[backend, doubt]  # the doubt was right, or is a new one
            self._emit(report)

    # What makes the agent's connection like HAProxy's -------------------------------------------

    async def _is_comparable(self, key: ServerKey) -> bool:
        """Find out whether HAProxy checks a server where it sends traffic, from this network."""
        seen = self._state.seen
        row = None if seen is None else seen.judged.rows.get(key[0], {}).get(key[1])
        checker = None if seen is None or row is None else find_checker(row, seen)
        if checker is None:
            return False
        read_at, reading = self._settings.get(checker.pxname, (0.0, None))
        now = self._clock.now()
        if reading is None or now - read_at >= SETTINGS_FOR:
            reading = asyncio.ensure_future(self._read_settings(checker.pxname))
            self._settings[checker.pxname] = (now, reading)
        return (checker.pxname, checker.svname) in await asyncio.shield(reading)

    async def _read_settings(self, backend: str) -> frozenset[ServerKey]:
        """Read which servers of ``backend`` are checked where their traffic goes; empty: unknown.

        A HAProxy in another network namespace, such as that of a container, has other addresses
        within its reach: the kernel does not list its sockets here.
        """
        if not listens_somewhere(self._instance.socket):
            return frozenset()
        answer = bytearray()
        loop = asyncio.get_running_loop()
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                async with asyncio.timeout(SETTINGS_TIMEOUT):
                    await loop.sock_connect(sock, self._instance.socket)
                    await loop.sock_sendall(sock, build_settings_request([backend]))
                    while data := await loop.sock_recv(sock, 1 << 16):
                        answer += data
                        if len(answer) > MAX_SETTINGS:
                            return frozenset()
        except (OSError, TimeoutError):
            return frozenset()
        return parse_checked_here(answer.decode(errors="replace"))


def list_counted_backends(service: Service, instance: str) -> tuple[str, ...]:
    """List the backends of ``instance`` whose servers the rules of a service count."""
    conditions = [each for each in (service.serve, service.healthy) if each is not None]
    rules = (rule for condition in conditions for rule in iter_rules(condition))
    return tuple(
        dict.fromkeys(
            rule.backend
            for rule in rules
            if isinstance(rule, BackendRule) and rule.instance == instance
        )
    )
