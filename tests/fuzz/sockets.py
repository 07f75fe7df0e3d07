"""Feed a running appliance through its sockets with hostile inputs, and judge what they did.

``python tests/fuzz/sockets.py --seed N --seconds S``, as root; `make fuzz` does it after the
parsers.  Each surface is fed in three ways (whole, slow, many), in rounds, until the time is over.
After each batch every process must live, no log may have a traceback, memory and descriptors must
be as before, and no peer may have seen a route that is not ours, nor any change where none of the
inputs may cause one.  At the first fault it prints it, writes the batch to files, and ends with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from anycastd.agent.control_client import CHANGES
from anycastd.lease.messages import MessageError, Want, parse_agent_message
from fuzz.clients import WAYS, send_inputs
from fuzz.engine import Surface, generate
from fuzz.middle import BAD, ODD
from fuzz.rig import BACK, DEADLINE, NOBODY, SLACK, TTL, Judge, Rig, SocketFaultError, run_rig
from fuzz.surfaces import SURFACES
from support.appliance import PEERS, VIP
from support.lease_rig import route, want
from support.peer import wait_for
from support.users import run_as

BY_NAME = {surface.name: surface for surface in SURFACES}
COUNT = {"whole": 40, "slow": 16, "many": 80}
"""How many inputs a batch has, by way; a short run has a part of them."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n"
REGION = replace(
    BY_NAME["region-report"],
    seeds=tuple(
        HEAD + seed.replace(b": true", b": false") for seed in BY_NAME["region-report"].seeds
    ),
    pieces=(*BY_NAME["region-report"].pieces, b"HTTP/1.1 200 ", b"\r\n\r\n"),
)
"""Reports of a region that does not serve: a drain that needs it must be refused."""


@dataclass(slots=True)
class Feeder:
    """It draws inputs, and remembers the newest ones: ``batch``.

    ``way``: how they are sent.  ``scale``: the part of COUNT that a batch has.  ``seconds``: how
    long HAProxy's answers are spoiled.
    """

    source: random.Random
    way: str = "whole"
    scale: float = 1.0
    seconds: float = 4.0
    batch: list[bytes] = field(default_factory=list)

    def draw(self, surface: Surface, wanted: Callable[[bytes], bool] = bool) -> list[bytes]:
        """Draw a batch of inputs that are ``wanted``."""
        self.batch = []
        while len(self.batch) < max(2, COUNT[self.way] * self.scale):
            if wanted(data := generate(surface, self.source)):
                self.batch.append(data)
        return self.batch

    def draw_region(self) -> bytes:
        """Draw an answer of the other region, which does not say that it serves."""
        while not _serves_nothing(data := generate(REGION, self.source)):
            pass
        self.batch = [*self.batch[-20:], data]
        return data


def _serves_nothing(answer: bytes) -> bool:
    body = answer.partition(b"\r\n\r\n")[2]
    with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return json.loads(body)["vips"][f"{VIP}/32"].get("serves") is not True
    return True


# Surfaces: each returns how many inputs it fed ----------------------------------------------------


def feed_control(rig: Rig, feeder: Feeder) -> int:
    """Ask as root what changes nothing, and everything as somebody who may only read."""

    def connect() -> socket.socket:
        return _connect_unix(rig.agent_socket)

    surface = BY_NAME["control-request"]
    harmless = feeder.draw(surface, lambda data: not _asks_for_change(data))
    send_inputs(feeder.way, connect, harmless)
    inputs = feeder.draw(surface)
    run_as(NOBODY, [NOBODY], lambda: send_inputs(feeder.way, connect, inputs))
    return len(harmless) + len(inputs)


def _asks_for_change(data: bytes) -> bool:
    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
        return str(json.loads(data.partition(b"\n")[0])["ask"]) in CHANGES
    return False


def feed_http(rig: Rig, feeder: Feeder) -> int:
    """Send requests to the HTTP port."""
    inputs = feeder.draw(BY_NAME["http-request"])
    send_inputs(feeder.way, lambda: socket.create_connection(rig.web, 2), inputs)
    return len(inputs)


def feed_lease(rig: Rig, feeder: Feeder) -> int:
    """Send messages to the lease process, as the agent's user and as nobody: none is the agent's.

    Their epochs are older than the agent's, so that none may take the lease over.
    """
    surface, count = _lease_surface(1), 0
    for user in (0, NOBODY):
        inputs = feeder.draw(surface, lambda data: not _takes_over(data, rig.began_at))
        send = partial(send_inputs, feeder.way, partial(_connect_unix, str(rig.appliance.lease)))
        run_as(user, [user], partial(send, inputs))
        count += len(inputs)
    return count


