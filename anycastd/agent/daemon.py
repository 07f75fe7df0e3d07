"""The agent's process: build its parts, start them, stop them in order.

Sources put values into the inbox, the decision loop (``decision_loop``) decides, sinks carry out.
All of them run in one asyncio loop.  A stop ends with a withdrawal (foreground form) or with a last
Want; a reload ends with a last Want for as long as a start may take, and this process executes
the new code (``reload``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anycastd.agent.accepted_file import keep_sealed
from anycastd.agent.control_client import socket_path
from anycastd.agent.control_server import ControlServer, Handler
from anycastd.agent.decision_loop import DecisionLoop, Sinks
from anycastd.agent.drain_controller import DrainController
from anycastd.agent.early_parts import EarlyParts
from anycastd.agent.endings import LostError, ReexecFailedError
from anycastd.agent.event_log import MAX_RECENT, EventLog
from anycastd.agent.event_recorder import EventRecorder
from anycastd.agent.history import History
from anycastd.agent.history_file import HistoryFile
from anycastd.agent.hooks import Hooks
from anycastd.agent.inbox import Inbox
from anycastd.agent.lease_client import ExpectedSpeaker, LeaseClient, describe_leased
from anycastd.agent.memory_store import MemoryStore
from anycastd.agent.peer_access import AccessPolicy
from anycastd.agent.reload import Reloader
from anycastd.agent.sources import build_loopback, build_sources, build_watchers
from anycastd.agent.start_context import AgentPaths, StartContext, describe_failed_exec
from anycastd.agent.supervisor import Supervisor
from anycastd.decision.pipeline import LeaseView
from anycastd.profile.model import Profile
from anycastd.speaker.exabgp.config import config_hash
from anycastd.speaker.permitted_routes import vips_hash
from anycastd.system.clock import OwnTime
from anycastd.system.stop_signals import block_signals, unblock_signals
from anycastd.system.systemd import Notifier
from anycastd.system.threads import NoThreadError, start_threads
from anycastd.system.ticker import tick_forever

if TYPE_CHECKING:
    from anycastd.agent.late_parts import LateParts

log = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between two ticks of the agent's own time."""
WITHDRAW_TIMEOUT = 3.0
"""Seconds that a foreground stop waits for ExaBGP to confirm the withdrawal."""
SPEAKER_TIMEOUT = 5.0
"""Seconds that a foreground stop gives its speaker to end."""
THREADS = 5
"""Threads for what blocks: one for the VIPs, three for what is on disk, and one to spare."""
DECISIONS = "decisions"
"""Name of the part that runs the decision loop."""

Part = Coroutine[Any, Any, None]
"""A part of the agent: it runs as long as the agent does."""


DECISION_TIMEOUT = 0.2
"""Seconds after which operators are answered although the first decision does not come."""


