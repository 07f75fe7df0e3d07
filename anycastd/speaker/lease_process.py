"""The lease process: ExaBGP's API child, and the socket on which the agent renews its lease.

ExaBGP's API is its child's standard input and output, so something has to be that child.  This is
that process, and the dead-man's switch: it keeps the routes that an agent wants for as long as
the agent keeps saying so, and not longer (the machine is in ``tenure``).

It is kept small, since it must outlive everything else: standard library only, no asyncio, no
lazy imports (an upgrade may change the files below it), one loop.  ExaBGP's output is always
drained, since ExaBGP's writes block; nothing that is written may block this loop.  What needs a
profile to be read is a short-lived process of its own (``rewrite``).
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
from anycastd.lease.settings import LeaseFile, LeaseStartError, Settings, load_lease_file
from anycastd.speaker.exabgp.api import ApiConversation
from anycastd.speaker.exabgp.contract import LOADED_VARIABLE
from anycastd.speaker.rewrite_job import TIMEOUT, RewriteError, RewriteJob
from anycastd.system.clock import OwnTime
from anycastd.system.exit_codes import EX_UNAVAILABLE
from anycastd.system.parent_death import request_parent_death_signal
from anycastd.system.systemd import Notifier

TICK = 0.05
"""Seconds between two looks at the time."""

MAX_CONNECTIONS = 16
"""Agents and onlookers at once; one more, and the oldest onlooker has to go."""

MAX_READ = 2 * MAX_MESSAGE
"""Bytes that are read of one connection before the others have their turn."""


@dataclass(slots=True)
class _Pipe:
    """A non-blocking way in or out: what was read and is no whole line yet, what is unwritten."""

    fd: int
    read: bytearray = field(default_factory=bytearray)
    unwritten: bytearray = field(default_factory=bytearray)
    number: int = 0
    connection: socket.socket | None = None


class LeaseProcess:
    """The loop: read everything pending, then let time pass, then write."""

    def __init__(
        self, settings: Settings, lodging: LeaseFile, exabgp_pid: int, notifier: Notifier
    ) -> None:
        self.clock = OwnTime(TICK)
        self.lease = LeaseMachine(settings, self.clock.now())
        self.settings = settings
        self.dialogue = ApiConversation(settings.neighbors, settings.local_as, watched=True)
        self.exabgp_pid = exabgp_pid
        self.lodging = lodging
        self.notifier = notifier
        self.answered = False
        self.scribe: RewriteJob | None = None
        self.pipes: dict[int, _Pipe] = {}
        self.numbers = 0
        self.selector = selectors.DefaultSelector()
        self.listener = _listen(lodging.socket)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.hear = _Pipe(0)
        self.say = _Pipe(1)
        for pipe in (self.hear, self.say):
            os.set_blocking(pipe.fd, False)
        self.selector.register(self.hear.fd, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until ExaBGP closes our standard input."""
        self._do(self.lease.start(self.clock.now()))
        while True:
            for key, events in self.selector.select(TICK):
                if key.fd == self.hear.fd:
                    if not self._hear():
                        return
                elif key.fd == self.say.fd:
                    self._flush(self.say)
                elif key.fileobj is self.listener:
                    self._accept()
                elif self.scribe is not None and key.fd == self.scribe.fd:
                    if self.scribe.read():
                        self._written(self.scribe)
                else:
                    self._serve(key.fd, events)
            # Only now: what had arrived during a stall of ours must count before time does.
            self.clock.tick()
            if self.scribe is not None and self.clock.now() >= self.scribe.ends:
                self._written(self.scribe)
            self._do(self.lease.tick(self.clock.now()))

    def close(self) -> None:
        """Let go of the socket."""
        self.listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self.lodging.socket)

    # ExaBGP ---------------------------------------------------------------------------------------

    def _hear(self) -> bool:
        lines = _lines(self.hear)
        if lines is None:
            return False
        for line in lines:
            for fact in self.dialogue.hear(line.decode("utf-8", "replace")):
                self._do(self.lease.heard(fact, self.clock.now()))
                self._tell_systemd(fact)
        return True

    def _tell_systemd(self, fact: Fact) -> None:
        """Feed the speaker's watchdog by ExaBGP's own answers, and by nothing else."""
        if isinstance(fact, Answer) and isinstance(fact.command, Ping):
            if not self.answered:
                self.answered = True
                self.notifier.ready(f"ExaBGP {fact.version}")
            self.notifier.alive()

    # Agents ---------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            if len(self.pipes) >= MAX_CONNECTIONS:
                # Not the newest: an agent that comes back must get in, whoever looks on.
                holder = self.lease.holder.connection
                oldest = next(pipe for pipe in self.pipes.values() if pipe.number != holder)
                _log("closed the oldest connection of those that hold nothing: too many are open")
                self._hang(oldest)
            connection.setblocking(False)
            self.numbers += 1
            pipe = _Pipe(connection.fileno(), number=self.numbers, connection=connection)
            self.pipes[pipe.fd] = pipe
            self.selector.register(pipe.fd, selectors.EVENT_READ)
            self._do(self.lease.connected(pipe.number, self.clock.now()))

    def _serve(self, fd: int, events: int) -> None:
        pipe = self.pipes.get(fd)
        if pipe is None:
            return  # closed by what was handled just before
        if events & selectors.EVENT_WRITE:
            self._flush(pipe)
        if pipe.fd in self.pipes and events & selectors.EVENT_READ:
            lines = _lines(pipe, MAX_READ)
            if lines is None or len(pipe.read) > MAX_MESSAGE:
                self._hang(pipe)
                return
            for line in _newest(lines):
                self._do(self.lease.message(pipe.number, line, self.clock.now()))

    def _hang(self, pipe: _Pipe) -> None:
        if self.pipes.pop(pipe.fd, None) is None:
            return
        self.selector.unregister(pipe.fd)
        self.lease.disconnected(pipe.number)
        if pipe.connection is not None:
            pipe.connection.close()

    # Effects --------------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        """Carry effects out; all that is for ExaBGP goes first, in one write."""
        if self.settings is not self.lease.settings:
            self.settings = self.lease.settings
            self.dialogue.settle(self.settings.neighbors, self.settings.local_as)
        said = [effect.command for effect in effects if isinstance(effect, SendCommand)]
        self.say.unwritten += self.dialogue.say(*said).encode()
        self._flush(self.say)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendReport(report, to):
                for pipe in [pipe for pipe in self.pipes.values() if pipe.number == to]:
                    pipe.unwritten += report.dump()
                    self._flush(pipe)
            case CloseConnection(number, why):
                _log(f"closed a connection: {why}")
                for pipe in [pipe for pipe in self.pipes.values() if pipe.number == number]:
                    self._hang(pipe)
            case WriteConfig(reset):
                self._rewrite(reset)
            case ReloadConfig():
                self._signal(signal.SIGUSR1)
            case KillSpeaker(why):
                _log(f"ending ExaBGP (pid {self.exabgp_pid}): {why}")
                self._signal(signal.SIGKILL)
            case Log(text):
                _log(text)

    def _signal(self, number: signal.Signals) -> None:
        if os.getppid() == self.exabgp_pid:  # else it is gone, and its pid may be anybody's
            os.kill(self.exabgp_pid, number)

    def _rewrite(self, reset: tuple[str, ...]) -> None:
        now = self.clock.now()
        where = os.path.dirname(self.lodging.file)
        try:
            self.scribe = RewriteJob(self.lodging.profile, where, reset, now + TIMEOUT)
        except RewriteError as error:
            self._do(self.lease.not_written(str(error), now))
        else:
            self.selector.register(self.scribe.fd, selectors.EVENT_READ)

    def _written(self, scribe: RewriteJob) -> None:
        """Take what the files say now."""
        self.scribe = None
        self.selector.unregister(scribe.fd)
        now = self.clock.now()
        try:
            written = scribe.end()
            settings, self.lodging = load_lease_file(
                self.lodging.file, self.settings.instance, self.lease.resettle.loaded
            )
        except (RewriteError, LeaseStartError) as error:
            self._do(self.lease.not_written(str(error), now))
        else:
            self._do(self.lease.written(written, settings, now))

    def _flush(self, pipe: _Pipe) -> None:
        if pipe.unwritten:
            try:
                del pipe.unwritten[: os.write(pipe.fd, pipe.unwritten)]
            except BlockingIOError:
                pass
            except OSError as error:
                if pipe is self.say:
                    raise SystemExit(0) from error  # ExaBGP is gone, and so are we
                self._hang(pipe)
                return
            if len(pipe.unwritten) > MAX_MESSAGE:
                if pipe is not self.say:
                    self._hang(pipe)  # an onlooker that does not read must not cost memory
                return
        self._watch(pipe)

    def _watch(self, pipe: _Pipe) -> None:
        events = selectors.EVENT_READ if pipe is not self.say else 0
        if pipe.unwritten:
            events |= selectors.EVENT_WRITE
        known = self.selector.get_map().get(pipe.fd)
        if known is None:
            if events:
                self.selector.register(pipe.fd, events)
        elif not events:
            self.selector.unregister(pipe.fd)
        elif known.events != events:
            self.selector.modify(pipe.fd, events)


