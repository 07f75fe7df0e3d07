"""The judge of services that checks decide finds what must not be, and nothing else."""

from __future__ import annotations

import pytest

from chaos.judge_checks import judge_checked
from chaos.violations import Judgement
from support.bgp_wire import ReceivedRoute
from support.checked_services import NEXT_HOPS
from support.faults import FAULTS
from support.machine import Entry
from support.route_log import Change

OWN = "192.0.2.10"
FIRST, SECOND = NEXT_HOPS


def change(at: float, asns: int, via: str = OWN) -> Change:
    """Build a change to a path of ``asns`` ASNs; 0 is a withdrawal."""
    path = (65010,) * asns
    route = ReceivedRoute("203.0.113.12/32", path, via, None, (), (), None) if asns else None
    return Change(at, 0, route)


def span(check: str, start: str, end: str, began: float = 10.0, ended: float = 20.0) -> list[Entry]:
    """Build a period of a journal in which a check does not pass."""
    return [Entry(began, f"check {check}", start), Entry(ended, f"check {check}", end)]


def judged(
    journal: list[Entry], checked: tuple[Change, ...] = (), chosen: tuple[Change, ...] = ()
) -> Judgement:
    """Judge what both peers received after first routes, by the first next hop."""
    seen = [
        [[Change(each.at, peer, each.route) for each in (first, *changes)] for peer in (0, 1)]
        for first, changes in ((change(0.5, 1), checked), (change(0.5, 1, FIRST), chosen))
    ]
    return judge_checked(journal, *seen, began_at=1.0, ended_at=100.0)


def list_words(found: Judgement) -> set[str]:
    """List the kinds of violations."""
    return {text.split(":")[0] for text in found.violations}


BACK = (change(21.5, 7), change(23.0, 1))
REFUSES, HANGS = span("app", "down", "up"), span("app", "silent", "answers")
COMMAND, BLIND = span("run", "down", "up"), span("run", "blind", "sees")
HUNG = span("run", "silent", "answers")


@pytest.mark.parametrize(
    ("journal", "soon", "late"),
    [
        (REFUSES, 10.9, 12.0),
        (COMMAND, 10.9, 12.0),
        (HANGS, 14.5, 16.0),
        (HUNG, 14.5, 16.0),
        (BLIND, 15.3, 16.5),
    ],
    ids=["server fails", "command fails", "server hangs", "command hangs", "command is missing"],
)
def test_what_a_check_needs_must_be_withdrawn(
    journal: list[Entry], soon: float, late: float
) -> None:
    """In its bound it is right; later, or never, or while it still fails it is stale."""
    found = judged(journal, (change(soon, 0), *BACK))
    assert found.violations == []
    assert max(found.stale.values()) == pytest.approx(soon - 10.0)
    assert list_words(judged(journal, (change(late, 0), *BACK))) == {"stale"}
    assert list_words(judged(journal)) == {"stale"}
    early = (change(soon, 0), change(17.0, 7), change(18.0, 0), *BACK)
    assert list_words(judged(journal, early)) == {"stale"}


def test_a_withdrawal_that_nothing_calls_for_is_needless() -> None:
    """A single failed run is not in the journal; a command may be missing for a moment."""
    gone = (change(10.9, 0), *BACK)
    assert list_words(judged([], gone)) == {"needless"}
    assert list_words(judged(span("run", "blind", "sees", 10.0, 12.0), gone)) == {"needless"}
    assert list_words(judged(span("hop0", "down", "up"), gone, MOVED)) == {"needless"}
    scarce = [Entry(8.0, "agent", "scarce"), Entry(12.0, "agent", "free")]
    assert judged([*scarce, *span("run", "blind", "sees", 12.3, 16.0)], gone).violations == []


@pytest.mark.parametrize("part", ["machine", "agent"])
def test_a_deadline_goes_on_after_a_pause(part: str) -> None:
    """It stands still meanwhile, so what was unseen before it counts with what is unseen after."""
    scarce = [Entry(5.0, "agent", "scarce"), Entry(8.5, "agent", "free")]
    pause = [Entry(8.7, part, "stop"), Entry(11.0, part, "cont")]
    blind = span("run", "blind", "sees", 11.1, 13.0)
    gone = (change(12.5, 0), change(13.8, 7), change(15.0, 1))
    assert judged([*scarce, *pause, *blind], gone).violations == []
    for journal in ([*scarce, *blind], [*pause, *blind], [*scarce, *pause]):
        assert list_words(judged(journal, gone)) == {"needless"}


def test_an_agent_without_descriptors_sees_a_failure_later() -> None:
    """No run can begin meanwhile; the deadline of what it cannot see passes all the same."""
    scarce = [Entry(9.0, "agent", "scarce"), Entry(12.0, "agent", "free")]
    there = (change(12.9, 0), *BACK)
    assert list_words(judged(REFUSES, there)) == {"stale"}
    for journal in (REFUSES, COMMAND):
        assert judged([*scarce, *journal], there).violations == []
        assert list_words(judged([*scarce, *journal], (change(14.0, 0), *BACK))) == {"stale"}
    assert list_words(judged([*scarce, *BLIND], (change(16.5, 0), *BACK))) == {"stale"}
    moved = (change(12.9, 1, SECOND), change(22.0, 1, FIRST))
    assert judged([*scarce, *FIRST_FAILS], chosen=moved).violations == []


