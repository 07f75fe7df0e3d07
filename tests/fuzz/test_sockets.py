"""A short run of hostile inputs through the sockets of an appliance, and what the judge finds."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fuzz.clients import WAYS, send_inputs
from fuzz.rig import Judge, Rig, SocketFaultError, count_descriptors, run_rig
from fuzz.sockets import TARGETS, Feeder, Target, feed_target

pytestmark = pytest.mark.root

SHORT = [each for each in TARGETS if each.name not in ("lease-owner", "state-files", "exabgp")]
"""The others start processes anew, which takes long: `make fuzz` has them."""


@dataclass
class Running:
    """A running appliance, its judge, and the inputs of this run with their seed."""

    rig: Rig
    judge: Judge
    feeder: Feeder
    seed: int


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run an appliance for all tests of this file; the seed is new in each run."""
    seed = random.SystemRandom().randrange(1 << 32)
    feeder = Feeder(random.Random(seed), scale=0.2, seconds=1.0)  # noqa: S311 - to be repeated
    with run_rig(tmp_path_factory.mktemp("sockets"), seed, feeder.draw_region) as rig:
        yield Running(rig, Judge(rig), feeder, seed)


@pytest.mark.parametrize("target", SHORT, ids=lambda target: target.name)
def test_a_short_run(one: Running, target: Target) -> None:
    """Every process lives and is as before, and no peer saw what it must not."""
    for way in target.ways:
        try:
            assert feed_target(one.rig, one.judge, one.feeder, target, way) > 0
        except SocketFaultError as fault:
            pytest.fail(f"{target.name}, {way}, seed {one.seed}: {fault}\n{one.feeder.batch}")


# The judge itself ---------------------------------------------------------------------------------


def test_the_judge_sees_a_route_that_changes(one: Running) -> None:
    """Where all servers stop, the route goes, and that is no fault of any input."""
    one.judge.settle()
    for backend in one.rig.appliance.backends:
        backend.stop()
    one.rig.wire.wait(0, 20)
    for backend in one.rig.appliance.backends:
        backend.start()
    one.judge.wait_back()
    with pytest.raises(SocketFaultError, match="the route has changed"):
        one.judge.check()
    one.judge.check(may_change=True)


def test_the_judge_sees_a_descriptor_that_stays(one: Running) -> None:
    """A client that keeps its connection has the agent keep one, too; here it may not."""
    one.judge.settle()
    one.judge.descriptors["agent"] = count_descriptors(one.judge.pids["agent"]) - 2
    with pytest.raises(SocketFaultError, match="descriptors"):
        one.judge.check(patience=0.2)


def test_the_judge_sees_what_is_logged_and_who_has_ended(one: Running) -> None:
    """Last of this file: the log keeps what is written here."""
    one.judge.settle()
    one.judge.pids["lease"] += 1
    with pytest.raises(SocketFaultError, match="lease has ended"):
        one.judge.check()
    path = Path(one.rig.appliance.directory, "agent.err")
    with path.open("a", encoding="utf-8") as log:
        log.write("Traceback (most recent call last):\n")
    with pytest.raises(SocketFaultError, match="the log has"):
        one.judge.check()


@pytest.mark.parametrize("way", WAYS)
def test_each_way_sends_all_inputs(way: str) -> None:
    """Whole, slowly or together: each input arrives on a connection of its own."""
    inputs = [b"first\n", b"", b"x" * 1000]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]

        def connect() -> socket.socket:
            return socket.create_connection(("127.0.0.1", port), 20)

        if way == "many":  # the second of two is closed by a reset, and may lose what it sent
            inputs = inputs[::2][:1]
        send_inputs(way, connect, inputs)
        found = []
        for _ in inputs:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                data = b""
                while piece := connection.recv(1 << 16):
                    data += piece
                found.append(data)
    assert found == inputs
