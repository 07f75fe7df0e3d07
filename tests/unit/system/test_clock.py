from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.system.clock import OwnTime

ROOT = Path(__file__).resolve().parents[3]


class Hands:
    """A time source whose hands are moved by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        """Read it."""
        return self.at


@pytest.fixture
def hands() -> Hands:
    """Give a clock's time source."""
    return Hands()


def test_own_time_follows_the_clock_between_and_at_ticks(hands: Hands) -> None:
    """While ticks are on time, own time is the clock's time."""
    clock = OwnTime(0.05, hands)
    assert clock.now() == 100.0
    for _ in range(100):
        hands.at += 0.02
        assert clock.now() == pytest.approx(hands.at)
        hands.at += 0.04
        clock.tick()
        assert clock.now() == pytest.approx(hands.at)
    assert clock.stalled == pytest.approx(0)


def test_a_stall_counts_as_two_ticks(hands: Hands) -> None:
    """A pause of the whole machine spends 0.1 s of a deadline, however long it was."""
    clock = OwnTime(0.05, hands)
    hands.at += 5
    assert clock.now() == pytest.approx(100.1), "already before the late tick"
    clock.tick()
    assert clock.now() == pytest.approx(100.1)
    assert clock.stalled == pytest.approx(4.9)
    hands.at += 0.05
    clock.tick()
    assert clock.now() == pytest.approx(100.15), "and then it goes on as before"


def test_without_ticks_it_stands_still(hands: Hands) -> None:
    """Whoever forgets to tick sees that at once: no deadline ever comes."""
    clock = OwnTime(0.1, hands)
    for _ in range(10):
        hands.at += 1
        assert clock.now() == pytest.approx(100.2)


def test_two_that_tick_are_one(hands: Hands) -> None:
    """A second owner that ticks, too, does not make time run faster."""
    clock = OwnTime(0.05, hands)
    hands.at += 3
    for _ in range(5):
        clock.tick()
    assert clock.now() == pytest.approx(100.1)


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=50))
def test_it_never_goes_back_and_never_passes_the_clock(steps: list[tuple[float, bool]]) -> None:
    """Own time is monotonic, at most the clock's, and a step is two ticks at most."""
    hands = Hands()
    clock = OwnTime(0.05, hands)
    before = clock.now()
    for step, ticks in steps:
        hands.at += step
        if ticks:
            clock.tick()
        now = clock.now()
        assert before <= now <= hands.at + 1e-9
        assert now - before <= 0.1 + 1e-9
        assert clock.stalled == pytest.approx(hands.at - now)
        before = now


def test_it_costs_the_lease_process_nothing() -> None:
    """The clock is in the small lease process: it loads neither asyncio nor anything foreign."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import anycastd.system.clock; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split()
    assert "anycastd.system.clock" in loaded
    assert "asyncio" not in loaded
