"""The lease process: ExaBGP's API child, and the socket on which agents renew the lease (I/O).

ExaBGP's API is the standard input and output of a child process.  This process is that child, and
the dead man's switch: it announces the routes that an agent wants for as long as the agent renews
them (the state machine is in ``lease.machine``).

It must keep running when everything else fails, so it is small: standard library only, no asyncio,
no late imports (an upgrade may change the files while it runs), one loop.  It always reads ExaBGP's
output, since ExaBGP's writes block; no write of its own may block the loop.  What must read a
profile runs in a short-lived process of its own (``speaker.rewrite``).
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from anycastd.lease.commands import Answer, Fact, Ping
from anycastd.lease.due import ALWAYS, find_due_at
from anycastd.lease.effects import (
    CloseConnection,
    Effect,
    KillSpeaker,
    Log,
    ReloadConfig,
    SendCommand,
    SendReport,
    WriteConfig,
)
from anycastd.lease.intake import compute_max_message
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import MAX_MESSAGE
from anycastd.lease.reconfigure import RewriteError
from anycastd.lease.settings import LeaseFile, LeaseStartError, Settings
from anycastd.speaker.connections import Connections
from anycastd.speaker.exabgp.api import MAX_LINE, ApiConversation
from anycastd.speaker.exabgp.contract import LOADED_VARIABLE
from anycastd.speaker.pipes import Pipe, select_newest
from anycastd.speaker.rewrite_job import TIMEOUT as REWRITE_TIMEOUT
from anycastd.speaker.rewrite_job import RewriteJob
from anycastd.system.clock import OwnTime
from anycastd.system.exit_codes import EX_UNAVAILABLE
from anycastd.system.garbage import GarbageCollection
from anycastd.system.parent_death import request_parent_death_signal
from anycastd.system.systemd import Notifier

TICK = 0.05
"""Seconds between two ticks of the state machine."""

MAX_READ = 2 * MAX_MESSAGE
"""Bytes to read from one connection before the others are served."""

MAX_FOREIGN_TIME = 0.1
"""Seconds of a turn of the loop after which it serves no more connections that own nothing."""


class LeaseProcess:
    """One lease process: a loop that reads everything pending, then advances time, then writes.

    ``path`` is the lease file's, ``lease_file`` its content; ``clock`` is own time.  Raises
    LeaseStartError where it cannot listen on the lease's socket.
    """

    def __init__(
        self,
        path: str,
        lease_file: LeaseFile,
        settings: Settings,
        exabgp_pid: int,
        notifier: Notifier,
    ) -> None:
        self.clock = OwnTime(TICK)
        self.lease = LeaseMachine(settings, self.clock.now())
        self.lease_id = settings.lease_id
        self.api = ApiConversation(settings.neighbors, settings.local_as, watched=True)
        self.exabgp_pid = exabgp_pid
        self.path = path
        self.lease_file = lease_file
        self.notifier = notifier
        self.is_ready = False
        self.rewrite_job: RewriteJob | None = None
        self.turn = 0
        self.selector = selectors.DefaultSelector()
        self.connections = Connections(
            lease_file.socket, self.selector, _log, self.lease.on_disconnected
        )
        self.stdin = Pipe(0, MAX_LINE)
        self.stdout = Pipe(1, 0)
        for pipe in (self.stdin, self.stdout):
            os.set_blocking(pipe.fd, False)
        self.selector.register(self.stdin.fd, selectors.EVENT_READ)
        # Waits for the selector itself: cheaper, where nothing becomes ready.
        self.poller = select.poll()
        self.poller.register(self.selector.fileno(), select.POLLIN)
        self.garbage = GarbageCollection()

    def run(self) -> None:
        """Serve until ExaBGP closes our standard input.

        Raises SystemExit (0) where ExaBGP has closed our standard output.
        """
        self._carry_out(self.lease.start(self.clock.now()))
        while True:
            for fd, events in self._wait():
                if fd == self.stdin.fd:
                    if not self._read_exabgp():
                        return
                elif fd == self.stdout.fd:
                    self._flush(self.stdout)
                elif fd == self.connections.listener.fileno():
                    self._accept()
                elif self.rewrite_job is not None and fd == self.rewrite_job.fd:
                    if self.rewrite_job.read():
                        self._finish_rewrite(self.rewrite_job)
                else:
                    self._serve(fd, events)
            self._note_shortage()
            # Only now: messages that arrived during a stall of ours must count before time does.
            self.clock.tick()
            if self.rewrite_job is not None and self.clock.now() >= self.rewrite_job.ends_at:
                self._finish_rewrite(self.rewrite_job)
            now = self.clock.now()
            self._carry_out(self.lease.tick(now))
            self.garbage.run_if_due(now)

    def _wait(self) -> Iterable[tuple[int, int]]:
        """Wait until descriptors are ready, and return them; or until the lease has work to do.

        Own time is ticked meanwhile.  Nearly all ticks of an idle process need no more than that.
        """
        is_watched = self.rewrite_job is not None or self.connections.shortage
        due_at = ALWAYS if is_watched else find_due_at(self.lease)
        while not self.poller.poll(1000 * TICK):
            self.clock.tick()
            if self.clock.now() >= due_at:
                return ()
        return self._order(self.selector.select(0))

    def close(self) -> None:
        """Close and remove the socket."""
        self.connections.close()
        with contextlib.suppress(OSError):
            os.unlink(self.lease_file.socket)

    # ExaBGP ---------------------------------------------------------------------------------------

    def _read_exabgp(self) -> bool:
        """Handle what ExaBGP wrote.  Returns False at the end of the stream."""
        lines = self.stdin.read()
        if lines is None:
            return False
        for line in lines.split(b"\n") if lines else ():
            for fact in self.api.receive(line.decode("utf-8", "replace")):
                self._carry_out(self.lease.on_fact(fact, self.clock.now()))
                self._notify_systemd(fact)
        return True

    def _notify_systemd(self, fact: Fact) -> None:
        """Feed the speaker's watchdog, only when ExaBGP answers a ping."""
        if isinstance(fact, Answer) and isinstance(fact.command, Ping):
            if not self.is_ready:
                self.is_ready = True
                self.notifier.send_ready(f"ExaBGP {fact.version}")
            self.notifier.send_watchdog()

    # Agents ---------------------------------------------------------------------------------------

    def _order(self, ready: list[tuple[selectors.SelectorKey, int]]) -> Iterator[tuple[int, int]]:
        """Yield descriptor and events: ExaBGP, the owner, new connections, and then all others.

        The others wait for the next turn where they take too long together; who was served least
        lately is the first then.
        """
        pipes, owner = self.connections.pipes, self.lease.owner_connection
        foreign = []
        for key, events in sorted(ready, key=lambda each: each[0].fd in pipes):
            pipe = pipes.get(key.fd)
            if pipe is None or pipe.number == owner:
                yield key.fd, events
            else:
                foreign.append((pipe.served, key.fd, events))
        ends_at = time.monotonic() + MAX_FOREIGN_TIME
        for _, fd, events in sorted(foreign):
            yield fd, events
            if time.monotonic() >= ends_at:
                return

    def _accept(self) -> None:
        pipe = self.connections.accept(self.lease.owner_connection)
        if pipe is not None:
            self._carry_out(self.lease.on_connected(pipe.number, self.clock.now()))

    def _serve(self, fd: int, events: int) -> None:
        pipe = self.connections.pipes.get(fd)
        if pipe is None:
            return  # closed while an earlier event was handled
        self.turn += 1
        pipe.served = self.turn
        if events & selectors.EVENT_WRITE:
            self._flush(pipe)
        if pipe.fd in self.connections.pipes and events & selectors.EVENT_READ:
            self._read_agent(pipe)

    def _read_agent(self, pipe: Pipe) -> None:
        owns = self.lease.owner.owns(pipe.number, pipe.sender)
        pipe.max_line = compute_max_message(self.lease.settings, owns=owns)
        try:
            lines = pipe.read(MAX_READ if owns else pipe.max_line + 1)
        except MemoryError:
            lines = None
        if lines is None:
            self.connections.disconnect(pipe)
            return
        now = self.clock.now()
        sender = replace(pipe.sender, clock=time.monotonic_ns())
        for line in select_newest(lines) if lines else ():
            self._carry_out(self.lease.on_message(pipe.number, line, now, sender))
        if pipe.is_too_long():
            problem = f"it has more than {pipe.max_line} bytes"
            self._carry_out(self.lease.refuse_message(pipe.number, problem, now))

    def _note_shortage(self) -> None:
        self.connections.tick()
        self.lease.shortage = self.connections.shortage

    # Effects --------------------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        """Carry out effects; all commands to ExaBGP go first, in one write."""
        settings = self.lease.pop_new_settings()
        if not effects and settings is None:
            return  # most turns; what the descriptor did not take is written when it can be
        if settings is not None:
            self.api.reconfigure(settings.neighbors, settings.local_as)
        commands = [effect.command for effect in effects if isinstance(effect, SendCommand)]
        self.stdout.unwritten += self.api.send(*commands).encode()
        self._flush(self.stdout)
        for effect in effects:
            self._carry_out_one(effect)

    def _carry_out_one(self, effect: Effect) -> None:
        match effect:
            case SendReport(report, to):
                for pipe in self._pipes_of(to):
                    pipe.unwritten += report.dump()
                    self._flush(pipe)
            case CloseConnection(number, detail):
                for pipe in self._pipes_of(number):
                    self.connections.log(f"closed a connection of {pipe.sender}: {detail}")
                    self.connections.disconnect(pipe)
            case WriteConfig(reset):
                self._start_rewrite(reset)
            case ReloadConfig():
                self._signal(signal.SIGUSR1)
            case KillSpeaker(detail):
                _log(f"ending ExaBGP (pid {self.exabgp_pid}): {detail}")
                self._signal(signal.SIGKILL)
            case Log(text):
                _log(text)

    def _pipes_of(self, number: int) -> list[Pipe]:
        return [pipe for pipe in self.connections.pipes.values() if pipe.number == number]

    def _signal(self, number: signal.Signals) -> None:
        if os.getppid() == self.exabgp_pid:  # else it has ended, and its pid may be reused
            os.kill(self.exabgp_pid, number)

    def _start_rewrite(self, reset: tuple[str, ...]) -> None:
        now = self.clock.now()
        directory = os.path.dirname(self.path)
        profile = self.lease_file.profile or ""
        try:
            self.rewrite_job = RewriteJob(profile, directory, reset, now + REWRITE_TIMEOUT)
        except RewriteError as error:
            self._carry_out(self.lease.on_write_failed(str(error), now))
        else:
            self.selector.register(self.rewrite_job.fd, selectors.EVENT_READ)

    def _finish_rewrite(self, job: RewriteJob) -> None:
        """Read the files that were written, and tell the state machine."""
        self.rewrite_job = None
        self.selector.unregister(job.fd)
        now = self.clock.now()
        try:
            written = job.finish()
            self.lease_file = _read_lease_file(self.path)
        except (RewriteError, LeaseStartError) as error:
            self._carry_out(self.lease.on_write_failed(str(error), now))
        else:
            settings = Settings.from_file(self.lease_file, self.lease_id, self.lease.loaded_config)
            self._carry_out(self.lease.on_written(written, settings, now))

    def _flush(self, pipe: Pipe) -> None:
        """Write what the descriptor takes, and watch it for the rest."""
        if pipe.unwritten:
            try:
                del pipe.unwritten[: os.write(pipe.fd, pipe.unwritten)]
            except BlockingIOError:
                pass
            except OSError as error:
                if pipe is self.stdout:
                    raise SystemExit(0) from error  # ExaBGP has ended, so this process ends too
                self.connections.disconnect(pipe)
                return
            if len(pipe.unwritten) > MAX_MESSAGE and pipe is not self.stdout:
                self.connections.disconnect(
                    pipe
                )  # an agent that does not read must not cost memory
                return
        self._watch(pipe)

    def _watch(self, pipe: Pipe) -> None:
        events = selectors.EVENT_READ if pipe is not self.stdout else 0
        if pipe.unwritten:
            events |= selectors.EVENT_WRITE
        watched = self.selector.get_map().get(pipe.fd)
        if watched is None:
            if events:
                self.selector.register(pipe.fd, events)
        elif not events:
            self.selector.unregister(pipe.fd)
        elif watched.events != events:
            self.selector.modify(pipe.fd, events)