class Daemon:
    """One agent.  Nothing starts before ``run()``, which returns after a stop.

    ``text`` is the text of ``profile``.  ``clock`` is own time.  ``speaker`` is the foreground
    form's own speaker, None where another service runs it.  ``describe_profile`` returns the text
    without its secrets, for recordings.
    """

    def __init__(
        self,
        profile: Profile,
        text: str,
        context: StartContext,
        paths: AgentPaths,
        speaker: Supervisor | None,
        describe_profile: Callable[[], str],
    ) -> None:
        self.profile = profile
        self.text = text
        self.paths = paths
        self.speaker = speaker
        self._ending = asyncio.Event()
        self._stop_requested = self._leaving = False
        self.clock = OwnTime(TICK)
        self.inbox = Inbox()
        self.events = EventLog()
        self.reloader = self._build_reloader(context)
        self.history_file = HistoryFile(paths.state)
        self.events.subscribe(self.history_file.add)
        self.recorder = EventRecorder(profile, self.clock, self.events)
        self.history = History(self.recorder.record_transition)
        self.lease_client = self._build_lease_client()
        self.drains = self._build_drains(context.unsaved_drains)
        self.memory_store = MemoryStore(profile, self.clock, paths.state)
        self.notifier = Notifier()
        sinks = Sinks(
            self.lease_client, self.history, self.drains, self.memory_store, self.recorder
        )
        self.loop = DecisionLoop(
            profile, self.clock, self.inbox, sinks, self.notifier.send_watchdog
        )
        self.hooks = Hooks(profile.hooks, profile.region)
        self.watchers = build_watchers(profile, self.clock, self.inbox)
        self.sources = build_sources(profile, self.clock, self.inbox, self.watchers)
        self.loopback = build_loopback(profile, self.inbox)
        self.early = self._list_early_parts(describe_profile)
        self.late: LateParts | None = None
        self._handlers: dict[str, Handler] = {}
        self.control = ControlServer(
            socket_path(paths.directory),
            self._handlers,
            AccessPolicy(profile.admin_group),
            context.control_fd,
        )

    async def run(self) -> None:
        """Start, work and stop; after a reload (SIGHUP) this does not return.

        Raises ControlError (the control socket), NoPrivilegeError (the VIPs), SpeakerEndedError
        (the foreground form's speaker) or OSError (the directory) where the agent cannot start.
        Raises LostError where it cannot go on.  The control socket is removed and the own speaker
        ended then.  Raises ReexecFailedError where a reload could not execute the new agent: they
        stay then, and so do the routes on the lease.
        """
        await self._start()
        successor = False
        control_fd = None
        try:
            self.loopback.start()
            successor = await self._serve()
        finally:
            control_fd = await self._stop(keep_for_successor=successor)
        if successor:
            # Inside the asyncio loop: after its end, a signal would end the process.
            self._reexec(control_fd)

    # Start ---------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Handle signals, listen on the control socket, load what the last agent saved."""
        Path(self.paths.directory).mkdir(mode=0o750, parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request_stop)
        # On a terminal, SIGHUP means that the terminal was closed.
        is_terminal = sys.stderr.isatty()
        hangup = self._request_stop if is_terminal else self.reloader.reload_by_signal
        loop.add_signal_handler(signal.SIGHUP, hangup)
        unblock_signals()
        try:
            loop.set_default_executor(start_threads(THREADS))
        except NoThreadError as error:
            raise LostError(str(error)) from None
        await self.control.listen()  # who asks already is answered by the late parts
        self.hooks.start(self.events)
        self.recorder.record_start(self.text, self.reloader.context)
        self.drains.load()
        self.loop.memory = self.memory_store.load()

    def _request_stop(self) -> None:
        self._stop_requested = True
        self._ending.set()

    # Work ----------------------------------------------------------------------------------------

    async def _serve(self) -> bool:
        """Run all parts until a stop or a reload; return whether the successor takes over.

        Raises what ended a part, or LostError if a part ended without an error.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    name: group.create_task(self._run_part(part), name=name)
                    for name, part in self._parts().items()
                }
                tasks["late"] = group.create_task(self._start_late(group, tasks))
                self.notifier.send_ready("watching")
                if self.reloader.context.repeat:
                    self.reloader.reload_by_signal()
                try:
                    await self._ending.wait()
                    self._leaving = True
                    tasks[DECISIONS].cancel()  # no pass may send anything after the last Want
                    return await self._leave()
                finally:
                    for task in tasks.values():
                        task.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the first part that ended decides

    async def _start_late(
        self, group: asyncio.TaskGroup, tasks: dict[str, asyncio.Task[None]]
    ) -> None:
        """Start what can wait until the first decision was sent, or does not come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DECISION_TIMEOUT):
                await self.loop.decided.wait()
        # In a thread: a pass that is due meanwhile does not wait for it.
        self.late = late = (await asyncio.to_thread(_load_late_parts))(self.early)
        self._handlers |= late.build_handlers(self.reloader.answer_reload)
        await self.control.start()
        for name, part in late.list_parts().items():
            tasks[name] = group.create_task(self._run_part(part), name=name)
        if sealed := self.reloader.context.accepted:
            self.reloader.context = replace(self.reloader.context, accepted="")
            await asyncio.to_thread(keep_sealed, self.paths.directory, sealed)

    def _parts(self) -> dict[str, Part]:
        """Map a name to each part that runs as long as the agent does."""
        parts: dict[str, Part] = {
            "clock": tick_forever(self.clock),
            "lease": self.lease_client.run(),
            "vips": self.loopback.run(),
            DECISIONS: self.loop.run(),
        }
        parts |= {source.name: source.run() for source in self.sources}
        parts |= {
            "drains": self.drains.run(),
            "history": self.history_file.run(MAX_RECENT, self.recorder.take_history),
            "memory": self.memory_store.run(),
        }
        if self.speaker is not None:
            parts["speaker"] = self.speaker.run()
        return parts

    async def _run_part(self, part: Part) -> None:
        """Run one part; raise LostError if it ends by itself while the agent works."""
        try:
            await part
        except Exception:
            # Once the agent leaves, a part that fails must not keep the last Want from being sent.
            if not self._leaving:
                raise
            log.warning("a part of the agent failed while it was ending", exc_info=True)
        if not self._leaving:
            raise LostError(self.lease_client.lost or "a part of the agent ended by itself")

    def _problems(self) -> list[str]:
        """List what is wrong with the parts, for the status."""
        stores = (self.lease_client, self.drains, self.memory_store, self.history_file)
        found = [problem for part in stores for problem in part.list_problems()]
        found += [problem for source in self.sources for problem in source.list_problems()]
        if self.speaker is not None and self.speaker.problem:
            found.append(self.speaker.problem)
        found += self.reloader.list_problems()
        found += () if self.late is None else self.late.list_problems()
        return [*found, *self.control.list_problems()]

    def _describe_running(self) -> dict[str, Any]:
        """Describe what runs now, for the check of a reload."""
        return {"text": self.text, **describe_leased(self.inbox.lease)}

    def _on_lease(self, view: LeaseView) -> None:
        """Take a new state of the lease: what is acknowledged, and what a pass has to know."""
        if view.report is not None and view.connected:
            self.history.record_acknowledged(view.report.acked, self.clock.now())
        self.inbox.store_lease_view(view)
        self.recorder.follow_lease(view)

    def _on_lease_silent(self) -> None:
        """End the foreground form's speaker: its lease process does not answer any more."""
        if self.speaker is not None:
            log.error("ending the speaker, so that its sessions close")
            self.speaker.kill()

    # Stop ----------------------------------------------------------------------------------------

    async def _leave(self) -> bool:
        """Send the last message to the lease; return whether the successor takes over."""
        if not self._stop_requested and await self._hand_over():
            return True
        if self.speaker is None:
            self.notifier.send_stopping("handing over")
            await self.loop.send_last_want(self.profile.ttl)
        else:
            self.notifier.send_stopping("withdrawing")
            await self._withdraw()
        return False

    async def _hand_over(self) -> bool:
        """Renew the lease for the time of a start; return False if a stop came meanwhile."""
        allowance = 0.0 if (it := self.reloader.successor) is None else it.start_allowance
        self.notifier.send_reloading()
        await self.loop.send_last_want(self.profile.ttl + allowance)
        block_signals()
        await asyncio.sleep(0)  # handle the signals that came before they were blocked
        if self._stop_requested:
            unblock_signals()
            return False
        return True

    async def _withdraw(self) -> None:
        """Withdraw all routes, and wait for the confirmation."""
        if await self.lease_client.withdraw(WITHDRAW_TIMEOUT):
            log.info("withdrawn; ending the speaker")
        else:
            log.warning("the withdrawal was not confirmed; the sessions close with the speaker")

    async def _stop(self, *, keep_for_successor: bool) -> int | None:
        """Save what outlives the agent, close the control socket, end the own speaker.

        A successor keeps the control socket and the speaker; returns the socket's descriptor then.
        """
        self.history.close()
        if not keep_for_successor:
            self.recorder.record_stop(withdraws=self.speaker is not None)
        await self.reloader.stop()
        await asyncio.gather(
            self.drains.flush(),
            self.memory_store.flush(),
            self.history_file.flush(),
            self.hooks.close(),
        )
        if self.late is not None:
            await self.late.close()
        control_fd = None
        if keep_for_successor:
            with contextlib.suppress(OSError):  # without a free descriptor it listens anew
                control_fd = self.control.duplicate_socket()
        await self.control.stop(leave_socket=control_fd is not None)
        if self.speaker is not None and not keep_for_successor:
            await self.speaker.stop(SPEAKER_TIMEOUT)
            # The speaker's lease process dies with ExaBGP and cannot remove its own socket.
            Path(self.paths.lease).unlink(missing_ok=True)
        return control_fd

    def _reexec(self, control_fd: int | None) -> None:
        """Execute the successor in this process; raises ReexecFailedError where that fails."""
        speaker_pid = None if self.speaker is None else self.speaker.pid
        drains = self.drains.unsaved_drains()
        try:
            self.reloader.reexec(speaker_pid, control_fd, drains)
        except OSError as error:
            if self.reloader.successor is not None:
                self.reloader.successor.close()
            context = describe_failed_exec(
                self.reloader.context, error, speaker_pid, control_fd, drains
            )
            raise ReexecFailedError(context) from None

    # Build ---------------------------------------------------------------------------------------

    def _build_reloader(self, context: StartContext) -> Reloader:
        record = self.events.record
        return Reloader(context, self._ending.set, self._describe_running, record)

    def _build_drains(self, inherited: str) -> DrainController:
        state, record = self.paths.state, self.events.record
        return DrainController(self.profile, self.inbox, self.clock, state, record, inherited)

    def _list_early_parts(self, describe_profile: Callable[[], str]) -> EarlyParts:
        return EarlyParts(
            text=self.text,
            describe_profile=describe_profile,
            profile_path=self.reloader.context.profile_path,
            failed_reload=self.reloader.context.failed_reload,
            state=self.paths.state,
            loop=self.loop,
            watchers=self.watchers,
            problems=self._problems,
            events=self.events,
            history_file=self.history_file,
            recorder=self.recorder,
        )

    def _build_lease_client(self) -> LeaseClient:
        profile = self.profile
        # After a reload the speaker reads the profile in any case: a password may have changed.
        force_reload = self.reloader.context.is_successor
        return LeaseClient(
            self.paths.lease,
            profile.ttl,
            self._on_lease,
            clock=self.clock,
            expected=ExpectedSpeaker(
                config_hash(profile), vips_hash(profile), force_reload=force_reload
            ),
            on_silence=self._on_lease_silent,
        )


def _load_late_parts() -> type[LateParts]:
    from anycastd.agent.late_parts import LateParts  # noqa: PLC0415

    return LateParts
