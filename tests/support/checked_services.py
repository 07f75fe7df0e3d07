"""Services whose routes rest on checks alone, and what these ask: servers and a command.

They stand beside the service `web` in the profile of a surrounded appliance.  ``checked`` needs an
HTTP server and a command; ``chosen`` has two next hops, each with an HTTP server of its own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from support.haproxy import Web
from support.peer import Peer, wait_for
from support.route_log import Change, RouteLog

NEXT_HOPS = ("192.0.2.21", "192.0.2.22")
"""The next hops of ``chosen``; the first one is preferred."""
VIPS = {"checked": "203.0.113.12", "chosen": "203.0.113.13"}
"""Name of a service -> its address."""
EVERY, TIMEOUT, DEADLINE, BLIND_DEADLINE = 0.3, 1.0, 10.0, 5.0
"""Settings of the checks (s); the last one is the deadline of the command."""
SERVERS = ("app", "hop0", "hop1")
"""Names of the checks that ask a server; the other one is ``run``."""
CHECKS = """\
checks:
  app: {{http: 'http://127.0.0.1:{app}/', contains: ok, every: 0.3, timeout: 1, deadline: 10}}
  run: {{command: ['{command}'], every: 0.3, timeout: 1, deadline: 5}}
  hop0: {{http: 'http://127.0.0.1:{hop0}/', every: 0.3, timeout: 1, deadline: 10}}
  hop1: {{http: 'http://127.0.0.1:{hop1}/', every: 0.3, timeout: 1, deadline: 10}}
"""
"""For the template of a profile, as is ``SERVICES``; ``CheckedServices.settings`` fills them in."""
_LEVELS = """\
    standby: {{prepend: 6, after: 0.2}}
    failed: withdraw
    return: {{rise: 0.5, hold_down: 1, hold_down_max: 2, spacing: 0.5}}
"""
SERVICES = f"""
  checked:
    vip: {VIPS["checked"]}/32
    serve: {{{{all: [{{{{check: app}}}}, {{{{check: run}}}}]}}}}
{_LEVELS}  chosen:
    vip: {VIPS["chosen"]}/32
    interface: none
    next_hops:
      - {{{{address: {NEXT_HOPS[0]}, serve: {{{{check: hop0}}}}}}}}
      - {{{{address: {NEXT_HOPS[1]}, serve: {{{{check: hop1}}}}}}}}
{_LEVELS}"""
COMMAND = """\
#!/bin/sh
read -r mode <"$0.mode"
case $mode in
hangs) sleep 600 ;;
writes) exec yes ;;
fails) exit 1 ;;
dies) kill -KILL $$ ;;
esac
"""
GARBAGE = b"\x00\xff\x16\x03ok" * 500
ERROR = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nok\n"


class CheckedServer(Web):
    """A server that a check asks.

    ``fail_once`` lets the next answer be a 503.  ``delay``: seconds before each answer.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self._fails_once = False
        self._passed = False
        self._never = threading.Event()
        super().__init__()

    def fail_once(self) -> None:
        """Let the next answer be a 503, if the last one was none: two in a row are a failure."""
        self._fails_once = self._passed

    def _serve(self, connection: socket.socket) -> None:
        if self.answer is not self.OK:
            self._fails_once = self._passed = False
        elif self._fails_once:
            self._fails_once = self._passed = False
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(ERROR)
            return
        else:
            self._passed = True
        self._never.wait(self.delay)
        super()._serve(connection)


class CheckedServices:
    """What the checks ask, and the routes of both services at the peers; a context manager.

    ``servers``: name of a check -> its server.
    """

    def __init__(self, directory: Path) -> None:
        self.servers = {name: CheckedServer() for name in SERVERS}
        self.command = directory / "check-command"
        self.command.write_text(COMMAND, encoding="utf-8")
        self.command.chmod(0o755)
        self.set_command("passes")
        self.wires: dict[str, RouteLog] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.stop()

    @property
    def settings(self) -> dict[str, Any]:
        """Return what fills in ``CHECKS``."""
        ports = {name: server.port for name, server in self.servers.items()}
        return {"command": self.command, **ports}

    def set_command(self, mode: str) -> None:
        """Let the command's next runs pass, or be one of: hangs, writes, fails, dies."""
        new = self.command.with_suffix(".new")
        new.write_text(f"{mode}\n", encoding="utf-8")
        new.replace(f"{self.command}.mode")

    def watch(self, peers: Sequence[Peer]) -> None:
        """Note the routes of both services from now on."""
        self.wires = {name: RouteLog(peers, f"{vip}/32") for name, vip in VIPS.items()}

    def changes(self, service: str) -> list[list[Change]]:
        """Return all changes of the route of a service, for each peer."""
        self.wires[service].refresh()
        return [log.changes for log in self.wires[service].logs]

    def is_settled(self) -> bool:
        """Return whether all peers have both services preferred, by the first next hop."""
        if any(set(wire.lengths()) != {1} for wire in self.wires.values()):
            return False
        routes = [log.route for log in self.wires["chosen"].logs]
        return {route and route.next_hop for route in routes} == {NEXT_HOPS[0]}

    def wait_settled(self, timeout: float) -> None:
        """Wait for ``is_settled``; raises AssertionError after ``timeout`` seconds."""
        wait_for(self.is_settled, timeout, f"the services that checks decide: {self.describe()}")

    def describe(self) -> str:
        """Describe the routes of both services as text."""
        return ", ".join(f"{name}: {wire.lengths()}" for name, wire in self.wires.items())
