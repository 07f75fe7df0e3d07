"""Garbage is collected at times, and what Python keeps of freed tuples is given back with it."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator

import pytest

from anycastd.system.garbage import INTERVAL, GarbageCollection


@pytest.fixture(autouse=True)
def _only_ours() -> Iterator[None]:
    """Keep Python from collecting anything by itself."""
    gc.disable()
    yield
    gc.enable()


def count_collections() -> int:
    """Count the full collections of this process so far."""
    return int(gc.get_stats()[2]["collections"])


def test_it_runs_once_in_an_interval() -> None:
    """The first one is due an interval after the first call."""
    before = count_collections()
    collection = GarbageCollection()
    found = []
    for now in (5.0, 6.0, 4.9 + INTERVAL, 5.0 + INTERVAL, 5.1 + INTERVAL, 5.0 + 2 * INTERVAL):
        collection.run_if_due(now)
        found.append(count_collections() - before)
    assert found == [0, 0, 0, 1, 1, 2]


def test_it_leaves_out_what_python_has_done() -> None:
    """A busy process collects by itself: then one more is not needed."""
    collection = GarbageCollection()
    collection.run_if_due(0.0)
    gc.collect()
    before = count_collections()
    collection.run_if_due(INTERVAL)
    assert count_collections() == before
    collection.run_if_due(2 * INTERVAL)
    assert count_collections() == before + 1


def test_it_gives_freed_tuples_back(capfd: pytest.CaptureFixture[str]) -> None:
    """Each tuple of a generator adds one to what Python keeps; a collection empties that."""

    def count_kept() -> int:
        capfd.readouterr()
        sys._debugmallocstats()  # noqa: SLF001 - nothing else says it
        found = re.search(r"(\d+) free 7-sized PyTupleObjects", capfd.readouterr().err)
        if found is None:
            pytest.skip("this Python does not say what it keeps")
        return int(found[1])

    collection = GarbageCollection()
    collection.run_if_due(0.0)
    for _ in range(2_000):
        tuple(number for number in range(7))
    assert count_kept() > 1_500
    collection.run_if_due(INTERVAL)
    assert count_kept() < 100
