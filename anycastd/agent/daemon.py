"""The agent: build, start, loop, stop.

Two shapes only.  A source puts a value into the inbox and wakes the loop; a sink takes the newest
wish.  The loop waits for news or for ``wake_at``, runs one pass, and hands its outcome to the
sinks.  The lease is renewed by the output of a pass and by nothing else; a look at HAProxy wakes
one at least each quarter of the lease.

A reload ends the loop as well: a last pass, a last Want for as long as a start may take, and this
process executes itself anew (``handover``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from anycastd import __version__
from anycastd.agent import reload
from anycastd.agent.answers import Answers
from anycastd.agent.control_client import socket_path
from anycastd.agent.control_server import ControlServer
from anycastd.agent.drain_controller import DrainController
from anycastd.agent.history import History, describe_transition
from anycastd.agent.http_server import HttpServer, Page
from anycastd.agent.inbox import Inbox
from anycastd.agent.lease_client import ExpectedSpeaker, LeaseClient
from anycastd.agent.memory_store import MemoryStore
from anycastd.agent.reload import Reloader, ReloadRefusedError, StartContext
from anycastd.agent.supervisor import Supervisor
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import LeaseView, PassResult, advance, restart_at_withdrawn
from anycastd.decision.region_report import REPORT_MAX_AGE, REPORT_PATH, build_region_report
from anycastd.evidence.haproxy.query import more, named
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.evidence.vip.loopback import Loopback
from anycastd.evidence.vip.prober import Prober
from anycastd.profile.model import Profile, SelfTest, Service
from anycastd.speaker.exabgp.config import config_hash, vips_hash
from anycastd.system.clock import OwnTime
from anycastd.system.systemd import Notifier
from anycastd.system.ticker import tick_forever
from anycastd.views.status import build_status

log = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between two ticks of the agent's own time."""
WITHDRAW_TIMEOUT = 3.0
"""Seconds that a foreground stop waits for ExaBGP to confirm the withdrawal."""
SPEAKER_TIMEOUT = 5.0
"""Seconds that a foreground stop gives its speaker to end."""
HAND_OVER_TIMEOUT = 1.0
"""Seconds that a reload waits for the lease to confirm the last Want."""
STARTS = 4.0
"""The lease outlives a reload by as many times as long as judging the new profile took."""


class LostError(Exception):
    """Another agent took the lease over, or our own part ended: says which."""


