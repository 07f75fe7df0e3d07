"""Run one whole network appliance for tests and benches: HAProxy, agent, speaker, and two peers.

Everything runs in a network namespace of its own and ends with it.  The two peers are passive (see
``peer``): they decode what they receive, with the time of each message.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from anycastd.agent.control_client import ControlError, ask_agent
from support.haproxy import HAProxy, Web
from support.peer import Peer, wait_for
from support.status_schema import check_status

PEERS = ("192.0.2.4", "192.0.2.5")
"""Addresses of the two BGP peers."""
OWN = "192.0.2.10"
"""Address of the appliance."""
VIP = "203.0.113.10"
"""Address of the service `web`."""

PROFILE = """\
region: northeurope
platform: plain
lease: {{ttl: {ttl}}}
bgp:
  local_as: 65010
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  neighbors:
    - {{address: 192.0.2.4, peer_as: 65515}}
    - {{address: 192.0.2.5, peer_as: 65515}}
haproxy:
  main: {{socket: {socket}, ring: {ring}, deadline: {deadline}}}
services:
  web:
    vip: 203.0.113.10/32
    prepend: 0
    serve: {{all: [{{backend: web, usable: 1}}, {{frontend: web}}]}}
    healthy: {{backend: web, usable: 50%}}
    degraded: {{prepend: 3, fall: 0.5}}
    standby: {{prepend: 6, after: 0.2}}
    failed: withdraw
    return: {{rise: 0.5, hold_down: 1, hold_down_max: 2, spacing: 0.5}}
"""
"""Template of the profile."""

BODY = """\
backend web
    default-server check inter {inter} fall 1 rise 1
    server s1 127.0.0.1:{one}
    server s2 127.0.0.1:{two}
frontend web
    bind 203.0.113.10:80 transparent
    maxconn 100
    default_backend web
