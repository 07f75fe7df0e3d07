"""A real HAProxy on loopback and tiny backends behind it, for tests.

``HAPROXY`` in the environment names another binary, so that the same tests run against each
version (a wrapper script that enters a chroot will do).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support.processes import signal_pid

BINARY = os.environ.get("HAPROXY") or shutil.which(
    "haproxy", path=f"{os.environ['PATH']}:/usr/sbin"
)

# What every test configuration begins with; {dir} is the HAProxy's own directory.
HEAD = """\
global
    stats socket {dir}/stats.sock mode 660 level admin
    stats maxconn 50
    max-spread-checks 50
    log ring@anycastd format raw local0 notice
ring anycastd
    format raw
    size 65536
defaults
    log global
    mode http
    option log-health-checks
    timeout connect 1s
    timeout client 1m
    timeout server 5s
"""


def until(condition: Callable[[], object], timeout: float = 20.0, every: float = 0.005) -> None:
    """Evaluate ``condition()`` every ``every`` seconds until it is true.

    Raises AssertionError after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {condition}"
        time.sleep(every)


def read_version() -> tuple[int, int]:
    """Return the version of the HAProxy under test: (3, 2) for 3.2.1."""
    assert BINARY is not None, "no haproxy here: install Debian's haproxy, or set HAPROXY"
    text = subprocess.run([BINARY, "-v"], capture_output=True, encoding="utf-8", check=True).stdout
    major, minor = text.partition("version ")[2].split(".")[:2]
    return int(major), int(minor.partition("-")[0])


def without_capability(power: str) -> tuple[str, ...]:
    """Return the words before a command that take a capability (capabilities(7)) from root.

    Empty for another user, who has none.
    """
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--bounding-set=-{power}", f"--inh-caps=-{power}")


