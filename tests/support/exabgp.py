"""A real ExaBGP for tests, through the shim or bare; the test takes the place of its API child.

ExaBGP's API child is a relay that only carries bytes to a socket of ours, so that the test itself
talks to ExaBGP, by the same ``ApiConversation`` that the lease process uses.
"""

from __future__ import annotations

import os
import pwd
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Self

from anycastd.lease.commands import Answer, Command, Fact, Ping, SessionChanged
from anycastd.profile.model import Address, Profile
from anycastd.speaker import start
from anycastd.speaker.directory import lease_command
from anycastd.speaker.exabgp import config
from anycastd.speaker.exabgp.api import ApiConversation
from support.peer import wait_for
from support.profiles import profile

CHECKOUT = Path(__file__).resolve().parents[2]

# A sitecustomize.py: the wall clock steps when the file is written.
STEPPED = """\
import time
real = time.time
def stepped():
    try:
        with open({mark!r}) as mark:
            return real() + float(mark.read() or 0)
    except FileNotFoundError:
        return real()
time.time = stepped
"""

HEADING = "Peer            AS        up/down state       |     #sent     #recvd"
GREETED = ("done", "exabgp 5.0.15", "done", HEADING, "done")
NEXT_HOP = (("prepend: 0", 'prepend: 0\n    next_hop: "2001:db8::1"'),)
LOCAL, FIRST, SECOND = "127.0.0.1", "127.0.0.2", "127.0.0.3"

RELAY = """\
import os, select, socket, sys
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
while True:
    ready = select.select([0, there], [], [])[0]
    for source, sink in ((0, there.fileno()), (there.fileno(), 1)):
        if source in ready or (source == there.fileno() and there in ready):
            data = os.read(source, 65536)
            if not data:
                sys.exit()
            while data:
                data = data[os.write(sink, data):]
"""


def loopback_profile(hold_time: int = 9, *changes: tuple[str, str]) -> Profile:
    """Build a profile whose neighbors are 127.0.0.2 and 127.0.0.3, seen from 127.0.0.1."""
    return profile(
        ("192.0.2.10", LOCAL),
        ("192.0.2.4", FIRST),
        ("192.0.2.5", SECOND),
        ("router_id:", f"hold_time: {hold_time}\n  router_id:"),
        ("platform: plain", "platform: plain\nlease: {ttl: 2}"),
        *changes,
    )


