"""The memory of services across a restart of the agent."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.agent.memory_store import MemoryStore
from anycastd.agent.state_file import StateFile
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, advance
from anycastd.evidence.sources import Evidence
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from support.json_values import json_values
from support.policy_driver import view
from support.profiles import profile
from support.snapshots import NO, snapshot


def memory_dumps() -> st.SearchStrategy[object]:
    """Return a strategy of what is stored of a service, with any values."""
    keys = st.sampled_from(["failures", "failed", "changed", "returned", "announced"])
    return st.dictionaries(keys, st.integers(0, 3) | json_values()) | json_values()


def open_store(state: Path, web_profile: Profile, at: float) -> MemoryStore:
    """Open the store of an agent whose own time begins at ``at``."""
    return MemoryStore(web_profile, OwnTime(monotonic=lambda: at), str(state))


def save_a_failure(state: Path, web_profile: Profile) -> None:
    """Save what an agent knows that has seen its third failure, at 1,000 s."""
    store = open_store(state, web_profile, 1000.0)
    memory = {"web": Memory(failures=2, failed_at=900.0)}
    step = advance(
        web_profile,
        memory,
        Inputs(Evidence({"main": snapshot(NO, asked_at=1000.0)}), {}, view()),
        1000.0,
    )
    assert step.transitions == ()
    store.save_if_changed(step, memory, 1000.0)
    asyncio.run(store.flush())
    assert not list(state.glob("*"))  # nothing has happened yet

    well = Memory(level=step.decisions["web"].level.PREFERRED, adopted=True)
    memory = {"web": well}
    step = advance(
        web_profile,
        memory,
        Inputs(Evidence({"main": snapshot(NO, asked_at=1000.0)}), {}, view()),
        1000.0,
    )
    assert step.transitions
    store.save_if_changed(step, {"web": Memory(failures=3, failed_at=1000.0)}, 1000.0)
    asyncio.run(store.flush())


def test_the_next_agent_knows_of_failures(tmp_path: Path) -> None:
    """Their number, and how long ago the last one was by its own clock."""
    web_profile = profile()
    save_a_failure(tmp_path / "state", web_profile)
    memory = open_store(tmp_path / "state", web_profile, 50.0).load()
    assert memory["web"].failures == 3
    assert memory["web"].failed_at is not None
    assert 50.0 - 60.0 < memory["web"].failed_at <= 50.0


def test_what_changes_without_a_change_of_level_is_kept_too(tmp_path: Path) -> None:
    """Another failure while the service is withdrawn."""
    web_profile = profile()
    store = open_store(tmp_path, web_profile, 1000.0)
    for failures in (1, 1, 2):
        memory = {"web": Memory(failures=failures, failed_at=900.0 + failures)}
        look = {"main": snapshot(NO, asked_at=1000.0)}
        step = advance(web_profile, memory, Inputs(Evidence(look), {}, view()), 1000.0)
        assert step.transitions == ()
        store.save_if_changed(step, memory, 1000.0)
        asyncio.run(store.flush())
        assert (tmp_path / "memory.json").exists() == (failures == 2)


def test_a_service_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """No decision needs it any more."""
    save_a_failure(tmp_path / "state", profile())
    other = profile(("  web:\n", "  www:\n"))
    assert open_store(tmp_path / "state", other, 50.0).load() == {}


@pytest.mark.parametrize("value", ["7", '{"web": 7}', '{"web": {"failures": "x"}}', "null"])
def test_what_is_no_memory_is_put_aside(tmp_path: Path, value: str) -> None:
    """The agent begins without a memory, and reports it."""
    save_a_failure(tmp_path, profile())
    file = tmp_path / "memory.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.split('"value": ')[0] + f'"value": {value}}}', encoding="utf-8")
    store = open_store(tmp_path, profile(), 50.0)
    assert store.load() == {}
    assert "what services have been through" in store.list_problems()[0]


@given(st.dictionaries(st.sampled_from(["web", "other"]), memory_dumps()) | json_values())
def test_any_value_is_read_or_put_aside(value: object) -> None:
    """Nothing raises, and no time that comes of it is infinite."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(StateFile(directory, "memory", "things").save(value))
        memory = open_store(Path(directory), profile(), 1000.0).load()
        for each in memory.values():
            assert each.failed_at is None or -1e9 < each.failed_at <= 1000.0
            assert each.changed_at is None or -1e9 < each.changed_at <= 1000.0
