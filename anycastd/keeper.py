"""The lease process: ExaBGP's API child, and the socket on which the agent renews its lease.

ExaBGP's API is its child's standard input and output, so something has to be that child.  This is
that process, and the dead-man's switch: it keeps the routes that an agent wants for as long as
the agent keeps saying so, and not longer (the machine is in ``tenure``).

It is kept small, since it must outlive everything else: standard library only, no asyncio, no
lazy imports (an upgrade may change the files below it), one loop.  ExaBGP's output is always
drained, since ExaBGP's writes block; nothing that is written may block this loop.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import selectors
import signal
import socket
import sys
from dataclasses import dataclass, field

from anycastd.clock import OwnTime
from anycastd.exabgp import Dialogue
from anycastd.lease import MESSAGE_MAX
from anycastd.tenure import Effect, EndExabgp, Hang, Lease, Note, Say, Send, Settings

TICK = 0.05
"""Seconds between two looks at the time."""

CONNECTIONS_MAX = 16
"""Agents and onlookers at once; one more is turned away."""

_PR_SET_PDEATHSIG = 1


class KeeperError(Exception):
    """The lease cannot start: says why and what to do."""


def load_settings(path: str) -> tuple[Settings, str]:
    """Read the speaker's lease file (version 1); give the settings and the socket's path.

    Raises KeeperError.
    """
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        if data["v"] != 1:
            version = data["v"]
            raise KeeperError(f"{path}: version {version!r} is not known here; restart the speaker")
        settings = Settings(
            instance=f"{os.getpid()}-{os.urandom(4).hex()}",
            prefixes=frozenset(data["prefixes"]),
            neighbors=tuple(data["neighbors"]),
            local_as=int(data["local_as"]),
            ttl_max=float(data["ttl_max"]),
            inherit=float(data.get("inherit", 5.0)),
            config=str(data.get("config", "")),
        )
        return settings, str(data["socket"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeeperError(f"{path}: cannot be used: {error!r}; restart the speaker") from None


@dataclass(slots=True)
class _Pipe:
    """A non-blocking way in or out: what was read and is no whole line yet, what is unwritten."""

    fd: int
    read: bytearray = field(default_factory=bytearray)
    unwritten: bytearray = field(default_factory=bytearray)
    number: int = 0
    connection: socket.socket | None = None


class Keeper:
    """The loop: read everything pending, then let time pass, then write."""

    def __init__(self, settings: Settings, path: str, exabgp_pid: int) -> None:
        self.clock = OwnTime(TICK)
        self.lease = Lease(settings, self.clock.now())
        self.dialogue = Dialogue(settings.neighbors, settings.local_as)
        self.exabgp_pid = exabgp_pid
        self.path = path
        self.pipes: dict[int, _Pipe] = {}
        self.numbers = 0
        self.selector = selectors.DefaultSelector()
        self.listener = _listen(path)
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
                else:
                    self._serve(key.fd, events)
            # Only now: what had arrived during a stall of ours must count before time does.
            self.clock.tick()
            self._do(self.lease.tick(self.clock.now()))

    def close(self) -> None:
        """Let go of the socket."""
        self.listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    # ExaBGP ---------------------------------------------------------------------------------------

    def _hear(self) -> bool:
        lines = _lines(self.hear)
        if lines is None:
            return False
        for line in lines:
            for fact in self.dialogue.hear(line.decode("utf-8", "replace")):
                self._do(self.lease.heard(fact, self.clock.now()))
        return True

    # Agents ---------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            if len(self.pipes) >= CONNECTIONS_MAX:
                connection.close()
                _log("turned a connection away: too many are open")
                return
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
        if events & selectors.EVENT_READ:
            lines = _lines(pipe)
            if lines is None or len(pipe.read) > MESSAGE_MAX:
                self._hang(pipe)
                return
            # Whole state in each: of several that waited, only the newest one matters.
            if lines:
                self._do(self.lease.message(pipe.number, lines[-1], self.clock.now()))

    def _hang(self, pipe: _Pipe) -> None:
        if self.pipes.pop(pipe.fd, None) is None:
            return
        self.selector.unregister(pipe.fd)
        self.lease.disconnected(pipe.number)
        if pipe.connection is not None:
            pipe.connection.close()

    # Effects --------------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        """Carry effects out in order; all that is for ExaBGP goes out in one write."""
        for effect in effects:
            match effect:
                case Say(command):
                    self.say.unwritten += self.dialogue.say(command).encode()
                case Send(report, to):
                    line = report.dump()
                    for pipe in list(self.pipes.values()):
                        if to is None or pipe.number == to:
                            pipe.unwritten += line
                            self._flush(pipe)
                case Hang(number, why):
                    _log(f"closed a connection: {why}")
                    for pipe in list(self.pipes.values()):
                        if pipe.number == number:
                            self._hang(pipe)
                case EndExabgp(why):
                    _log(f"ending ExaBGP (pid {self.exabgp_pid}): {why}")
                    if os.getppid() == self.exabgp_pid:
                        os.kill(self.exabgp_pid, signal.SIGKILL)
                case Note(text):
                    _log(text)
        self._flush(self.say)

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
            if len(pipe.unwritten) > MESSAGE_MAX:
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


def _lines(pipe: _Pipe) -> list[bytes] | None:
    """Read what is there and give its whole lines; None at the end of the stream."""
    try:
        data = os.read(pipe.fd, 1 << 20)
    except BlockingIOError:
        return []
    except OSError:
        return None
    if not data:
        return None
    pipe.read += data
    *whole, rest = bytes(pipe.read).split(b"\n")
    pipe.read[:] = rest
    return whole


def _listen(path: str) -> socket.socket:
    """Take the socket's place; the speaker's lock already keeps a second speaker out."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o660)
        listener.listen(CONNECTIONS_MAX)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise KeeperError(f"{path}: cannot listen there: {error.strerror}") from None
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
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        settings, path = load_settings(argv[1])
        keeper = Keeper(settings, path, parent)
    except KeeperError as error:
        _log(str(error))
        return 69
    if os.getppid() != parent:
        return 0  # it died before the parent-death signal was set
    try:
        keeper.run()
    finally:
        keeper.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
