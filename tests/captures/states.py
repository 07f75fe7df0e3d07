"""Every state of a server that HAProxy can show, brought about in a real one.

``PYTHONPATH=tests python -m captures.states`` writes the captures beside this file anew, with the
HAProxy that ``HAPROXY`` names:

- ``states-VERSION.txt``: the answer to a whole look, every server in its state;
- ``start-VERSION.txt``: the same right after the start, before most checks have run;
- ``events-VERSION.txt``: what its ring got from the start on, and through a reload.
"""

from __future__ import annotations

import re
import socket
import tempfile
from functools import partial
from pathlib import Path

from support.haproxy import HEAD, HAProxy, Web, free_port, run_haproxy, until

LOOK = "show stat -1 7 -1;show info"
NOT_FOUND = b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.0 500 Broken, badly\r\nContent-Length: 0\r\n\r\n"

# What each server counts as: usable, and whether HAProxy checks it.
EXPECTED = {
    "web/up": "yes checked",
    "web/down": "no checked",
    "web/backup": "no checked",
    "web/nocheck": "unproved unchecked",
    "web/weight0": "no checked",
    "web/weight0cli": "no checked",
    "web/drain": "no checked",
    "web/drainnocheck": "no unchecked",
    "web/maint": "no unchecked",
    "web/disabled": "no unchecked",
    "web/agentup": "yes checked",
    "web/agentdown": "no checked",
    "web/agentdrain": "no checked",
    "web/agentmaint": "no checked",
    "web/agentzero": "no checked",
    "web/agentlost": "yes checked",
    "web/agentonly": "yes checked",
    "web/agentonlydown": "no checked",
    "web/agentonlylost": "unproved checked",
    "web/tracking": "yes checked",
    "web/trackdown": "no checked",
    "web/trackagent": "yes checked",
    "web/trackmaint": "no unchecked",
    "web/trackchain": "yes checked",
    "web/trackini": "unproved checked",
    "web/unresolved": "no unchecked",
    "web/healthoff": "unproved unchecked",
    "web/slow": "yes checked",
    "web/falling": "yes checked",
    "web/rising": "no checked",
    "web/forced": "unproved checked",
    "web/drainfall": "no checked",
    "web/added": "unproved unchecked",
    "other/up": "yes checked",
    "other/down": "no checked",
    "other/agentonly": "yes checked",
    "other/maint": "no unchecked",
    "chain/x": "yes checked",
    "http/ok": "yes checked",
    "http/hung": "unproved checked",
    "http/tohang": "yes checked",
    "http/nolb": "no checked",
    "http/never": "no checked",
    "http/bad": "no checked",
    "quick/timeout": "no checked",
    "traffic/errors": "yes checked",
    "onlybackup/a": "no checked",
    "onlybackup/b": "yes checked",
    "talk/hung": "unproved checked",
}


