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
import socket
import sys
from dataclasses import dataclass, field

from anycastd.lease.commands import Answer, Fact, Ping
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
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import MAX_MESSAGE
from anycastd.lease.reconfigure import RewriteError
from anycastd.lease.settings import LeaseFile, LeaseStartError, Settings
from anycastd.speaker.exabgp.api import ApiConversation
from anycastd.speaker.exabgp.contract import LOADED_VARIABLE
from anycastd.speaker.rewrite_job import TIMEOUT as REWRITE_TIMEOUT
from anycastd.speaker.rewrite_job import RewriteJob
from anycastd.system.clock import OwnTime
from anycastd.system.exit_codes import EX_UNAVAILABLE
from anycastd.system.parent_death import request_parent_death_signal
from anycastd.system.systemd import Notifier

TICK = 0.05
"""Seconds between two ticks of the state machine."""

MAX_CONNECTIONS = 16
"""Maximum number of connections.  One more closes the oldest that does not own the lease."""

MAX_READ = 2 * MAX_MESSAGE
"""Bytes to read from one connection before the others are served."""


@dataclass(slots=True)
class _Pipe:
    """A non-blocking descriptor: the incomplete line that was read, and what is not yet written.

    ``number`` and ``connection`` are set where it is an agent's connection.
    """

    fd: int
    received: bytearray = field(default_factory=bytearray)
    unwritten: bytearray = field(default_factory=bytearray)
    number: int = 0
    connection: socket.socket | None = None


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
        self.connections: dict[int, _Pipe] = {}  # by descriptor
        self.last_number = 0
        self.selector = selectors.DefaultSelector()
        self.listener = _listen(lease_file.socket)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.stdin = _Pipe(0)
        self.stdout = _Pipe(1)
        for pipe in (self.stdin, self.stdout):
            os.set_blocking(pipe.fd, False)
        self.selector.register(self.stdin.fd, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until ExaBGP closes our standard input.

        Raises SystemExit (0) where ExaBGP has closed our standard output.
        """
        self._carry_out(self.lease.start(self.clock.now()))
        while True:
            for key, events in self.selector.select(TICK):
                if key.fd == self.stdin.fd:
                    if not self._read_exabgp():
                        return
                elif key.fd == self.stdout.fd:
                    self._flush(self.stdout)
                elif key.fileobj is self.listener:
                    self._accept()
                elif self.rewrite_job is not None and key.fd == self.rewrite_job.fd:
                    if self.rewrite_job.read():
                        self._finish_rewrite(self.rewrite_job)
                else:
                    self._serve(key.fd, events)
            # Only now: messages that arrived during a stall of ours must count before time does.
            self.clock.tick()
            if self.rewrite_job is not None and self.clock.now() >= self.rewrite_job.ends_at:
                self._finish_rewrite(self.rewrite_job)
            self._carry_out(self.lease.tick(self.clock.now()))

    def close(self) -> None:
        """Close and remove the socket."""
        self.listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self.lease_file.socket)

    # ExaBGP ---------------------------------------------------------------------------------------

    def _read_exabgp(self) -> bool:
        """Handle what ExaBGP wrote.  Returns False at the end of the stream."""
        lines = _read_lines(self.stdin)
        if lines is None:
            return False
        for line in lines:
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

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            if len(self.connections) >= MAX_CONNECTIONS:
                # Not the newest: an agent that connects again must always get in.
                owner = self.lease.owner_connection
                oldest = next(pipe for pipe in self.connections.values() if pipe.number != owner)
                _log("closed the oldest connection that does not own the lease: too many are open")
                self._disconnect(oldest)
            connection.setblocking(False)
            self.last_number += 1
            pipe = _Pipe(connection.fileno(), number=self.last_number, connection=connection)
            self.connections[pipe.fd] = pipe
            self.selector.register(pipe.fd, selectors.EVENT_READ)
            self._carry_out(self.lease.on_connected(pipe.number, self.clock.now()))

    def _serve(self, fd: int, events: int) -> None:
        pipe = self.connections.get(fd)
        if pipe is None:
            return  # closed while an earlier event was handled
        if events & selectors.EVENT_WRITE:
            self._flush(pipe)
        if pipe.fd in self.connections and events & selectors.EVENT_READ:
            lines = _read_lines(pipe, MAX_READ)
            if lines is None or len(pipe.received) > MAX_MESSAGE:
                self._disconnect(pipe)
                return
            for line in _select_newest(lines):
                self._carry_out(self.lease.on_message(pipe.number, line, self.clock.now()))

    def _disconnect(self, pipe: _Pipe) -> None:
        if self.connections.pop(pipe.fd, None) is None:
            return
        self.selector.unregister(pipe.fd)
        self.lease.on_disconnected(pipe.number)
        if pipe.connection is not None:
            pipe.connection.close()

    # Effects --------------------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        """Carry out effects; all commands to ExaBGP go first, in one write."""
        settings = self.lease.pop_new_settings()
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
                _log(f"closed a connection: {detail}")
                for pipe in self._pipes_of(number):
                    self._disconnect(pipe)
            case WriteConfig(reset):
                self._start_rewrite(reset)
            case ReloadConfig():
                self._signal(signal.SIGUSR1)
            case KillSpeaker(detail):
                _log(f"ending ExaBGP (pid {self.exabgp_pid}): {detail}")
                self._signal(signal.SIGKILL)
            case Log(text):
                _log(text)

    def _pipes_of(self, number: int) -> list[_Pipe]:
        return [pipe for pipe in self.connections.values() if pipe.number == number]

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

    def _flush(self, pipe: _Pipe) -> None:
        """Write what the descriptor takes, and watch it for the rest."""
        if pipe.unwritten:
            try:
                del pipe.unwritten[: os.write(pipe.fd, pipe.unwritten)]
            except BlockingIOError:
                pass
            except OSError as error:
                if pipe is self.stdout:
                    raise SystemExit(0) from error  # ExaBGP has ended, so this process ends too
                self._disconnect(pipe)
                return
            if len(pipe.unwritten) > MAX_MESSAGE and pipe is not self.stdout:
                self._disconnect(pipe)  # an agent that does not read must not cost memory
                return
        self._watch(pipe)

    def _watch(self, pipe: _Pipe) -> None:
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


def _read_lines(pipe: _Pipe, limit: int = 1) -> list[bytes] | None:
    """Read about ``limit`` bytes, or what is available, and return the complete lines.

    Returns None at the end of the stream, after the lines before it were returned.
    """
    count = 0
    while count < limit:
        try:
            data = os.read(pipe.fd, 1 << 20)
        except BlockingIOError:
            break
        except OSError:
            data = b""
        if not data:
            if not count:
                return None
            break  # the next call finds the end again
        count += len(data)
        pipe.received += data
    *lines, rest = bytes(pipe.received).split(b"\n")
    pipe.received[:] = rest
    return lines


def _select_newest(lines: list[bytes]) -> list[bytes]:
    """Select the lines that matter: the newest state and the newest verb.

    States that arrived during a stall of ours must not be sent to ExaBGP one after the other.
    """
    verbs = [line for line in lines if b'"reload"' in line]
    states = [line for line in lines if b'"reload"' not in line]
    return [*states[-1:], *verbs[-1:]]


def _listen(path: str) -> socket.socket:
    """Listen on the socket, in place of an old one: the lock keeps a second speaker out."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o660)  # noqa: S103 - the agent is in the speaker's group
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise LeaseStartError(f"{path}: cannot listen there: {error.strerror}") from None
    return listener


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
