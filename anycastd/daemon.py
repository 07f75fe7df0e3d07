"""The agent: build, start, loop, stop.

Two shapes only.  A source puts a value into the inbox and wakes the loop; a sink takes the newest
wish.  The loop waits for news or for ``wake_at``, runs one pass, and hands its outcome to the
sinks.  The lease is renewed by the output of a pass and by nothing else; a look at HAProxy wakes
one at least each quarter of the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from anycastd import __version__
from anycastd.announcer import Announcer
from anycastd.clock import OwnTime
from anycastd.control import Control, socket_path
from anycastd.haproxy import Observation
from anycastd.health import named
from anycastd.loopback import Address, Loopback
from anycastd.pipeline import Inputs, LeaseView, Step, VipState, advance
from anycastd.policy import Memory, Transition
from anycastd.profile import Network, Profile
from anycastd.status import build
from anycastd.supervise import SpeakerEndedError, Supervisor
from anycastd.systemd import Notifier
from anycastd.watcher import Watcher

log = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between two ticks of the agent's own time."""
WITHDRAW_WITHIN = 3.0
"""Seconds that a foreground stop waits for ExaBGP to confirm the withdrawal."""
SPEAKER_WITHIN = 5.0
"""Seconds that a foreground stop gives its speaker to end."""


class LostError(Exception):
    """Another agent took the lease over, or our own part ended: says which."""


class Inbox:
    """The newest value of every source, and whether there is news since the last pass."""

    def __init__(self) -> None:
        self.haproxy: dict[str, Observation] = {}
        self.vips: dict[str, VipState] = {}
        self.lease = LeaseView()
        self._news = asyncio.Event()

    def look(self, instance: str, observation: Observation) -> None:
        """Take a look at HAProxy."""
        self.haproxy[instance] = observation
        self._news.set()

    def vip(self, vip: Network, address: Address) -> None:
        """Take the state of a VIP on its interface."""
        self.vips[str(vip)] = VipState(address.usable, address.why)
        self._news.set()

    def leased(self, view: LeaseView) -> None:
        """Take the state of the lease; only what a decision depends on is news.

        Each pass sends a Want and each Want is answered by a report: were that news, the two
        would chase each other for ever.
        """
        before, self.lease = self.lease, view
        if _matters(before) != _matters(view):
            self._news.set()

    async def news(self, within: float | None) -> None:
        """Wait for news, at most ``within`` seconds (None: for ever)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._news.wait()
        self._news.clear()

    def inputs(self) -> Inputs:
        """Give a copy for one pass."""
        return Inputs(dict(self.haproxy), dict(self.vips), self.lease)


class Daemon:
    """One agent.  Inert when built; ``run()`` does it all and returns when told to stop.

    ``speaker`` is the foreground form's own speaker, None where the lease is somebody else's.
    """

    def __init__(
        self, profile: Profile, lease: str, directory: str, speaker: Supervisor | None = None
    ) -> None:
        self.profile = profile
        self.speaker = speaker
        self.clock = OwnTime(TICK)
        self.inbox = Inbox()
        self.memory: dict[str, Memory] = {}
        self.step: Step | None = None
        self.announcer = Announcer(lease, profile.ttl, self.inbox.leased)
        self.watchers = {name: self._watcher(name) for name in profile.haproxy}
        self.loopback = Loopback(
            [(service.vip, service.interface) for service in profile.services.values()],
            self.inbox.vip,
        )
        self.control = Control(socket_path(directory), {"status": self.status})
        self.notifier = Notifier()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises ControlError, NoPrivilegeError or SpeakerEndedError where it cannot start, and
        LostError when another agent took over; nothing is left behind then.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self.control.start()
        try:
            self.loopback.start()
            await self._serve()
        finally:
            await self.control.stop()
            if self.speaker is not None:
                await self.speaker.stop(SPEAKER_WITHIN)
                # Its lease process dies with ExaBGP and cannot tidy up itself.
                Path(self.announcer.path).unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        """Answer `anycastd status`."""
        inputs, now = self.inbox.inputs(), self.clock.now()
        step = self.step or advance(self.profile, self.memory, inputs, now)
        polling = {
            name: watcher.polling for name, watcher in self.watchers.items() if watcher.polling
        }
        view = build(
            self.profile, inputs, step, now, pid=os.getpid(), version=__version__, polling=polling
        )
        return view.to_json()

    async def _serve(self) -> None:
        parts: list[Coroutine[Any, Any, None]] = [
            self._tick(),
            self.announcer.run(),
            self.loopback.run(),
            self._decide(),
            *(watcher.run() for watcher in self.watchers.values()),
        ]
        if self.speaker is not None:
            parts.append(self.speaker.run())
        tasks = [asyncio.create_task(part) for part in parts]
        stop = asyncio.create_task(self._stop.wait())
        self.notifier.ready("watching")
        try:
            await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
                    raise LostError(self.announcer.lost or "a part of the agent ended by itself")
            self.notifier.stopping("handing over" if self.speaker is None else "withdrawing")
            if self.speaker is not None:
                await self._withdraw(tasks[3])
        finally:
            stop.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)

    async def _withdraw(self, deciding: asyncio.Task[None]) -> None:
        """Withdraw everything; no pass may want it back meanwhile."""
        deciding.cancel()
        if await self.announcer.withdraw(WITHDRAW_WITHIN):
            log.info("withdrawn; ending the speaker")
        else:
            log.warning("the withdrawal was not confirmed; the sessions close with the speaker")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.clock.tick()

    async def _decide(self) -> None:
        while True:
            now = self.clock.now()
            self.step = step = advance(self.profile, self.memory, self.inbox.inputs(), now)
            self.memory = dict(step.memory)
            if step.wanted is not None:
                self.announcer.want(step.wanted)
                self.notifier.alive()
            for transition in step.transitions:
                _tell(transition)
            await self.inbox.news(None if step.wake_at is None else max(0.0, step.wake_at - now))

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
        )


async def run(profile: Profile, lease: str, directory: str, speaker: Supervisor | None) -> None:
    """Make ``directory`` and run an agent in it; see Daemon.run for what it raises."""
    Path(directory).mkdir(mode=0o750, parents=True, exist_ok=True)
    await Daemon(profile, lease, directory, speaker).run()


def _matters(view: LeaseView) -> tuple[object, ...]:
    report = view.report
    sessions = (
        ()
        if report is None
        else tuple((address, peer.session) for address, peer in report.neighbors.items())
    )
    instance = "" if report is None else report.instance
    return (view.connected, view.held is None, instance, sessions)


def _tell(transition: Transition) -> None:
    detail = f" ({transition.detail})" if transition.detail else ""
    log.warning(
        "%s: %s -> %s: %s%s; %.1f ms after the evidence was asked for",
        transition.service,
        transition.old.word,
        transition.new.word,
        transition.reason.sentence,
        detail,
        1000 * (transition.decided_at - transition.evidence_at),
    )


__all__ = ["Daemon", "LostError", "SpeakerEndedError", "run"]
