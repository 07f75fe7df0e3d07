"""What is a reason to ask servers, and how soon they are asked."""

from __future__ import annotations

import pytest

from anycastd.evidence.servers.doubts import (
    FORGET_AFTER,
    MAX_DELAY,
    MIN_DELAY,
    Doubt,
    Pace,
    find_doubts,
)
from support.server_looks import look_at


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({}, []),
        ({"check_status": "* L4OK"}, []),
        ({"status": "UP 2/3", "check_status": "L4CON"}, [Doubt.CHECK]),
        ({"status": "UP 2/3", "check_status": "* L7STS"}, [Doubt.CHECK]),
        ({"status": "UP 2/3", "check_status": "HANA"}, [Doubt.CHECK]),
        ({"status": "UP 1/3", "check_status": "INI"}, []),
        ({"status": "no check", "check_status": ""}, []),
        ({"status": "DOWN", "check_status": "L4CON"}, []),
        ({"status": "DRAIN", "check_status": "L4CON"}, []),
    ],
)
def test_a_check_that_fails_is_a_doubt(server: dict[str, str], expected: list[Doubt]) -> None:
    """As long as HAProxy still uses the server."""
    assert [*find_doubts(None, look_at(None, 1.0, server), "web")] == expected


def test_failed_connections_are_a_doubt() -> None:
    """Since the look before, at the same worker."""
    first = look_at(None, 1.0, {}, failed_connects=3)
    assert not [*find_doubts(None, first, "web")]
    assert not [*find_doubts(first, look_at(first, 2.0, {}, failed_connects=3), "web")]
    second = look_at(first, 2.0, {}, failed_connects=4)
    assert [*find_doubts(first, second, "web")] == [Doubt.ERRORS]
    other = look_at(second, 3.0, {}, failed_connects=9, pid=8, uptime=1)
    assert not [*find_doubts(second, other, "web")]
    assert not [*find_doubts(first, second, "other")]


def test_rounds_come_at_once_and_then_ever_more_rarely() -> None:
    """A self-test that always fails costs one round in MAX_DELAY."""
    pace, now, rounds = Pace(), 100.0, []
    while now < 140.0:
        if pace.note_doubt(now) <= now:
            pace.note_round(now)
            rounds.append(now)
        now += 0.1
    assert rounds[0] == 100.0
    assert rounds[1] - rounds[0] < MIN_DELAY + 0.2
    assert rounds[-1] - rounds[-2] >= MAX_DELAY
    assert len(rounds) < 11


def test_a_doubt_after_a_quiet_time_is_a_new_one() -> None:
    """The next round comes at once, and so does the one after it."""
    pace = Pace()
    for at in (1.0, 2.0, 4.0):
        pace.note_doubt(at)
        pace.note_round(at)
    at = 5.0 + FORGET_AFTER
    assert pace.note_doubt(at) == at
    pace.note_round(at)
    assert pace.note_doubt(at + 0.1) == at + MIN_DELAY
