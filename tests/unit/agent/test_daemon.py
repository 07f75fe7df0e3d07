"""The agent's end when one of its parts ends by itself: the error is the part's own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from pathlib import Path

import pytest

from anycastd.agent.daemon import Daemon
from anycastd.agent.endings import LostError
from anycastd.agent.lease_client import LeaseClient
from anycastd.agent.start_context import AgentPaths, StartContext
from anycastd.agent.supervisor import SpeakerEndedError, Supervisor
from anycastd.lease.messages import Report
from support.appliance import own_network
from support.profiles import TEXT, profile

pytestmark = pytest.mark.root


def build(directory: Path, speaker: Supervisor | None = None) -> Daemon:
    """Build an agent without HAProxy, all of whose files are in ``directory``."""
    paths = AgentPaths(str(directory / "lease.sock"), str(directory), str(directory / "state"))
    context = StartContext((), {}, str(directory / "profile.yaml"))
    return Daemon(profile(), TEXT, context, paths, speaker, lambda: TEXT)


def test_another_agent_that_takes_over_is_named(tmp_path: Path) -> None:
    """The lease's report says which; the agent ends, and its control socket is removed."""
    lost = Report("one", 0, 0, None, {}, leased=(), lost="pid 7 took the lease over")

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(lost.dump())
        await writer.drain()
        writer.close()

    async def scene() -> None:
        async with await asyncio.start_unix_server(serve, str(tmp_path / "lease.sock")):
            await build(tmp_path).run()

    with own_network(), pytest.raises(LostError, match="pid 7 took the lease over"):
        asyncio.run(scene())
    assert not (tmp_path / "agent.sock").exists()


def test_a_part_that_ends_by_itself_ends_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an error of its own, too: an agent that lacks a part must not go on."""

    async def end(_: LeaseClient) -> None:
        return

    monkeypatch.setattr(LeaseClient, "run", end)
    with own_network(), pytest.raises(LostError, match="a part of the agent ended by itself"):
        asyncio.run(build(tmp_path).run())
    assert not (tmp_path / "agent.sock").exists()


def test_a_speaker_that_cannot_run_is_the_error(tmp_path: Path) -> None:
    """Its exit code is the agent's: the profile that it should read is not there."""
    missing = ("--profile", str(tmp_path / "missing.yaml"), "--directory", str(tmp_path / "sp"))
    with own_network(), pytest.raises(SpeakerEndedError) as ended:
        asyncio.run(build(tmp_path, Supervisor(missing)).run())
    assert ended.value.code == 78


def test_the_collector_of_garbage_works_again_without_a_decision(tmp_path: Path) -> None:
    """`run` starts without it; an agent that cannot decide yet needs it all the same."""

    async def scene() -> None:
        agent = asyncio.create_task(build(tmp_path).run())
        async with asyncio.timeout(60):
            while not gc.isenabled():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        agent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await agent

    gc.disable()
    try:
        with own_network():
            asyncio.run(scene())
    finally:
        gc.enable()
        gc.unfreeze()
