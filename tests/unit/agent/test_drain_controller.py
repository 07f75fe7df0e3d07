"""What an operator is told when a drain begins, and what the drain then does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.drain_controller import DrainController
from anycastd.agent.inbox import Inbox
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import advance
from anycastd.evidence.haproxy.servers import Usable
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from anycastd.views.events import Event
from support.descriptors import no_free_descriptor
from support.policy_driver import view
from support.profiles import profile
from support.snapshots import NO, YES, snapshot
from support.waiting import eventually

# No agent listens there, so the other region never counts as serving.
REGIONS = (
    "platform: plain\n",
    (
        'platform: plain\nregions: [{name: northeurope, agent: "127.0.0.1:2"}, '
        '{name: westeurope, agent: "127.0.0.1:1"}]\n'
    ),
)

NO_DRAINS = '{"v": 1, "boot": "", "awake": 1.0, "wall": 1.8e9, "value": []}'


class Agent:
    """A controller, its inbox, and a pass whenever one is asked for."""

    def __init__(self, its: Profile, state: Path) -> None:
        self.now = 1000.0
        self.events: list[Event] = []
        self.profile = its
        self.memory = {"web": Memory()}
        self.inbox = Inbox()
        self.inbox.lease = view()
        self.drains = DrainController(
            its, self.inbox, OwnTime(monotonic=lambda: self.now), str(state), self.events.append
        )

    def run_pass(self, *servers: Usable) -> Level:
        """Run a pass on a look that was taken right now; the level that it decides."""
        self.inbox.store_observation("main", snapshot(*servers, asked_at=self.now))
        step = advance(self.profile, self.memory, self.inbox.copy_inputs(), self.now)
        self.memory = dict(step.memory)
        self.drains.apply_pass_result(step)
        return step.decisions["web"].level

    async def drain(self, *servers: Usable, **arguments: Any) -> list[str]:
        """Ask for a drain as the control socket does; run the pass that it waits for."""
        self.run_pass(*servers)
        asking = asyncio.create_task(self.drains.drain({"reason": "new kernel", **arguments}))
        await eventually(lambda: self.inbox.drains or asking.done())
        self.run_pass(*servers)
        answer = await asking
        assert "refused" not in answer, answer
        said: list[str] = answer["said"]
        return said


def returns(agent: Agent) -> Level:
    """Let the servers be well again for some seconds; the level that comes of it."""
    for _ in range(4):
        agent.now += 1.0
        agent.run_pass(YES, YES)
    return agent.run_pass(YES, YES)


def test_a_withdrawn_service_may_return_while_no_other_region_serves(tmp_path: Path) -> None:
    """The operator is told so, and it is what happens."""

    async def scene() -> None:
        agent = Agent(profile(REGIONS), tmp_path)
        said = await agent.drain(NO, NO)
        assert said == [
            (
                "web: is withdrawn already, and stays so once another region is known to serve; "
                "until then it may return at standby"
            )
        ]
        assert returns(agent) is Level.STANDBY

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [([], {}), ([REGIONS], {"force": True}), ([REGIONS], {"stopping": True})],
    ids=["no regions", "force", "stop"],
)
def test_a_withdrawn_service_stays_withdrawn_if_no_region_is_asked(
    tmp_path: Path, changes: list[tuple[str, str]], arguments: dict[str, bool]
) -> None:
    """It goes at once, and nothing brings it back during the drain."""

    async def scene() -> None:
        agent = Agent(profile(*changes), tmp_path)
        said = await agent.drain(NO, NO, **arguments)
        assert said[0] == "web: is withdrawn already, and stays so"
        assert returns(agent) is Level.WITHDRAWN

    asyncio.run(scene())


def store_drain(state: Path) -> None:
    """Let an agent store a drain of all services."""

    async def scene() -> None:
        await Agent(profile(REGIONS), state).drain(NO, NO)

    asyncio.run(scene())


@pytest.mark.parametrize("stored", [True, False])
def test_drains_that_cannot_be_read_for_a_moment_are_retry_read(
    tmp_path: Path, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the service is kept at the longest path; then the drain of before goes on."""
    monkeypatch.setattr("anycastd.agent.drain_store.READ_INTERVAL", 0.01)
    (tmp_path / "drains.json").write_text(NO_DRAINS, encoding="utf-8")
    if stored:
        store_drain(tmp_path)

    async def scene() -> None:
        agent = Agent(profile(REGIONS), tmp_path)
        with no_free_descriptor():
            agent.drains.load()
        assert [drain.unreadable for drain in agent.inbox.drains.values()] == [True]
        assert returns(agent) is Level.STANDBY
        running = asyncio.create_task(agent.drains.run())
        await eventually(lambda: not any(d.unreadable for d in agent.inbox.drains.values()))
        assert [drain.reason for drain in agent.inbox.drains.values()] == ["new kernel"] * stored
        assert agent.drains.list_problems() == ()
        levels = {returns(agent) for _ in range(30)}
        assert (Level.PREFERRED in levels) is not stored
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())
    assert [each.name for each in tmp_path.iterdir()] == ["drains.json"]


def test_a_command_sets_drains_aside_that_were_not_read(tmp_path: Path) -> None:
    """The operator decides; the file is kept, and the status names it."""
    store_drain(tmp_path)

    async def scene() -> None:
        agent = Agent(profile(REGIONS), tmp_path)
        with no_free_descriptor():
            agent.drains.load()
        assert "cannot be read now" in agent.drains.list_problems()[0]
        agent.run_pass(YES, YES)
        asking = asyncio.create_task(agent.drains.undrain({"by": "me"}))
        await eventually(lambda: not agent.inbox.drains)
        agent.run_pass(YES, YES)
        assert "refused" not in await asking
        assert "drains.json.unreadable" in agent.drains.list_problems()[0]

    asyncio.run(scene())
    next_agent = Agent(profile(REGIONS), tmp_path)
    next_agent.drains.load()
    assert next_agent.inbox.drains == {}