def _lines(pipe: _Pipe, limit: int = 1) -> list[bytes] | None:
    """Read what is there, about ``limit`` bytes of it, and give its whole lines.

    None at the end of the stream; what came before the end is given first.
    """
    got = 0
    while got < limit:
        try:
            data = os.read(pipe.fd, 1 << 20)
        except BlockingIOError:
            break
        except OSError:
            data = b""
        if not data:
            if not got:
                return None
            break  # the next reading finds the end again
        got += len(data)
        pipe.read += data
    *whole, rest = bytes(pipe.read).split(b"\n")
    pipe.read[:] = rest
    return whole


def _newest(lines: list[bytes]) -> list[bytes]:
    """Choose of the lines that waited those that matter: the newest state, the newest verb.

    What was said during a stall of ours must not be told to ExaBGP one after the other.
    """
    verbs = [line for line in lines if b'"reload"' in line]
    states = [line for line in lines if b'"reload"' not in line]
    return [*states[-1:], *verbs[-1:]]


def _listen(path: str) -> socket.socket:
    """Take the socket's place; the speaker's lock already keeps a second speaker out."""
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
    """Write a line to standard error; a log that is stalled must not stall the lease.

    The descriptor is shared with ExaBGP, so it is asked first instead of made non-blocking.
    """
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"anycastd lease: {text}\n".encode()[: select.PIPE_BUF])


def main(argv: list[str]) -> int:
    """Run the lease process; its only argument is the speaker's lease file."""
    parent = os.getppid()
    # A lease process that is stopped would otherwise outlive its ExaBGP.
    request_parent_death_signal()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Out of the environment first: nobody else is to speak to systemd for the speaker.
    notifier = Notifier()
    instance = f"{os.getpid()}-{os.urandom(4).hex()}"
    try:
        settings, lodging = load_lease_file(argv[1], instance, os.environ.get(LOADED_VARIABLE))
        keeper = LeaseProcess(settings, lodging, parent, notifier)
    except LeaseStartError as error:
        _log(str(error))
        return EX_UNAVAILABLE
    if os.getppid() != parent:
        return 0  # it died before the parent-death signal was set
    try:
        keeper.run()
    finally:
        keeper.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