class ExaBGP:
    """ExaBGP with the configuration that the speaker writes; a context manager.

    ``python`` has the ExaBGP to run.  ``patched`` False runs its own main instead of the shim.
    ``path`` goes in front of its imports.  ``facts`` is what it sent so far.
    """

    def __init__(
        self,
        python: str,
        directory: Path,
        port: int,
        *,
        given: Profile | None = None,
        passwords: Mapping[Address, str] | None = None,
        patched: bool = True,
        path: Sequence[Path] = (),
    ) -> None:
        self.profile = given or loopback_profile()
        self.facts: list[Fact] = []
        self._conversation = self._new_conversation()
        self._answers_due = 0
        self.log = directory / "exabgp.log"
        self._buffer = b""
        self._connection: socket.socket | None = None
        relay, meeting, conf = (directory / name for name in ("relay.py", "relay", "exabgp.conf"))
        relay.write_text(RELAY, encoding="utf-8")
        (directory / "exabgp.env").write_text("# nothing\n", encoding="utf-8")
        text = config.build_config(
            self.profile, lease_command(str(directory)), passwords or {}, port=port
        )
        run = next(line for line in text.splitlines() if line.lstrip().startswith("run "))
        conf.write_text(
            text.replace(run, f'    run {python} "{relay}" "{meeting}";'), encoding="utf-8"
        )
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(meeting))
        self._listener.listen()
        self._listener.settimeout(20)
        user = pwd.getpwuid(os.geteuid()).pw_name
        self.environment = start.build_environment(str(directory), os.environ, user) | {
            "PYTHONPATH": os.pathsep.join(map(str, (*path, CHECKOUT)))
        }
        module = ["-P", "-m", "anycastd.speaker.exabgp.shim"]
        if not patched:
            module = ["-P", "-m", "exabgp"]
            self.environment["exabgp_log_level"] = (
                "WARNING"  # 4.2 and 5.0 have no other name in common
            )
        self.command = [python, *module, str(conf)]
        self.process: subprocess.Popen[bytes] | None = None

    def _new_conversation(self) -> ApiConversation:
        neighbors = [str(neighbor.address) for neighbor in self.profile.bgp.neighbors]
        return ApiConversation(neighbors, self.profile.bgp.local_as)

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log
            )
        self.wait_for_child()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self._listener.close()
        if self._connection is not None:
            self._connection.close()

    @property
    def pid(self) -> int:
        """Return ExaBGP's pid."""
        assert self.process is not None
        return self.process.pid

    def child(self) -> int:
        """Return the pid of the API child."""
        children = (
            Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="utf-8").split()
        )
        return int(children[0])

    def wait_for_child(self) -> None:
        """Wait for the next API child, and begin a new conversation; TimeoutError after 20 s."""
        if self._connection is not None:
            self._connection.close()
        self._connection, _ = self._listener.accept()
        self._buffer = b""
        self._conversation = self._new_conversation()
        self._answers_due = self._answers()

    def end_child(self) -> None:
        """Let the API child end after it has passed on what was written; wait for the next one."""
        assert self._connection is not None
        self._connection.shutdown(socket.SHUT_RDWR)
        self.wait_for_child()

    def unread(self) -> int:
        """Return how many bytes ExaBGP has sent that are not read yet."""
        assert self._connection is not None
        return int.from_bytes(ioctl(self._connection, FIONREAD, bytes(4)), sys.byteorder)

    def version(self) -> str:
        """Return ExaBGP's version."""
        return str(self.ask(Ping()).version)

    def write(self, text: str) -> None:
        """Write text to ExaBGP, whatever it is."""
        assert self._connection is not None
        self._connection.sendall(text.encode())

    def send(self, *commands: Command) -> None:
        """Send commands in one write, routes that fit together in one line."""
        self._answers_due += len(commands)
        self.write(self._conversation.send(*commands))

    def send_one_per_line(self, *commands: Command) -> None:
        """Send commands in one write, each in a line of its own."""
        self._answers_due += len(commands)
        self.write("".join(self._conversation.send(command) for command in commands))

    def wait_answered(self) -> None:
        """Wait until every command to this child has its answer; AssertionError after 15 s."""
        self.wait(lambda _: self._answers() >= self._answers_due)

    def _answers(self) -> int:
        return sum(isinstance(fact, Answer) for fact in self.facts)

    def listen(self, seconds: float = 0.0) -> list[Fact]:
        """Read what ExaBGP sends for ``seconds``; return all facts so far."""
        assert self._connection is not None
        end = time.monotonic() + seconds
        while select.select([self._connection], [], [], max(0.0, end - time.monotonic()))[0]:
            data = self._connection.recv(65536)
            if not data:
                break
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                self.facts += self._conversation.receive(line.decode())
        return self.facts

    def wait(self, condition: Callable[[list[Fact]], object], timeout: float = 15.0) -> None:
        """Wait until ``condition`` is true of the facts so far.

        Raises AssertionError after ``timeout`` seconds.
        """
        wait_for(lambda: condition(self.listen()), timeout, f"a fact beyond {self.facts[-3:]}")

    def ask(self, command: Command, timeout: float = 15.0) -> Answer:
        """Send a command and wait for its answer; AssertionError after ``timeout`` seconds."""
        before = len(self.facts)
        self.send(command)

        def answers(facts: list[Fact]) -> list[Answer]:
            found = [fact for fact in facts[before:] if isinstance(fact, Answer)]
            return [answer for answer in found if answer.command == command]

        self.wait(answers, timeout)
        return answers(self.facts)[0]

    def changes(self, neighbor: str = FIRST) -> list[str]:
        """Return the session's changes so far: up, down."""
        facts = [fact for fact in self.listen() if isinstance(fact, SessionChanged)]
        return [fact.session.value for fact in facts if fact.neighbor == neighbor]


def run_python(python: str, code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run code with the interpreter ``python``; ``path`` goes in front of its imports."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, (*path, CHECKOUT))))
    return subprocess.run(
        [python or sys.executable, "-P", "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=environment,
    )


def start_changed_shim(python: str, change: str) -> str:
    """Start the shim after code has changed ExaBGP; assert that it refuses, and return why."""
    code = (
        f"{change}\nfrom anycastd.speaker.exabgp import shim\n"
        "print(shim.main(['/nonexistent/exabgp.conf']))"
    )
    done = run_python(python, code)
    assert done.stderr.splitlines()[-1] == "69", done.stderr
    return done.stderr