def _read_lease_file(path: str) -> LeaseFile:
    """Read lease.json.  Raises LeaseStartError, with the path in its text."""
    try:
        with open(path, encoding="utf-8") as file:
            return LeaseFile.load(file.read())
    except LeaseStartError as error:
        raise LeaseStartError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:
        raise LeaseStartError(f"{path}: cannot be used: {error!r}; restart the speaker") from None


def _log(text: str) -> None:
    """Write a line to standard error, or drop it where that would block.

    The descriptor is shared with ExaBGP, so it is polled first instead of made non-blocking.
    """
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"anycastd lease: {text}\n".encode()[: select.PIPE_BUF])


def main(argv: list[str]) -> int:
    """Run the lease process for the lease file ``argv[1]``; raises IndexError without one.

    Returns the exit code: 0 after the end of ExaBGP, 69 where the process cannot start.
    """
    parent = os.getppid()
    # A lease process that is stopped would otherwise outlive its ExaBGP.
    request_parent_death_signal()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # First: it takes systemd's variables out of the environment, so that no child uses them.
    notifier = Notifier()
    lease_id = f"{os.getpid()}-{os.urandom(4).hex()}"
    path = argv[1]
    try:
        lease_file = _read_lease_file(path)
        settings = Settings.from_file(lease_file, lease_id, os.environ.get(LOADED_VARIABLE))
        if lease_file.routes is None:
            _log(f"{path} has no list of routes: only prefix, neighbor and first ASN are checked")
        process = LeaseProcess(path, lease_file, settings, parent, notifier)
    except LeaseStartError as error:
        _log(str(error))
        return EX_UNAVAILABLE
    if os.getppid() != parent:
        return 0  # the parent ended before the parent-death signal was set
    try:
        process.run()
    finally:
        process.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