def feed_lease_owner(rig: Rig, feeder: Feeder) -> int:
    """Send messages that take the lease over, as an agent would that somebody else controls."""
    inputs = feeder.draw(_lease_surface(time.monotonic_ns()))
    send_inputs(feeder.way, lambda: _connect_unix(str(rig.appliance.lease)), inputs)
    rig.stop_agent()
    rig.start_agent()
    return len(inputs)


def _lease_surface(epoch: int) -> Surface:
    pid = os.getpid()
    both = want(1, route(), route(neighbor=PEERS[1], asns=7), epoch=epoch, pid=pid)
    seeds = (both, both + want(2, epoch=epoch, pid=pid), b'{"v": 1, "reload": true}\n')
    return replace(BY_NAME["agent-message"], seeds=seeds)


def _takes_over(data: bytes, epoch: int) -> bool:
    for line in data.split(b"\n"):
        with contextlib.suppress(MessageError):
            message = parse_agent_message(line)
            if isinstance(message, Want) and message.epoch >= epoch:
                return True
    return False


def feed_region(rig: Rig, feeder: Feeder) -> int:
    """Ask for a drain while the other region's agent says anything but that it serves."""
    rig.region.way, rig.region.answered = feeder.way, 0
    for _ in range(max(1, int(8 * feeder.scale))):
        answer = rig.ask({"ask": "drain", "with": {"service": "web", "reason": "fuzz"}})
        if "error" not in answer and answer.get("code") is None:
            raise SocketFaultError(f"a drain began: {answer}")
    return rig.region.answered


def feed_haproxy(rig: Rig, feeder: Feeder) -> int:
    """Spoil one of three of HAProxy's answers; then all of them, so that no route may stay."""
    proxy = rig.proxy
    proxy.kinds, proxy.one_in = ODD, 3
    _let_pass(feeder.seconds / 2)
    proxy.kinds, proxy.one_in = BAD, 1
    bound = DEADLINE + TTL + SLACK
    began = time.monotonic()
    try:
        wait_for(lambda: rig.wire.lengths() == [0, 0], bound)
    except AssertionError:
        raise SocketFaultError(f"a route stays {bound:g} s without an answer") from None
    gone_at = time.monotonic()
    _let_pass(max(0.5, feeder.seconds / 2 - (gone_at - began)))
    if any(change.route is not None for change in rig.wire.changes(gone_at)):
        raise SocketFaultError("a route came back without an answer")
    spoiled = proxy.spoiled
    proxy.be_well()
    return spoiled


def feed_events(rig: Rig, feeder: Feeder) -> int:
    """Put events that never happened into the stream, and end it now and then."""
    rig.proxy.spoils_events = True
    _let_pass(feeder.seconds / 2)
    spoiled = rig.proxy.spoiled
    rig.proxy.be_well()
    return spoiled


