"""The lease is renewed in each quarter of it, although a pass may leave the renewal to the next."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from anycastd.agent.decision_loop import PASSES_PER_LEASE, DecisionLoop, Sinks
from anycastd.agent.inbox import Inbox
from anycastd.lease.repetition import SPARED_SHARE
from anycastd.system.clock import OwnTime
from support.profiles import profile


@pytest.mark.parametrize("spared_for", [0.0, 0.5, 5.0 / SPARED_SHARE])
def test_the_next_pass_is_a_quarter_of_the_lease_after_the_newest_want(
    spared_for: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that sends nothing does not put off the next renewal."""
    waited: list[float | None] = []
    passed = SimpleNamespace(wanted=(), wake_at=None)

    class OnePass(Inbox):
        async def wait_for_news(self, timeout: float | None) -> None:
            waited.append(timeout)
            raise asyncio.CancelledError

    lease = SimpleNamespace(spared_for=spared_for)
    sinks = cast("Sinks", SimpleNamespace(lease=lease))
    loop = DecisionLoop(profile(), OwnTime(), OnePass(), sinks, lambda: None)
    monkeypatch.setattr(loop, "_run_pass", lambda: passed)

    def send(_: Any) -> None:
        """Send what the pass wants: nothing here."""

    monkeypatch.setattr(loop, "_send", send)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(loop.run())
    assert waited == [profile().ttl / PASSES_PER_LEASE - spared_for]
    assert SPARED_SHARE > PASSES_PER_LEASE, "the rest would be no time at all"
