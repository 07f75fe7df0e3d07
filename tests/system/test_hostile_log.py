"""A log that nobody reads, or that is flooded: the agent and the speaker go on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.drains import run_anycastd
from support.peer import wait_for
from support.processes import WITH_ALL_SIGNALS

pytestmark = pytest.mark.root


@pytest.fixture(params=["pipe", "socket"])
def full_pipe(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe that is full: the next write to it waits.

    The journal has a stream socket for each unit: that is what it is while journald is stopped.
    """
    if request.param == "pipe":
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    else:
        reader, writer = (one.detach() for one in socket.socketpair(type=socket.SOCK_STREAM))
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 512)
    os.set_blocking(writer, True)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def start(
    one: Appliance, place: str, log: int, python: str = sys.executable
) -> subprocess.Popen[bytes]:
    """Start the agent or the speaker with its log in a descriptor."""
    command, more = ("run", ("--lease", str(one.lease))) if place == "agent" else ("speaker", ())
    return subprocess.Popen(
        [*WITH_ALL_SIGNALS, *one.command(python, command, place), *more],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=one.environment,
    )


def test_an_agent_whose_log_nobody_reads(tmp_path: Path, full_pipe: tuple[int, int]) -> None:
    """It announces, answers, withdraws in time, reloads and stops."""  # review M8
    reader, writer = full_pipe
    with own_network(), Appliance(tmp_path) as one:
        one.start_speaker()
        one.agent = start(one, "agent", writer)
        one.wait_path(1)
        one.wait_confirmed()
        assert run_anycastd(one, "status").returncode == 0
        before = one.status()["pid"]
        assert run_anycastd(one, "reload").returncode == 0
        assert one.status()["pid"] == before
        for backend in one.backends:
            backend.stop()
        one.wait_path(0)
        one.agent.terminate()
        assert one.agent.wait(30) == 0
        os.set_blocking(reader, False)
        assert os.read(reader, 1 << 16).startswith(b"xxx")


def test_a_speaker_whose_log_nobody_reads(
    tmp_path: Path, full_pipe: tuple[int, int], exabgp_python: str
) -> None:
    """It announces, withdraws and stops."""
    with own_network(), Appliance(tmp_path) as one:
        one.speaker = start(one, "speaker", full_pipe[1], exabgp_python)
        one.start_agent()
        one.wait_path(1)
        one.peers[0].drop()
        wait_for(lambda: one.peers[0].table, 30, one.log())
        for backend in one.backends:
            backend.stop()
        one.wait_path(0)
        one.speaker.terminate()
        assert one.speaker.wait(30) == 0