def feed_exabgp(rig: Rig, feeder: Feeder) -> int:
    """Write lines into the pipe on which ExaBGP talks to the lease process.

    Where they look like answers, the lease process may end ExaBGP, which is started again.
    """
    surface = BY_NAME["exabgp-line"]
    # What a session negotiated is said once: a false word that can be read counts until its end.
    unsaid = tuple(piece for piece in surface.pieces if b"negotiated" not in piece)
    inputs = feeder.draw(replace(surface, pieces=unsaid))
    try:
        pipe = os.open(f"/proc/{rig.find_pids()['lease']}/fd/0", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # no pipe, but a socket: it has no second end to open
        return 0
    try:
        for data in inputs:
            pieces = [data[i : i + 1] for i in range(200)] if feeder.way == "slow" else [data]
            for piece in pieces:
                with contextlib.suppress(OSError):
                    os.write(pipe, piece)
            with contextlib.suppress(OSError):
                os.write(pipe, b"\n")
            if feeder.way != "many":
                time.sleep(0.01)
    finally:
        os.close(pipe)
    _let_pass(0.5)  # what was written is read by then
    wait_for(rig.recovers, BACK + 20, f"ExaBGP and its routes\n{rig.appliance.log()[-3000:]}")
    rig.open_sockets()
    return len(inputs)


def feed_state(rig: Rig, feeder: Feeder) -> int:
    """Start the agent on state files that somebody has changed, and then on none."""
    count = 0
    for name in ("drains", "memory"):
        (data,) = feeder.draw(_state_surface(name))[:1]
        rig.stop_agent()
        rig.clear_state()
        (rig.state / f"{name}.json").write_bytes(data)
        rig.start_agent()
        rig.ask({"ask": "undrain", "with": {"service": None}})
        count += 1
    rig.stop_agent()
    rig.clear_state()
    rig.start_agent()
    return count


def _state_surface(name: str) -> Surface:
    """Build the surface of a whole file; ``surfaces`` has that of what is in it."""
    inner = BY_NAME[f"{name}-file"].seeds[0]
    value = inner if name == "drains" else b'{"web": ' + inner + b"}"
    seed = b'{"v": 1, "boot": "another", "awake": 1.0, "wall": 1.8e9, "value": ' + value + b"}"
    return replace(BY_NAME[f"{name}-file"], seeds=(seed,))


def _connect_unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(2)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _let_pass(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > ends_at, seconds + 5)


@dataclass(frozen=True, slots=True)
class Target:
    """A socket or a file of the running appliance, and what inputs there may do.

    ``may_change``: the route may change meanwhile; ``may_end``: these processes may end.
    """

    name: str
    feed: Callable[[Rig, Feeder], int]
    ways: tuple[str, ...] = WAYS
    may_change: bool = False
    may_end: tuple[str, ...] = ()


TARGETS = (
    Target("control", feed_control),
    Target("http", feed_http),
    Target("lease", feed_lease),
    Target("region", feed_region),
    Target("haproxy-events", feed_events, ("whole",)),
    Target("haproxy-answers", feed_haproxy, ("whole",), may_change=True),
    Target("lease-owner", feed_lease_owner, may_change=True, may_end=("agent",)),
    Target("state-files", feed_state, ("whole",), may_change=True, may_end=("agent",)),
    Target("exabgp", feed_exabgp, may_change=True, may_end=("exabgp", "lease")),
)


def feed_target(rig: Rig, judge: Judge, feeder: Feeder, target: Target, way: str) -> int:
    """Feed one target in one way, judge it, and return how many inputs it had.

    Raises SocketFaultError.
    """
    judge.settle()
    feeder.way = way
    count = target.feed(rig, feeder)
    if target.may_change:
        judge.wait_back()
    judge.check(may_change=target.may_change, may_end=target.may_end)
    return count


def check_dead_man(rig: Rig, judge: Judge) -> None:
    """Kill the agent, and see that its routes go in time: nothing that was fed before renews them.

    Raises SocketFaultError.
    """
    judge.settle()
    memory = judge.read_memory()
    rig.kill_agent()
    bound = TTL + SLACK
    try:
        wait_for(lambda: rig.wire.lengths() == [0, 0], bound)
    except AssertionError:
        raise SocketFaultError(f"a route stays {bound:g} s without an agent") from None
    rig.start_agent()
    judge.wait_back()
    print("resident memory before the end: ", end="")
    print(", ".join(f"{name} {size:.1f} MB" for name, size in memory.items()))


def main() -> int:
    """Run, print a line for each target and way, and return 1 where an input found a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=300.0, help="of all rounds together")
    parser.add_argument("--target", choices=[each.name for each in TARGETS], action="append")
    parser.add_argument("--found", default="build/fuzz", help="directory for inputs that fail")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("only root can run it: it opens a network namespace of its own", file=sys.stderr)
        return 77
    print(f"seed {options.seed}")
    targets = [each for each in TARGETS if not options.target or each.name in options.target]
    feeder = Feeder(random.Random(options.seed))  # noqa: S311 - to be repeated
    with (
        tempfile.TemporaryDirectory() as place,
        run_rig(Path(place), options.seed, feeder.draw_region) as rig,
    ):
        judge = Judge(rig)
        ends_at = time.monotonic() + options.seconds
        totals: dict[str, int] = {}
        doing = "the start"
        try:
            for target, way in _iter_rounds(targets, judge, ends_at):
                doing = f"{target.name:16} {way:6}"
                count = feed_target(rig, judge, feeder, target, way)
                totals[doing] = totals.get(doing, 0) + count
            doing = "the end of the agent"
            check_dead_man(rig, judge)
        except AssertionError as fault:
            path = Path(options.found, f"sockets-{options.seed}")
            path.mkdir(parents=True, exist_ok=True)
            for number, data in enumerate(feeder.batch):
                (path / str(number)).write_bytes(data)
            print(f"{doing}: {fault}\nthe newest inputs are in {path}", flush=True)
            return 1
        for key, count in totals.items():
            print(f"{key} {count:10,} inputs")
    return 0


def _iter_rounds(
    targets: list[Target], judge: Judge, ends_at: float
) -> Iterator[tuple[Target, str]]:
    """Yield each target with each of its ways, round after round, until the time is over."""
    while True:
        for target in targets:
            for way in target.ways:
                if judge.memory and time.monotonic() > ends_at:
                    return
                yield target, way
        judge.end_round()


if __name__ == "__main__":
    sys.exit(main())