class Daemon:
    """One agent.  Inert when built; ``run()`` does it all and returns when told to stop.

    ``speaker`` is the foreground form's own speaker, None where the lease is somebody else's.
    ``text`` is the profile's, ``origin`` is how this process was started, ``state`` the directory
    of what outlives it.
    """

    def __init__(
        self,
        profile: Profile,
        lease: str,
        directory: str,
        speaker: Supervisor | None = None,
        *,
        text: str,
        origin: StartContext,
        state: str,
    ) -> None:
        self.profile = profile
        self.text = text
        self.speaker = speaker
        self.succession = Reloader(origin)
        self.instance = os.urandom(8).hex()
        self.clock = OwnTime(TICK)
        self.inbox = Inbox()
        self.memory: dict[str, Memory] = {}
        self.step: PassResult | None = None
        self.journal = History(lambda change: log.warning("%s", describe_transition(change)))
        self.announcer = LeaseClient(
            lease,
            profile.ttl,
            self._leased,
            clock=self.clock,
            # After a reload the speaker reads the profile in any case: a password may be another.
            terms=ExpectedSpeaker(
                config_hash(profile), vips_hash(profile), ask=origin.text is not None
            ),
            silent=self._lease_is_silent,
        )
        self.watchers = {name: self._watcher(name) for name in profile.haproxy}
        self.probers = [
            self._prober(each, each.self_test)
            for each in profile.services.values()
            if each.self_test is not None
        ]
        self.loopback = Loopback(
            [(service.vip, service.interface) for service in profile.services.values()],
            self.inbox.vip,
        )
        desk = Answers(profile, self.inbox.inputs, self.inbox.said_return, self.clock, self.journal)
        self.drainer = DrainController(profile, self.inbox, self.clock, state, origin.drains)
        self.recall = MemoryStore(profile, self.clock, state)
        pages = {
            "/status": Page(self.status, 1.0),
            REPORT_PATH: Page(
                lambda: build_region_report(self.status(), self.drainer.draining_services()),
                REPORT_MAX_AGE,
            ),
        }
        self.web = HttpServer(profile.web, pages)
        self.control = ControlServer(
            socket_path(directory),
            {
                "status": self.status,
                "running": self.running,
                "reload": self._reload,
                "explain": lambda: desk.explain(self.memory),
            },
            origin.control,
            {
                "return": lambda arguments: desk.come_back(arguments, self.step),
                "drain": self.drainer.drain,
                "undrain": self.drainer.undrain,
            },
        )
        self.notifier = Notifier()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; a reload (SIGHUP) does not return.

        Raises ControlError, NoPrivilegeError or SpeakerEndedError where it cannot start, and
        LostError when another agent took over; nothing is left behind then.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # On a terminal it means that the terminal has gone.
        hangup = self._stop.set if sys.stderr.isatty() else self.succession.signal
        loop.add_signal_handler(signal.SIGHUP, hangup)
        reload.unblock_signals()
        await self.control.start()
        self.drainer.load()
        self.memory = self.recall.load()
        successor = False
        try:
            self.loopback.start()
            successor = await self._serve()
        finally:
            self.journal.close()
            await self.succession.stop()
            await asyncio.gather(self.drainer.flush(), self.recall.flush())
            control = self.control.bequeath() if successor else None
            await self.control.stop(leave_socket=successor)
            if self.speaker is not None and not successor:
                await self.speaker.stop(SPEAKER_TIMEOUT)
                # Its lease process dies with ExaBGP and cannot tidy up itself.
                Path(self.announcer.path).unlink(missing_ok=True)
        if successor:
            # Inside the loop: once it is closed, a signal would end us.
            try:
                speaker = self.speaker.pid if self.speaker is not None else None
                self.succession.become(speaker, control, self.drainer.unsaved_drains())
            except OSError as error:
                raise LostError(f"cannot execute itself anew: {error.strerror}") from None

    def status(self) -> dict[str, Any]:
        """Answer `anycastd status`."""
        inputs, now = self.inbox.inputs(), self.clock.now()
        step = self.step or advance(self.profile, self.memory, inputs, now)
        polling = {
            name: watcher.polling for name, watcher in self.watchers.items() if watcher.polling
        }
        view = build_status(
            self.profile, inputs, step, now, pid=os.getpid(), version=__version__, polling=polling
        )
        told = (self.announcer, self.drainer, self.recall, self.web)
        problems = [problem for part in told for problem in part.problems()]
        return replace(view, problems=(*view.problems, *problems)).to_json()

    def running(self) -> dict[str, Any]:
        """Answer `anycastd reload`: what runs, as far as a new profile may change it."""
        report = self.inbox.lease.report
        levels = {} if self.step is None else self.step.decisions
        return {
            "v": 1,
            "version": __version__,
            "pid": os.getpid(),
            "instance": self.instance,
            "profile": self.succession.origin.profile,
            "text": self.text,
            "ready": self.step is not None and self.step.wanted is not None,
            "levels": {name: decision.level.word for name, decision in levels.items()},
            "held": [asdict(route) for route in self.inbox.lease.held or ()],
            "sessions": {
                address: peer.session.value
                for address, peer in ({} if report is None else report.neighbors).items()
            },
            "speaker": "" if report is None else report.reload,
            "draining": sorted(self.drainer.draining_services()),
            "problems": self.announcer.problems(),
        }

    async def _reload(self) -> dict[str, Any]:
        try:
            heir = await self.succession.ask()
        except ReloadRefusedError as refusal:
            return {"v": 1, "refused": str(refusal).splitlines()}
        return {"v": 1, "accepted": True, "said": heir.said}

    def _lease_is_silent(self) -> None:
        if self.speaker is not None:
            log.error("ending the speaker, so that its sessions close")
            self.speaker.kill()

    async def _serve(self) -> bool:
        """Work until told to stop; True: the successor is to take over."""
        parts: list[Coroutine[Any, Any, None]] = [
            tick_forever(self.clock),
            self.announcer.run(),
            self.loopback.run(),
            self._decide(),
            *(watcher.run() for watcher in self.watchers.values()),
            *(prober.run() for prober in self.probers),
            self.drainer.run(),
            self.recall.run(),
            self.web.run(),
        ]
        if self.speaker is not None:
            parts.append(self.speaker.run())
        tasks = [asyncio.create_task(part) for part in parts]
        ends = [asyncio.create_task(event.wait()) for event in (self._stop, self.succession.agreed)]
        self.notifier.ready("watching")
        if self.succession.origin.again:
            self.succession.signal()
        try:
            await asyncio.wait([*ends, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
                    raise LostError(self.announcer.lost or "a part of the agent ended by itself")
            tasks[3].cancel()  # no pass may say anything after the last word
            if not self._stop.is_set() and await self._hand_over():
                return True
            self.notifier.stopping("handing over" if self.speaker is None else "withdrawing")
            if self.speaker is not None:
                await self._withdraw()
            else:
                await self._leave(self.profile.ttl)
            return False
        finally:
            everything: list[asyncio.Task[Any]] = [*ends, *tasks]
            for one in everything:
                one.cancel()
            await asyncio.gather(*everything, return_exceptions=True)

    async def _hand_over(self) -> bool:
        """Hold the lease for as long as the successor may need; False: told to stop meanwhile."""
        heir = self.succession.heir
        self.notifier.reloading()
        await self._leave(self.profile.ttl + STARTS * (heir.took if heir is not None else 0.0))
        reload.block_signals()
        await asyncio.sleep(0)  # what came before they were held is heard here
        if not self._stop.is_set():
            return True
        reload.unblock_signals()
        return False

    async def _leave(self, ttl: float) -> None:
        """Renew the lease for the last time, by one more pass."""
        step = self._advance()
        self._say(step, ttl, leaving=True)
        if step.wanted is None:
            return  # nothing has been decided yet, so nothing is said
        if self.inbox.lease.connected and not await self.announcer.confirmed(HAND_OVER_TIMEOUT):
            log.warning("the lease did not confirm the last word: routes may be withdrawn")

    async def _withdraw(self) -> None:
        """Withdraw everything."""
        if await self.announcer.withdraw(WITHDRAW_TIMEOUT):
            log.info("withdrawn; ending the speaker")
        else:
            log.warning("the withdrawal was not confirmed; the sessions close with the speaker")

    async def _decide(self) -> None:
        while True:
            now = self.clock.now()
            step = self._advance()
            self._say(step)
            if step.wanted is not None:
                self.notifier.alive()
            await self.inbox.news(None if step.wake_at is None else max(0.0, step.wake_at - now))

    def _advance(self) -> PassResult:
        """Run one pass."""
        now = self.clock.now()
        if self.announcer.ran_out:
            self.announcer.ran_out = False
            self._begin_anew(now)
        self.step = step = advance(self.profile, self.memory, self.inbox.inputs(), now)
        self.memory = dict(step.memory)
        self.drainer.apply_pass_result(step)
        self.recall.save_if_changed(step, self.memory, now)
        return step

    def _leased(self, view: LeaseView) -> None:
        """Take what the lease says."""
        if view.report is not None and view.connected:
            self.journal.record_acknowledged(view.report.acked, self.clock.now())
        self.inbox.leased(view)

    def _say(self, step: PassResult, ttl: float | None = None, *, leaving: bool = False) -> None:
        """Say what a pass wants, and note with which message its changes go."""
        serial = None
        if step.wanted is not None:
            serial = self.announcer.want(step.wanted, ttl, leaving=leaving)
        self.journal.record_decided(step.transitions, serial, self.clock.now())

    def _begin_anew(self, now: float) -> None:
        """Come back step by step: nothing is held any more of what is thought to be announced."""
        announced = restart_at_withdrawn(self.memory, now)
        if announced:
            log.warning("the lease holds nothing any more: %s begin anew", ", ".join(announced))
            self.memory |= announced

    def _watcher(self, name: str) -> Watcher:
        instance = self.profile.haproxy[name]
        backends: set[str] = set()
        frontends: set[str] = set()
        for service in self.profile.services.values():
            its_backends, its_frontends = named(service, name)
            backends |= its_backends
            frontends |= its_frontends
        return Watcher(
            instance,
            backends,
            frontends,
            clock=self.clock,
            emit=lambda observation: self.inbox.look(name, observation),
            interval=min(instance.deadline / 3, self.profile.ttl / 4),
            more=more(self.profile.services, name),
        )

    def _prober(self, service: Service, test: SelfTest) -> Prober:
        return Prober(
            service.vip,
            test,
            clock=self.clock,
            emit=lambda probe: self.inbox.probe(service.name, probe),
        )


async def run(
    profile: Profile,
    lease: str,
    directory: str,
    speaker: Supervisor | None,
    *,
    text: str,
    origin: StartContext,
    state: str,
) -> None:
    """Make ``directory`` and run an agent in it; see Daemon.run for what it raises."""
    Path(directory).mkdir(mode=0o750, parents=True, exist_ok=True)
    await Daemon(profile, lease, directory, speaker, text=text, origin=origin, state=state).run()