def free_port() -> int:
    """Find a TCP port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Web:
    """A server behind HAProxy: it answers each connection with ``answer`` and closes it.

    By default it speaks HTTP.  With ``answer`` None it never answers.  With ``speaks_first`` it
    sends without a request, as an agent of `agent-check` does (HAProxy's manual).  ``delay`` is how
    long it waits before it answers, in seconds.
    """

    OK = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"

    def __init__(self, answer: bytes | None = OK, *, speaks_first: bool = False) -> None:
        self.answer = answer
        self.speaks_first = speaks_first
        self.delay = 0.0
        self.port = 0
        self._listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if not self.speaks_first:
                connection.recv(4096)
            if self.answer is None:
                connection.settimeout(60)
                connection.recv(1)
            else:
                threading.Event().wait(self.delay)  # nobody sets it
                connection.sendall(self.answer)


class HAProxy:
    """A HAProxy in master-worker mode, as Debian starts it.

    Its configuration is ``head``, in which ``{dir}`` is ``directory``, and then ``body``.
    ``arguments`` are more words of its command line.
    """

    def __init__(self, directory: Path, body: str, head: str = HEAD) -> None:
        self.directory = directory
        self.socket = directory / "stats.sock"
        self.config = directory / "haproxy.cfg"
        self.arguments: tuple[str, ...] = ()
        self.configure(body, head)
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, body: str, head: str = HEAD) -> None:
        """Write the configuration; it is used from the next ``start`` or ``reload`` on."""
        text = head.replace("{dir}", str(self.directory)) + body
        self.config.write_text(text, encoding="utf-8")

    def start(self) -> HAProxy:
        """Start it and wait until it answers; AssertionError, with its log, if it does not."""
        assert BINARY is not None, "no haproxy here: install Debian's haproxy, or set HAPROXY"
        words = ("-W", *self.arguments, "-f", str(self.config))
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                # A test run that is killed must not leave a HAProxy behind.
                ["setpriv", "--pdeathsig", "KILL", BINARY, *words],
                stdout=log,
                stderr=log,
            )
        until(self.answers, 60)  # one with 10,000 servers, on a busy machine
        until(self.listens_to_signals, 30)
        return self

    def answers(self) -> bool:
        """Return whether the stats socket answers now; AssertionError if HAProxy has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(OSError):
            return bool(self.ask("show info"))
        return False

    def listens_to_signals(self) -> bool:
        """Whether the master would act on SIGUSR2: one that is still starting ignores it."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGUSR2 - 1) & 1)

    def log(self) -> str:
        """Return what it has logged so far."""
        return (self.directory / "log").read_text(encoding="utf-8")

    def ask(self, command: str, timeout: float = 5.0) -> str:
        """Send a command to the stats socket on a new connection; return the whole answer.

        Raises TimeoutError after ``timeout`` seconds without data, another OSError if it is gone.
        """
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout)
            sock.connect(str(self.socket))
            sock.sendall(command.encode() + b"\n")
            parts = []
            while data := sock.recv(1 << 16):
                parts.append(data)
        return b"".join(parts).decode()

    @property
    def worker(self) -> int:
        """Return the pid of the worker that answers now, from ``show info``."""
        info = dict(line.split(": ", 1) for line in self.ask("show info").splitlines() if line)
        return int(info["Pid"])

    @property
    def port(self) -> int:
        """Return the port of the first `bind` of 127.0.0.1 in the configuration."""
        return int(
            self.config.read_text(encoding="utf-8").partition("bind 127.0.0.1:")[2].split()[0]
        )

    def row(self, proxy: str, name: str) -> dict[str, str]:
        """Return a row of ``show stat``: field -> value; KeyError where there is none."""
        lines = self.ask("show stat").splitlines()
        names = lines[0].removeprefix("# ").split(",")
        for line in lines[1:]:
            if line.startswith(f"{proxy},{name},"):
                return dict(zip(names, line.split(","), strict=False))
        raise KeyError(f"{proxy}/{name}")

    def status(self, server: str) -> str:
        """Return ``status`` and ``check_status`` of ``backend/server``, separated by a space."""
        row = self.row(*server.split("/"))
        return f"{row['status']} {row['check_status']}"

    def reload(self) -> None:
        """Send SIGUSR2 to the master, as systemd does, and wait up to 30 s for the new worker."""
        assert self.process is not None
        old = self.worker
        signal_pid(self.process.pid, signal.SIGUSR2)
        until(lambda: self.worker != old, 30)
        until(self.listens_to_signals, 30)

    def pids(self) -> list[int]:
        """Return the pids of the master and its workers, the master first."""
        assert self.process is not None
        master = self.process.pid
        children = (
            Path(f"/proc/{master}/task/{master}/children").read_text(encoding="utf-8").split()
        )
        return [master, *map(int, children)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master and to every worker."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                signal_pid(pid, number)

    def stop_softly(self) -> None:
        """Send SIGUSR1 to the master: the workers finish their connections and end."""
        assert self.process is not None
        signal_pid(self.process.pid, signal.SIGUSR1)

    @staticmethod
    def lives(pid: int) -> bool:
        """Return whether a process with this id runs, and has not ended."""
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            return stat.rpartition(") ")[2][0] != "Z"
        return False

    def kill(self) -> None:
        """Send SIGKILL to master and workers, and wait for the end."""
        if self.process is not None and self.process.poll() is None:
            pids = self.pids()
            self.signal(signal.SIGKILL)
            self.process.wait(30)
            # A worker that has not ended yet still holds the sockets.
            until(lambda: not any(self.lives(pid) for pid in pids), 30)

    def stop(self) -> None:
        """Send SIGTERM to the master, as ``systemctl stop`` does, and wait for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@contextlib.contextmanager
def run_haproxy(directory: Path, body: str, head: str = HEAD) -> Iterator[HAProxy]:
    """Run a HAProxy for a ``with`` block; it is killed at the end."""
    haproxy = HAProxy(directory, body, head)
    try:
        yield haproxy.start()
    finally:
        haproxy.kill()


def one_backend(web: Web, more: str = "") -> str:
    """Build the text of frontend `web` and backend `web` with server s1, and ``more`` lines."""
    return f"""
frontend web
    bind 127.0.0.1:{free_port()}
    default_backend web
backend web
    server s1 127.0.0.1:{web.port} check inter 200ms fastinter 20ms
{more}
"""


@contextlib.contextmanager
def replace_haproxy(path: Path, serve: Callable[[socket.socket, bytes], object]) -> Iterator[None]:
    """Listen on ``path`` in HAProxy's place, for a ``with`` block; see ``serve_connections``."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with serve_connections(listener, serve):
            yield


@contextlib.contextmanager
def serve_connections(
    listener: socket.socket, serve: Callable[[socket.socket, bytes], object]
) -> Iterator[None]:
    """Accept connections at ``listener``, which is bound, for a ``with`` block.

    ``serve`` gets each connection and its request.  All connections are closed at the end, so that
    a ``serve`` that sends for ever ends too.
    """
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError as error:
                    if error.errno != errno.EMFILE:
                        raise
                    time.sleep(0.01)  # a test has taken all descriptors of this process
                    continue
                connections.append(connection)
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection, connection.recv(4096))

    listener.listen(64)
    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        threads[0].join()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads[1:]:
            thread.join()


def answer_slowly(connection: socket.socket, _: bytes) -> None:
    """Send an answer that never ends, slowly; OSError when the connection is closed."""
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def answer_fast(connection: socket.socket, _: bytes) -> None:
    """Send an answer that never ends, fast; OSError when the connection is closed."""
    while True:
        connection.sendall(b"x" * 100_000)
