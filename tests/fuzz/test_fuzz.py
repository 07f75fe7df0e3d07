"""A short run over every surface with a new seed each time, and inputs that once were faults."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.edits import Edit, apply_edits
from fuzz.engine import FoundError, Surface, run, try_input
from fuzz.surfaces import SURFACES

BY_NAME = {surface.name: surface for surface in SURFACES}
FOUND = sorted((Path(__file__).parent / "found").iterdir())
INPUTS, SECONDS = 500, 4.0

edits = st.builds(
    Edit,
    kind=st.integers(0, 63),
    place=st.floats(0, 1),
    length=st.floats(0, 1),
    piece=st.integers(0, 255),
    times=st.sampled_from((1, 2, 100, 5000)),
)


@pytest.fixture(autouse=True)
def _without_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_a_short_run(surface: Surface) -> None:
    """No input raises, hangs or takes much memory; the seed is new in each run."""
    seed = random.SystemRandom().randrange(1 << 32)
    try:
        count = run(surface, seed, inputs=INPUTS, seconds=SECONDS, shrink_seconds=10)
    except FoundError as found:
        pytest.fail(f"make fuzz FUZZ='--surface {surface.name} --seed {seed}'\n{found}")
    assert count.inputs > len(surface.seeds)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_edits_of_sound_inputs(surface: Surface, data: st.DataObject) -> None:
    """The same, with edits that hypothesis chooses and shortens."""
    seed = data.draw(st.sampled_from(surface.seeds))
    chosen = data.draw(st.lists(edits, max_size=6))
    try_input(surface, apply_edits(seed, chosen, surface.pieces))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    """Each file holds the shortest input that once broke a bound of the surface in its name."""
    surface = BY_NAME[path.name.rpartition("-")[0]]
    try_input(surface, path.read_bytes(), with_memory=True)


# The engine itself --------------------------------------------------------------------------------


def _surface(feed: object) -> Surface:
    return Surface("planted", "a test", (b"name: value", b"name: 1"), (b"x", b"::"), feed)  # type: ignore[arg-type]


def test_an_exception_is_found_and_shortened() -> None:
    """The input that is reported holds little more than what the fault needs."""

    def feed(data: bytes) -> None:
        if b"::" in data:
            raise KeyError("planted")

    with pytest.raises(FoundError, match="KeyError") as found:
        run(_surface(feed), 1, inputs=100_000)
    assert found.value.data == b"::"


def test_quadratic_time_is_found() -> None:
    """A pattern that needs a second for 16 kB is no parser of ours."""
    pattern = re.compile(rb"(\S+) has no server available!")
    with pytest.raises(FoundError, match="took"):
        run(_surface(pattern.search), 1, inputs=100_000, shrink_seconds=1)


def test_an_endless_loop_is_found() -> None:
    """It is ended after some seconds."""

    def feed(data: bytes) -> None:
        while data:
            pass

    with pytest.raises(FoundError, match="did not end"):
        try_input(_surface(feed), b"x")


def test_much_memory_is_found() -> None:
    """A copy of the input for each of its bytes is too much."""

    def feed(data: bytes) -> None:
        if len(data) > 1000:
            [data[start:] for start in range(0, len(data), 4)]

    try_input(_surface(feed), bytes(10), with_memory=True)
    with pytest.raises(FoundError, match="memory"):
        try_input(_surface(feed), bytes(20_000), with_memory=True)
