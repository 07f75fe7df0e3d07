"""A recording, run again with its own profile, gives exactly the course that was recorded."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycastd.decision.levels import Level
from anycastd.recording.courses import Comparison, compare_courses
from anycastd.recording.reader import NOT_ENDED, RecordingError, RecordingReader
from search.counterexample import record_counterexample, record_events
from search.effort import InvariantError
from search.planting import plant_fault
from search.sequences import DRAIN_EVENTS, EVENTS, search_sequences
from search.surroundings import VARIANTS, build_profile
from search.world import World
from support.profiles import profile

ALL_EVENTS = sorted({*EVENTS, *DRAIN_EVENTS, "return", "maintenance on", "maintenance off"})
FAILURE = ("wait 40", "haproxy failed", "wait 6", "haproxy healthy", "wait 40", "wait 400")


def read(data: bytes) -> RecordingReader:
    """Read a recording from its bytes."""
    return RecordingReader(data.splitlines(keepends=True))


def compare(data: bytes, own: str = "plain", other: str | None = None) -> Comparison:
    """Compare a recording with what its own variant of the profile, or another one, makes of it."""
    tried = None if other is None else build_profile(other)
    return compare_courses(read(data), build_profile(own), tried)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(sorted(VARIANTS)),
    st.lists(st.sampled_from(ALL_EVENTS), min_size=1, max_size=12),
)
def test_the_same_profile_gives_exactly_the_recorded_course(
    variant: str, events: list[str]
) -> None:
    """Time, service, levels, reason and detail of each change are those that were recorded."""
    comparison = compare(record_events(World, variant, events), variant)
    assert comparison.recorded.changes == comparison.simulated.changes
    assert comparison.first_difference is None
    assert comparison.recorded.at_level == comparison.simulated.at_level


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(ALL_EVENTS), min_size=1, max_size=8))
def test_a_simulation_with_an_equal_profile_has_the_same_course(events: list[str]) -> None:
    """Also with passes of its own at each timer, and with its own lease."""
    comparison = compare(record_events(World, "plain", events), other="plain")
    told = [(each.service, each.new, each.reason) for each in comparison.simulated.changes]
    assert told == [(each.service, each.new, each.reason) for each in comparison.recorded.changes]


def test_another_profile_shows_what_would_have_happened() -> None:
    """With `failed: standby` a region without servers stays at the longest path."""
    found = compare(record_events(World, "plain", FAILURE), other="standby")
    assert found.first_difference is not None
    assert Level.WITHDRAWN not in [each.new for each in found.simulated.changes]
    totals = [each.to_json()["services"]["web"] for each in (found.recorded, found.simulated)]
    assert totals[0]["outage"] >= 6
    assert totals[1]["outage"] <= 1.1  # before its first standby


def test_a_timer_that_ends_between_two_lines_has_its_own_pass() -> None:
    """Nothing was recorded when the shorter timer of the other profile ended."""
    data = record_events(
        World, "plain", ("wait 40", "haproxy failed", "haproxy healthy", "wait 300")
    )
    shorter = build_profile("plain")
    service = shorter.services["web"]
    timers = replace(service.return_timers, hold_down=7.0, rise=7.0, spacing=7.0)
    tried = replace(shorter, services={"web": replace(service, return_timers=timers)})
    found = compare_courses(read(data), build_profile("plain"), tried)
    last = found.simulated.changes[-1]
    failed = next(each for each in found.simulated.changes if each.new is Level.WITHDRAWN)
    assert last.new is Level.PREFERRED
    assert last.at - failed.at == pytest.approx(1 + 7, abs=0.01)  # `standby.after`, then the timers


def test_a_note_names_what_the_recording_lacks() -> None:
    """Nobody asked HAProxy for it, so that nothing is known of it."""
    other = profile(("{backend: web, usable: 1}", "{backend: api, usable: 1}"))
    found = compare_courses(
        read(record_events(World, "plain", FAILURE)), build_profile("plain"), other
    )
    assert found.notes == ("the recording has no backend api: it counts as missing",)


def test_a_recording_without_its_end_is_read() -> None:
    """An agent was killed in the middle of a line."""
    data = record_events(World, "plain", FAILURE)
    whole = compare(data)
    lines = data.splitlines(keepends=True)
    cut = b"".join(lines[:-1]) + lines[-1][:10]
    found = compare(cut)
    assert found.ended == NOT_ENDED
    assert found.recorded.changes == whole.recorded.changes


@pytest.mark.parametrize(
    ("number", "old", "new", "message"),
    [
        (
            1,
            b'"anycastd_recording":1',
            b'"anycastd_recording":2',
            "line 1: it has the format 2, and",
        ),
        (
            1,
            b'"anycastd_recording":1',
            b'"anycastd_recording":true',
            "line 1: it has the format True",
        ),
        (1, b"anycastd_recording", b"something", "line 1: it is no recording of"),
        (1, b"{", b"[", "line 1: it is no recording"),
        (1, b'"region"', b'"other"', "line 1: it has the unknown key 'other'"),
        (2, b'"at":', b'"at":-', "line 2: its time is before that of the line above"),
        (2, b'"at":', b'"at":1e999,"x":', "line 2: it has the unknown key 'x'"),
        (2, b'"kind":"Snapshot"', b'"kind":"Other"', "line 2: haproxy.main is none of: Snapshot"),
        (2, b'"YES"', b'"MAYBE"', "line 2: haproxy.main.backends.web.servers.0.usable is none of"),
        (2, b'"usable":true', b'"usable":1', "line 2: vips.203.0.113.10/32.usable is neither true"),
        (2, b'"0":', b'"7":', "line 2: haproxy.main.backends.web.servers is not numbered from 0"),
        (2, b'"lease"', b'"leash"', "line 2: inputs has the unknown key 'leash'"),
        (2, b'"asked_at":1000000000.0', b'"asked_at":NaN', "line 2: it is damaged"),
        (2, b"}", b"", "line 2: it is damaged"),
        (3, b"{", b'{"end":"x","wall":1.0}\n{', "line 4: it stands after the end"),
    ],
)
def test_a_damaged_line_is_refused_with_its_number(
    number: int, old: bytes, new: bytes, message: str
) -> None:
    """Whatever is wrong with it."""
    lines = record_events(World, "plain", FAILURE).splitlines(keepends=True)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    with pytest.raises(RecordingError) as refused:
        compare(b"".join(lines))
    assert str(refused.value).startswith(message)


_BYTES = record_events(World, "plain", FAILURE)


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, len(_BYTES) - 1),
    st.integers(0, 40),
    st.binary(max_size=6) | st.just(b"[" * 5000),
)
def test_no_damage_is_anything_but_refused_or_read(at: int, cut: int, piece: bytes) -> None:
    """Bytes are replaced anywhere: the only error is the one with the number of a line."""
    with contextlib.suppress(RecordingError):
        compare(_BYTES[:at] + piece + _BYTES[at + cut :])


def test_a_line_is_canonical() -> None:
    """What is read and written again is the same line."""
    for line in _BYTES.splitlines():
        text = line.decode()
        assert json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) == text


# Counter-examples of the search ------------------------------------------------------------------


def test_a_counterexample_of_the_search_is_a_recording(tmp_path: Path) -> None:
    """A fault is planted, the search finds it, and `simulate` shows what is wrong."""
    planted = plant_fault(
        "caps",
        "now < (spaced := memory.changed_at + timers.spacing):",
        "now < (spaced := memory.changed_at):",
    )
    with pytest.raises(InvariantError) as found:
        search_sequences(planted.World, "caps")
    path = tmp_path / "counterexample.jsonl"
    path.write_bytes(record_counterexample(planted.World, found.value))
    shown = subprocess.run(
        [sys.executable, "-m", "anycastd", "simulate", str(path)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    first, *lines = shown.stdout.splitlines()
    assert first.startswith("this release decides otherwise than was recorded, first at ")
    assert f"the recording ends because {found.value}" in " ".join(each.strip() for each in lines)