class States:
    """A HAProxy whose servers take every state; ``settle()`` brings them there."""

    def __init__(self) -> None:
        self.ok, self.hung = Web(), Web(None)
        self.not_found, self.broken = Web(NOT_FOUND), Web(BROKEN)
        self.to_hang, self.to_404, self.falls, self.errs = Web(), Web(), Web(), Web()
        self.rises, self.forced = Web(), Web()
        self.rises.stop()
        self.forced.stop()
        words = ("up", "down", "drain", "maint", "0%", "fail")
        self.agents = {word: Web(word.encode() + b"\n", speaks_first=True) for word in words}
        self.traffic = free_port()
        self.dead = free_port()

    def _agent(self, word: str) -> str:
        port = self.agents[word].port if word in self.agents else self.dead
        return f"agent-check agent-port {port} agent-inter 100ms"

    @property
    def body(self) -> str:
        """The configuration, without its head."""
        ok, dead = f"127.0.0.1:{self.ok.port}", f"127.0.0.1:{self.dead}"
        return f"""
frontend web
    bind 127.0.0.1:{free_port()}
    default_backend web
frontend paused
    bind 127.0.0.1:{free_port()}
    default_backend web
frontend traffic
    bind 127.0.0.1:{self.traffic}
    default_backend traffic
backend web
    default-server inter 100ms fall 3 rise 2
    server up {ok} check
    server down {dead} check
    server backup {ok} check backup
    server nocheck {ok}
    server weight0 {ok} check weight 0
    server weight0cli {ok} check
    server drain {ok} check
    server drainnocheck {ok}
    server maint {ok} check
    server disabled {ok} check disabled
    server agentup {ok} check {self._agent("up")}
    server agentdown {ok} check {self._agent("down")}
    server agentdrain {ok} check {self._agent("drain")}
    server agentmaint {ok} check {self._agent("maint")}
    server agentzero {ok} check {self._agent("0%")}
    server agentlost {ok} check {self._agent("lost")}
    server agentonly {ok} {self._agent("up")}
    server agentonlydown {ok} {self._agent("fail")}
    server agentonlylost {ok} {self._agent("lost")}
    server tracking {ok} track other/up
    server trackdown {ok} track other/down
    server trackagent {ok} track other/agentonly
    server trackmaint {ok} track other/maint
    server trackchain {ok} track chain/x
    server trackini {ok} track talk/hung
    server unresolved no-such-host.invalid:80 check init-addr none
    server healthoff {ok} check
    server slow {ok} check slowstart 60s
    server falling 127.0.0.1:{self.falls.port} check fall 10000
    server rising 127.0.0.1:{self.rises.port} check rise 10000
    server forced 127.0.0.1:{self.forced.port} check inter 1h fastinter 100ms
    server drainfall 127.0.0.1:{self.falls.port} check fall 10000
backend other
    default-server inter 100ms
    server up {ok} check
    server down {dead} check
    server agentonly {ok} {self._agent("up")}
    server maint {ok} check
backend chain
    server x {ok} track other/up
backend http
    option httpchk
    timeout check 1h
    http-check disable-on-404
    default-server inter 100ms
    server ok {ok} check
    server hung 127.0.0.1:{self.hung.port} check
    server tohang 127.0.0.1:{self.to_hang.port} check
    server nolb 127.0.0.1:{self.to_404.port} check
    server never 127.0.0.1:{self.not_found.port} check
    server bad 127.0.0.1:{self.broken.port} check
backend quick
    option httpchk
    timeout check 100ms
    server timeout 127.0.0.1:{self.hung.port} check inter 100ms
backend traffic
    default-server inter 1h fall 1000 observe layer4 error-limit 1 on-error fail-check
    server errors 127.0.0.1:{self.errs.port} check
backend onlybackup
    server a {dead} check inter 100ms
    server b {ok} check backup inter 100ms
backend talk
    option tcp-check
    tcp-check expect string hello
    timeout check 1h
    server hung 127.0.0.1:{self.hung.port} check
backend empty
"""

    def settle(self, haproxy: HAProxy) -> None:
        """Bring every server into its state."""
        until(lambda: haproxy.status("web/falling") == "UP L4OK")
        until(lambda: haproxy.status("http/tohang").endswith("L7OK"))
        until(lambda: haproxy.status("http/nolb").endswith("L7OK"))
        until(lambda: haproxy.status("traffic/errors") == "UP L4OK")
        until(lambda: haproxy.status("web/forced") == "DOWN L4CON")
        for command in (
            "set server web/weight0cli weight 0",
            "set server web/drain state drain",
            "set server web/drainnocheck state drain",
            "set server web/maint state maint",
            "set server other/maint state maint",
            "disable health web/healthoff",
            "set server web/drainfall state drain",
            "disable frontend paused",
            f"add server web/added 127.0.0.1:{self.ok.port}",
            "enable server web/added",
            "set server web/forced health up",
        ):
            haproxy.ask(command)
        self.to_hang.answer = None
        self.to_404.answer = NOT_FOUND
        self.falls.stop()
        self.rises.start()
        self.errs.stop()
        with socket.create_connection(("127.0.0.1", self.traffic)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            client.recv(1)
        until(lambda: haproxy.status("web/agentonly") == "no check ")
        for server, status in (
            ("web/down", "DOWN L4CON"),
            ("web/falling", r"UP \d+/10000 L4CON"),
            ("web/drainfall", r"DRAIN \d+/10000 L4CON"),
            ("web/rising", r"DOWN \d+/10000 L4OK"),
            ("web/agentdown", r"DOWN \(agent\) L4OK"),
            ("web/agentdrain", r"DRAIN \(agent\) L4OK"),
            ("web/agentonlydown", r"DOWN \(agent\) "),
            ("web/trackmaint", r"MAINT \(via other/maint\) "),
            ("web/trackdown", "DOWN "),
            ("http/tohang", r"UP \* L7OK"),
            ("http/hung", r"UP 1/3 \* INI"),
            ("http/nolb", "NOLB L7OKC"),
            ("http/never", "NOLB L7OKC"),
            ("http/bad", "DOWN L7STS"),
            ("quick/timeout", "DOWN L7TOUT"),
            ("traffic/errors", r"UP \d+/1000 HANA"),
        ):
            until(partial(_shows, haproxy, server, status))


def _shows(haproxy: HAProxy, server: str, status: str) -> bool:
    return re.fullmatch(status, haproxy.status(server)) is not None


def write() -> None:
    """Write the captures of this machine's HAProxy."""
    states = States()
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as directory:
        # By default one check per hour spreads the first checks of all servers over that hour.
        slowly = HEAD.replace("max-spread-checks 50", "")
        with run_haproxy(Path(directory), states.body, slowly) as haproxy:
            start = haproxy.ask(LOOK)
        with run_haproxy(Path(directory), states.body) as haproxy:
            version = re.findall(r"^Version: (\d+\.\d+)", start, re.MULTILINE)[0]
            states.settle(haproxy)
            settled = haproxy.ask(LOOK)
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(str(haproxy.socket))
                stream.sendall(b"show events anycastd -w\n")
                haproxy.reload()
                ring = ""
                while "Proxy empty stopped" not in ring:
                    ring += stream.recv(1 << 16).decode()
        (here / f"start-{version}.txt").write_text(start, encoding="utf-8")
        (here / f"states-{version}.txt").write_text(settled, encoding="utf-8")
        kinds = {re.sub(r"\d+", "", line): line for line in ring.splitlines() if line}
        (here / f"events-{version}.txt").write_text(
            "\n".join(kinds.values()) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    write()