def test_an_agent_that_strace_lets_go_of_sees_a_failure_later() -> None:
    """It stands still for a moment."""
    slow = [Entry(10.2, "agent", "slow"), Entry(10.8, "agent", "fast")]
    late = (change(12.0, 0), *BACK)
    assert judged([*REFUSES, *slow], late).violations == []
    assert list_words(judged(REFUSES, late)) == {"stale"}
    assert list_words(judged([*REFUSES, *slow], (change(13.5, 0), *BACK))) == {"stale"}


def test_an_agent_that_goes_on_knows_what_it_knew() -> None:
    """A new one looks for the whole time; for one that was stopped that time has passed in part."""
    late = (change(17.5, 0), *BACK)
    stopped = [Entry(12.0, "agent", "stop"), Entry(13.0, "agent", "cont")]
    assert judged([*BLIND, *stopped], (change(16.3, 0), *BACK)).violations == []
    assert list_words(judged([*BLIND, *stopped], late)) == {"stale"}
    assert judged([*BLIND, Entry(12.0, "agent", "touch")], late).violations == []


def test_a_return_without_standby_is_hasty() -> None:
    """Of either service."""
    found = judged(REFUSES, (change(10.9, 0), change(21.5, 1)))
    assert list_words(found) == {"hasty"}
    both = [*span("hop0", "down", "up"), *span("hop1", "down", "up")]
    found = judged(both, chosen=(change(10.9, 0), change(21.5, 1, FIRST)))
    assert list_words(found) == {"hasty"}


# Next hops ----------------------------------------------------------------------------------------

MOVED = (change(10.9, 1, SECOND), change(22.0, 1, FIRST))
FIRST_FAILS, SECOND_FAILS = span("hop0", "down", "up"), span("hop1", "down", "up")
NONE = (change(10.9, 0), change(21.5, 7, FIRST), change(23.0, 1, FIRST))


def test_a_move_in_time_is_right() -> None:
    """Away and back; where neither serves the route goes."""
    assert judged(FIRST_FAILS, chosen=MOVED).violations == []
    assert judged([*FIRST_FAILS, *SECOND_FAILS], chosen=NONE).violations == []
    silent = span("hop0", "silent", "answers")
    late = (change(14.5, 1, SECOND), change(24.0, 1, FIRST))
    assert judged(silent, chosen=late).violations == []


@pytest.mark.parametrize(
    ("journal", "changes", "word"),
    [
        (FIRST_FAILS, (), "stale"),
        (FIRST_FAILS, (change(12.0, 1, SECOND), MOVED[1]), "stale"),
        (FIRST_FAILS, (MOVED[0], change(15.0, 1, FIRST)), "stale"),
        (FIRST_FAILS, NONE, "needless"),
        (FIRST_FAILS, (change(10.9, 0), change(11.0, 7, SECOND), MOVED[1]), "needless"),
        (SECOND_FAILS, MOVED, "stale"),
        (SECOND_FAILS, NONE, "needless"),
        (SECOND_FAILS, (change(30.0, 1, SECOND), change(31.0, 1, FIRST)), "needless"),
        ([], (change(30.0, 1, SECOND), change(31.0, 1, FIRST)), "needless"),
        ([*FIRST_FAILS, *SECOND_FAILS], (), "stale"),
        ([*FIRST_FAILS, *SECOND_FAILS], MOVED, "stale"),
        ([*FIRST_FAILS, *span("hop1", "down", "up", 30.0, 40.0)], NONE, "needless"),
    ],
)
def test_what_is_wrong_with_a_next_hop_is_found(
    journal: list[Entry], changes: tuple[Change, ...], word: str
) -> None:
    """It stays too long, comes back too soon, leads nowhere, or moves without need."""
    assert word in list_words(judged(journal, chosen=changes))


def test_a_next_hop_that_is_not_announced_may_fail() -> None:
    """Nothing changes, and that is right."""
    assert judged(SECOND_FAILS).violations == []


def test_a_new_agent_may_not_know_the_other_one_yet() -> None:
    """Its first runs may say that the first one fails before the second one is proved."""
    killed = [Entry(10.2, "agent", "touch")]
    gone = (change(12.5, 0), change(14.0, 7, SECOND), change(15.0, 1, SECOND), MOVED[1])
    assert judged([*FIRST_FAILS, *killed], chosen=gone).violations == []


def test_what_no_run_can_prove_is_not_chosen() -> None:
    """A run that hung ends while no other can begin; a server is back, but nobody can know it."""
    scarce = [Entry(11.8, "agent", "scarce"), Entry(15.0, "agent", "free")]
    hangs = span("hop0", "silent", "answers")
    gone = (change(12.3, 0), change(15.6, 7, SECOND), change(16.5, 1, SECOND), MOVED[1])
    assert judged([*hangs, *scarce], chosen=gone).violations == []
    assert list_words(judged(hangs, chosen=gone)) == {"needless"}
    back, away = span("hop0", "down", "up", 5.0, 12.0), span("hop1", "down", "up", 14.0, 25.0)
    moved = change(5.9, 1, SECOND)
    late = (moved, change(15.6, 0), change(15.7, 7, FIRST), change(16.5, 1, FIRST))
    assert judged([*back, *scarce, *away], chosen=late).violations == []
    assert list_words(judged([*back, *away], chosen=late)) == {"needless", "stale"}


def test_the_faults_are_part_of_the_run() -> None:
    """Those that harm nothing are known as such."""
    own = {name for name in FAULTS if "of a check" in name or "next hop" in name}
    assert len(own) == 19
    assert {name for name in own if FAULTS[name].harmless} == {
        "server of a check slow",
        "server of a check fails once",
        "command of a check missing for a moment",
        "first next hop fails once",
        "second next hop refuses",
        "second next hop answers 503",
    }