"""
"""Template of HAProxy's backend and frontend."""


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Move the calling thread into a fresh network namespace, and back at the end.

    Raises OSError without the privilege, CalledProcessError where an address cannot be added.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "no network namespace")
        for command in (
            ["link", "set", "lo", "up"],
            *(["address", "add", f"{address}/32", "dev", "lo"] for address in (OWN, *PEERS)),
        ):
            subprocess.run(["ip", *command], check=True)
        yield
    finally:
        if libc.setns(before, 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot return to the network namespace before")
        os.close(before)


class Appliance:
    """HAProxy with two servers, `anycastd speaker`, `anycastd run --lease`, and two peers.

    Use it inside ``own_network()``.  ``settings`` replace values of the profile: ttl, deadline and
    ring.  ``python`` runs the speaker, with the ExaBGP that it has.  ``body``, ``profile`` (both
    templates) and ``peers`` are used instead of this file's.
    """

    def __init__(
        self,
        directory: Path,
        *,
        python: str = sys.executable,
        inter: str = "50ms",
        body: str = BODY,
        profile: str = PROFILE,
        peers: Sequence[Peer] = (),
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.python = python
        self.backends = (Web(), Web())
        one, two = (backend.port for backend in self.backends)
        self.haproxy = HAProxy(directory, body.format(inter=inter, one=one, two=two))
        values = {"ttl": 5, "deadline": 3, "ring": "anycastd", "socket": self.haproxy.socket}
        self.profile = directory / "profile.yaml"
        self.profile.write_text(profile.format(**(values | settings)), encoding="utf-8")
        self.peers = list(peers) or [Peer(address, 179) for address in PEERS]
        self.speaker: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    @property
    def lease(self) -> Path:
        """Return the path of the lease's socket."""
        return self.directory / "speaker" / "lease.sock"

    def __enter__(self) -> Self:
        for peer in self.peers:
            peer.__enter__()
        self.haproxy.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in (self.agent, self.speaker):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self.haproxy.stop()
        for backend in self.backends:
            backend.stop()
        for peer in self.peers:
            peer.__exit__(None, None, None)

    def ask_no_servers(self) -> None:
        """Let the profile say that no server is asked by TCP: HAProxy's word alone counts."""
        text = self.profile.read_text(encoding="utf-8")
        assert "{socket: " in text
        changed = text.replace("{socket: ", "{ask_servers: false, socket: ")
        self.profile.write_text(changed, encoding="utf-8")

    def start(self) -> None:
        """Start speaker and agent; wait until all peers have the preferred route, and it is known.

        Raises AssertionError after 30 s for either.
        """
        self.start_speaker()
        self.start_agent()
        self.wait_path(1)
        self.wait_confirmed()

    def start_speaker(self, *, environment: Mapping[str, str] | None = None) -> None:
        """Start the speaker (it becomes ExaBGP), with additional environment variables."""
        self.speaker = self._spawn(self.python, "speaker", "speaker", environment=environment)

    def start_agent(self, *more: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the agent on the speaker's lease, with additional environment variables."""
        arguments = ("--lease", str(self.lease), *more)
        self.agent = self._spawn(
            sys.executable, "run", "agent", *arguments, environment=environment
        )

    def wait_path(self, asns: int, timeout: float = 30.0) -> None:
        """Wait until each peer has the VIP with a path of ``asns`` ASNs (0: not at all).

        Raises AssertionError, with the logs, after ``timeout`` seconds.
        """

        def there() -> bool:
            routes = [peer.table.get(f"{VIP}/32") for peer in self.peers]
            lengths = [0 if route is None else len(route.as_path) for route in routes]
            return lengths == [asns] * len(lengths)

        wait_for(there, timeout, f"{VIP} with {asns} ASNs at both peers\n{self.log()}")

    def wait_answers(self) -> None:
        """Wait until the agent answers: its socket is there before that.

        Raises AssertionError, with the logs, after 30 s.
        """

        def answers() -> bool:
            with contextlib.suppress(ControlError):
                return bool(self.ask_status())
            return False

        wait_for(answers, 30, f"an agent that answers\n{self.log()}")

    def wait_confirmed(self, timeout: float = 30.0) -> None:
        """Wait until the agent has heard that each peer has what is wanted.

        That is later than the peers have it: ExaBGP and the lease process confirm it afterwards.
        Then the change of level is in the agent's history, too.  Raises AssertionError, with the
        logs, after ``timeout`` seconds.
        """

        def is_confirmed() -> bool:
            with contextlib.suppress(ControlError):
                services = self.ask_status()["services"].values()
                seen = [each["neighbors"][one.address] for each in services for one in self.peers]
                return all(each["in_sync"] for each in seen)
            return False

        wait_for(is_confirmed, timeout, f"the confirmation of all routes\n{self.log()}")

    def status(self) -> dict[str, Any]:
        """Read the JSON of `anycastd status`, which has to fit its schema.

        Raises AssertionError if no agent answers.
        """
        return check_status(self.read_status())

    def read_status(self) -> dict[str, Any]:
        """Read the JSON of `anycastd status`, of whatever release the agent is.

        Raises AssertionError if no agent answers.
        """
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "anycastd",
                "status",
                "--json",
                "--directory",
                self.directory_of("agent"),
            ],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode in (0, 1, 2), done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def ask_status(self) -> dict[str, Any]:
        """Ask the agent for its status, without the command: for what lasts a moment only.

        The agent may answer with a status of a moment before.  Raises ControlError if no agent
        answers.
        """
        return ask_agent(self.directory_of("agent"), "status")

    def directory_of(self, name: str) -> str:
        """Return the directory of agent, speaker or state, as ``name`` says."""
        return str(self.directory / name)

    def log(self) -> str:
        """Read what agent and speaker have logged, as one text."""
        files = sorted(self.directory.glob("*.err"))
        return "\n".join(f"--- {file.name}\n{file.read_text(encoding='utf-8')}" for file in files)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of all commands: they use this checkout, no installed anycastd."""
        return os.environ | {
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "STATE_DIRECTORY": self.directory_of("state"),
        }

    def command(self, python: str, command: str, place: str) -> list[str]:
        """Build the command line of `run` or `speaker`; ``place`` names its directory."""
        where = ("--profile", str(self.profile), "--directory", self.directory_of(place))
        return [python, "-m", "anycastd", command, *where]

    def open_log(self, place: str) -> IO[bytes]:
        """Open what the agent or the speaker, as ``place`` says, writes its log to."""
        return (self.directory / f"{place}.err").open("ab")

    def _spawn(
        self,
        python: str,
        command: str,
        place: str,
        *more: str,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        with self.open_log(place) as log:
            return subprocess.Popen(
                # A test run that is killed must not leave anything behind.
                ["setpriv", "--pdeathsig", "KILL", *self.command(python, command, place), *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment | dict(environment or {}),
            )
