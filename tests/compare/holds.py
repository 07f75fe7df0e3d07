"""Hold times: how soon a dead host is noticed, and which pause of the machine closes a session.

Each kind of session has its own address and its own speaker on the first region's appliance, so all
of them are measured at once.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from anycastd.lab.network.process_tree import signal_all
from compare.network import A, Network, Program, pass_time, wait_for

PAUSES = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0)
"""Seconds for which the machine is paused."""
LONGEST = 40.0
"""A dead host is awaited for so long (s), and longer hold times are left to arithmetic."""


@dataclass(slots=True)
class Session:
    """A kind of session: its hold time (s), or its BFD interval (ms, three times)."""

    title: str
    hold: int
    bfd: int = 0
    noticed: list[float] = field(default_factory=list)
    closed: dict[str, int] = field(default_factory=dict)


SESSIONS = (
    ("hold 3 s", 3, 0),
    ("hold 6 s", 6, 0),
    ("hold 9 s", 9, 0),
    ("hold 15 s", 15, 0),
    ("hold 30 s", 30, 0),
    ("BFD 0.3 s x 3", 240, 300),
    ("BFD 1 s x 3", 240, 1000),
)
_EXABGP = """\
neighbor {router} {{
    router-id {own};
    local-address {own};
    local-as 65010;
    peer-as 65515;
    hold-time {hold};
    family {{ ipv4 unicast; }}
}}
"""
_BIRD = """\
log stderr all;
router id {own};
protocol device {{ }}
protocol bfd {{ }}
"""
_SESSION = """\
protocol bgp session{number} {{
    debug {{ states }};
    local {here} as {own_as};
    neighbor {there} as {peer_as};
    hold time 240;
    {more}
    connect delay time 1; connect retry time 2; error wait time 1, 2; error forget time 1;
    ipv4 {{ import none; export none; }};
}}
"""


class Sessions:
    """All kinds of sessions at once, between a router of their own and the appliance.

    One BIRD has all ends of the router, another one those of the appliance with BFD: only one
    process can have BFD's port.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.sessions = [Session(*each) for each in SESSIONS]
        self.speakers: list[Program] = []
        router = _BIRD.format(own=A.address(150))
        bfd = _BIRD.format(own=A.address(100))
        for number, session in enumerate(self.sessions):
            own, peer = A.address(100 + number), A.address(150 + number)
            self._add_address("nva", own)
            self._add_address("web", peer)
            options = f"bfd {{ interval {session.bfd} ms; multiplier 3; }};" if session.bfd else ""
            router += _SESSION.format(
                number=number,
                here=peer,
                own_as=65515,
                there=own,
                peer_as=65010,
                more=f"passive; {options}",
            )
            if session.bfd:
                bfd += _SESSION.format(
                    number=number, here=own, own_as=65010, there=peer, peer_as=65515, more=options
                )
                continue
            file = network.nodes.directory / f"hold{number}.conf"
            text = _EXABGP.format(router=peer, own=own, hold=session.hold)
            file.write_text(text, encoding="utf-8")
            command = (sys.executable, "-m", "exabgp", "server", str(file))
            self.speakers.append(Program(network.nodes, A.node("nva"), f"hold{number}", *command))
        self.router = self._start_bird("web", router)
        self.speakers.append(self._start_bird("nva", bfd))

    def _add_address(self, role: str, address: str) -> None:
        command = ("ip", "address", "add", f"{address}/24", "dev", "eth0")
        self.network.nodes.run(A.node(role), *command)

    def _start_bird(self, role: str, text: str) -> Program:
        nodes = self.network.nodes
        file = nodes.directory / f"hold-{role}.conf"
        file.write_text(text, encoding="utf-8")
        control = self.network.control(f"hold-{role}")
        command = ("bird", "-f", "-c", str(file), "-s", control, "-P", f"{control}.pid")
        return Program(nodes, A.node(role), "hold-bird", *command)

    def list_established(self) -> list[bool]:
        """List which of the sessions are established, as the router sees it."""
        ask = ("birdc", "-s", self.network.control("hold-web"), "show", "protocols")
        lines = self.network.nodes.try_run(A.node("web"), *ask).stdout.splitlines()
        return [
            any(line.startswith(f"session{number} ") and "Established" in line for line in lines)
            for number in range(len(self.sessions))
        ]

    def wait_established(self) -> None:
        """Wait until all have been established for a random time, at least three seconds."""

        def are_stable() -> bool:
            wait_for(lambda: all(self.list_established()), 90, "all sessions", 0.2)
            before = self.count_closings()
            pass_time(3.0 + random.uniform(0, 5))  # noqa: S311 - a moment
            return before == self.count_closings() and all(self.list_established())

        wait_for(are_stable, 180, "sessions that stay")

    def count_closings(self) -> list[int]:
        """Count how often the router's sessions went down."""
        text = self.router.log.read_text(encoding="utf-8")
        return [
            text.count(f"session{number}: State changed to stop")
            for number in range(len(self.sessions))
        ]

    def cut_off(self) -> None:
        """Cut the host off once, and note when each session was closed."""
        self.wait_established()
        left = set(range(len(self.sessions)))
        at = self.network.cut(A)
        while left and time.monotonic() - at < LONGEST:
            for number, up in enumerate(self.list_established()):
                if not up and number in left:
                    self.sessions[number].noticed.append(time.monotonic() - at)
                    left.remove(number)
            time.sleep(0.05)
        self.network.mend(A)

    def pause(self, seconds: float) -> None:
        """Stop all speakers for a time once, and note which sessions that closed."""
        self.wait_established()
        before = self.count_closings()
        pids = [pid for each in self.speakers for pid in each.pids]
        signal_all(pids, signal.SIGSTOP)
        pass_time(seconds)
        for each in self.speakers:
            each.resume()
        pass_time(1.0)
        for session, old, new in zip(self.sessions, before, self.count_closings(), strict=True):
            session.closed[f"{seconds:g}"] = session.closed.get(f"{seconds:g}", 0) + (new > old)

    def end(self) -> None:
        """End all speakers and the router."""
        for program in (*self.speakers, self.router):
            program.resume()
            program.end()


def measure_holds(network: Network, times: int) -> dict[str, Any]:
    """Measure all kinds of sessions ``times`` times; return the figures."""
    sessions = Sessions(network)
    try:
        for _ in range(times):
            sessions.cut_off()
            for seconds in PAUSES:
                sessions.pause(seconds)
    finally:
        sessions.end()
    return {
        "trials": times,
        "pauses": list(PAUSES),
        "rows": {
            each.title: {"noticed": each.noticed, "closed": each.closed}
            for each in sessions.sessions
        },
    }
