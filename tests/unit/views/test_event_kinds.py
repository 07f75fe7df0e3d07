"""What happened, as events: their form, and the differences that they are made of."""

from __future__ import annotations

import json
import math

import pytest

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.session import NO_CONNECTION, Session
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Unreadable
from anycastd.lease.messages import NeighborReport, Report
from anycastd.reasons import Reason
from anycastd.views.event_haproxy import KnownInstance, find_instance_event
from anycastd.views.event_problems import (
    BEGIN_AFTER,
    BEGINNINGS_WINDOW,
    END_AFTER,
    MAX_BEGINNINGS,
    MAX_PROBLEMS,
    Problems,
    find_problem_events,
)
from anycastd.views.event_sessions import WORDS_TIMEOUT, Sessions, find_session_events
from anycastd.views.events import ERROR, NOTICE, WARNING, Event, EventKind, format_time
from support.profiles import profile
from support.snapshots import YES, snapshot

PEER = "192.0.2.4"
CAUSE = "closed from here: hold timer expired (4/0)"
AGE = 41 * 86400.0
EXPIRED = "closed from here: hold timer expired (4/0); no message came from it for the hold time"


# The form of an event ---------------------------------------------------------------------------


def test_each_kind_is_complete() -> None:
    """Each has a MESSAGE_ID of its own, and says what it means and what to do."""
    ids = [kind.message_id for kind in EventKind]
    assert len(set(ids)) == len(ids)
    for kind in EventKind:
        assert len(kind.message_id) == 32
        assert int(kind.message_id, 16)
        assert kind.priority in range(3, 7)
        assert kind.meaning
        assert kind.remedy


def test_an_event_survives_its_line() -> None:
    """What is written is read again, whatever later releases add."""
    event = Event(
        1764471680.1234,
        EventKind.SESSION_LOST,
        "neighbor 192.0.2.4 AS 65515: session lost",
        neighbor=PEER,
        fields={"code": 4, "up_s": 1.5, "why": "", "at_once": True, "none": None},
        number=7,
    )
    line = json.dumps(event.to_json() | {"later": [1]})
    again = Event.from_json(json.loads(line))
    assert again == Event(
        round(event.at, 3), event.kind, event.text, neighbor=PEER, fields=event.fields, number=7
    )
    assert json.loads(line)["time"] == "2025-11-30T03:01:20.123Z"


@pytest.mark.parametrize(
    "change",
    [
        {"at": "now"},
        {"at": True},
        {"at": math.nan},
        {"at": math.inf},
        {"at": 1e300},
        {"kind": "riddle"},
        {"kind": ["transition"]},
        {"kind": None},
        {"number": "1"},
        {"number": 1.5},
        {"number": True},
        {"fields": []},
        {"fields": {"a": [1]}},
        {"text": 5},
        {"service": None},
    ],
    ids=str,
)
def test_what_is_no_event_is_refused(change: dict[str, object]) -> None:
    """With the one error that readers expect, never with another one."""
    good = Event(1.0, EventKind.RETURN, "text").to_json()
    with pytest.raises(ValueError, match="no event"):
        Event.from_json(good | change)


@pytest.mark.parametrize("value", [None, [], "text", 5, {}], ids=str)
def test_what_is_no_object_is_no_event(value: object) -> None:
    """As above."""
    with pytest.raises(ValueError, match="no event"):
        Event.from_json(value)


@pytest.mark.parametrize(
    ("old", "new", "reason", "priority"),
    [
        ("preferred", "withdrawn", Reason.TOO_FEW_SERVERS, ERROR),
        ("preferred", "degraded", Reason.BELOW_HEALTHY, WARNING),
        ("withdrawn", "standby", Reason.RISING, NOTICE),
        ("standby", "preferred", Reason.SERVING, NOTICE),
        ("preferred", "standby", Reason.DRAINING, NOTICE),
        ("standby", "withdrawn", Reason.DRAINED, NOTICE),
        ("preferred", "withdrawn", Reason.LEASE_EXPIRED, ERROR),
    ],
)
def test_a_priority_is_that_of_the_change(
    old: str, new: str, reason: Reason, priority: int
) -> None:
    """A step down that nobody asked for is what `journalctl -p warning` shows."""
    fields = {"from": old, "to": new}
    name = reason.name.lower()
    event = Event(0.0, EventKind.TRANSITION, "", reason=name, fields=fields)
    assert event.priority == priority


def test_times_are_utc() -> None:
    """Whatever the zone of the machine; thousandths are not rounded up into the next second."""
    assert format_time(0.9996) == "1970-01-01T00:00:01.000Z"
    assert format_time(1764471680.0) == "2025-11-30T03:01:20.000Z"


# Sessions ---------------------------------------------------------------------------------------


def report(session: Session, age: float, why: str = "", lease_id: str = "i") -> Report:
    """Give a report about one neighbor."""
    agreed = Negotiated(("ipv4",), 9, four_octet_as=True) if session is Session.UP else None
    peer = NeighborReport(session, age, detail=why, negotiated=agreed)
    return Report(lease_id, 1, 1, 5.0, {PEER: peer}, ())


def told(*steps: tuple[float, Report]) -> list[tuple[float, str]]:
    """Take reports, each with its time; give the events with theirs."""
    known: Sessions = {}
    events: list[Event] = []
    for at, each in steps:
        known, more = find_session_events(profile(), known, each, at)
        events += more
    assert all(event.neighbor == PEER for event in events)
    return [(event.at, event.text) for event in events]


def test_a_session_is_lost_with_its_words_and_found_again() -> None:
    """Once each, at the time of the change, however often it is reported."""
    assert told(
        (1000.0, report(Session.UP, AGE)),
        (1001.0, report(Session.DOWN, 0.5, EXPIRED)),
        (1002.0, report(Session.DOWN, 1.5, EXPIRED)),
        (1020.0, report(Session.UP, 0.5)),
        (1021.0, report(Session.UP, 1.5)),
    ) == [
        (1000.5, f"neighbor {PEER} AS 65515: session lost after 41 d: {CAUSE}"),
        (1019.5, f"neighbor {PEER} AS 65515: session up after 19 s down (hold time 9 s)"),
    ]


def test_an_agent_that_starts_finds_sessions_as_they_are() -> None:
    """Up or down: nothing has changed.  What comes up for the first time is an event."""
    assert told((1000.0, report(Session.UP, AGE)), (1001.0, report(Session.UP, AGE + 1))) == []
    assert told((1000.0, report(Session.DOWN, 1.0)), (1001.0, report(Session.DOWN, 2.0))) == []
    first = told((1000.0, report(Session.UNKNOWN, 1.0)), (1001.0, report(Session.UP, 0.5)))
    assert first == [
        (1000.5, f"neighbor {PEER} AS 65515: session up for the first time (hold time 9 s)")
    ]


def test_a_new_lease_process_loses_no_session() -> None:
    """It knows nothing at first, and then counts the age of a session anew."""
    known = (1000.0, report(Session.UP, AGE))
    unknown = (1001.0, report(Session.UNKNOWN, 0.1, lease_id="j"))
    assert told(known, unknown, (1002.0, report(Session.UP, 0.1, lease_id="j"))) == []
    no = "no connection, or it was closed without a NOTIFICATION"
    lost = told(known, unknown, (1002.0, report(Session.DOWN, 0.1, NO_CONNECTION, "j")))
    assert lost == [(1001.9, f"neighbor {PEER} AS 65515: session lost after 41 d: {no}")]


def test_a_session_that_came_back_between_two_reports() -> None:
    """It is younger than it should be."""
    back = "again: it was lost and came back at once"
    assert told((1000.0, report(Session.UP, AGE)), (1010.0, report(Session.UP, 3.0))) == [
        (
            1007.0,
            f"neighbor {PEER} AS 65515: session up {back} (hold time 9 s)",
        )
    ]


def test_the_reason_may_come_later() -> None:
    """The event waits for it, for a moment."""
    up, down = (1000.0, report(Session.UP, AGE)), (1001.0, report(Session.DOWN, 0.0))
    assert told(up, down) == []
    late = told(up, down, (1001.5, report(Session.DOWN, 0.5, EXPIRED)))
    assert late == [(1001.0, f"neighbor {PEER} AS 65515: session lost after 41 d: {CAUSE}")]
    never = told(up, down, (1001.0 + WORDS_TIMEOUT, report(Session.DOWN, WORDS_TIMEOUT)))
    assert [text.rpartition(": ")[2] for _, text in never] == ["no reason is known"]
    back = told(up, down, (1001.5, report(Session.UP, 0.1)))
    assert len(back) == 1


def test_the_codes_of_a_notification_are_fields() -> None:
    """So that a program needs not read the sentence (RFC 4271 section 4.5)."""
    known, _ = find_session_events(profile(), {}, report(Session.UP, 9.0), 100.0)
    _, events = find_session_events(profile(), known, report(Session.DOWN, 0.0, EXPIRED), 101.0)
    assert events[0].fields == {"why": EXPIRED, "up_s": 10.0, "code": 4, "subcode": 0}


# Problems ---------------------------------------------------------------------------------------


def watched(*steps: tuple[float, list[str]]) -> tuple[list[tuple[float, str]], Problems]:
    """Take lists of problems, each with its time; give the events with theirs."""
    known: Problems = {}
    events: list[Event] = []
    for at, texts in steps:
        known, more = find_problem_events(known, texts, at)
        events += more
    return [(event.at, event.text) for event in events], known


def test_a_problem_is_told_once_whatever_its_numbers_do() -> None:
    """It begins when it has lasted, and ends when it was away for a while."""
    lasting = [(float(at), [f"VIP 203.0.113.10/32: missing for {at}.5 s"]) for at in range(60)]
    events, _ = watched(*lasting, (60.0, []), (60.0 + END_AFTER, []))
    assert events == [
        (0.0, f"problem: VIP 203.0.113.10/32: missing for {BEGIN_AFTER:.0f}.5 s"),
        (59.0, "problem over after 59 s: VIP 203.0.113.10/32: missing for 59.5 s"),
    ]


def test_addresses_are_no_numbers() -> None:
    """Two neighbors, two problems; so are two profiles with a number in their name."""
    texts = [f"neighbor 192.0.2.{last}: polled" for last in (4, 5)] + ["web1: a", "web2: a"]
    events, _ = watched((0.0, texts), (BEGIN_AFTER, texts))
    assert [text for _, text in events] == [f"problem: {text}" for text in texts]


def test_a_problem_of_a_moment_is_no_event() -> None:
    """A route that is on its way to a neighbor."""
    events, known = watched((0.0, ["late"]), (1.0, []), (1.0 + END_AFTER, []))
    assert events == []
    assert not known


def test_a_gap_does_not_end_a_problem() -> None:
    """It flickers, and is one problem."""
    steps = [(float(at), ["it flickers"] if at % 5 else []) for at in range(100)]
    assert len(watched(*steps)[0]) == 1


def test_a_problem_that_comes_and_goes_is_bounded() -> None:
    """The last event says so; after the window it is told anew."""
    period = END_AFTER + BEGIN_AFTER + 1
    steps: list[tuple[float, list[str]]] = []
    for number in range(50):
        at = number * period
        steps += [(at, ["flaps"]), (at + BEGIN_AFTER, ["flaps"]), (at + period - 0.5, [])]
    events, _ = watched(*steps)
    begun = [text for _, text in events if text.startswith("problem: ")]
    assert len(begun) == MAX_BEGINNINGS
    assert len(events) == 2 * MAX_BEGINNINGS
    assert begun[-1].endswith("it comes and goes, and is not told again for a while")
    later = 50 * period + BEGINNINGS_WINDOW
    events, _ = watched(*steps, (later, ["flaps"]), (later + BEGIN_AFTER, ["flaps"]))
    assert events[-1] == (later, "problem: flaps")


def test_the_problems_that_are_followed_are_bounded() -> None:
    """Text of others cannot fill the memory: neither now nor over time."""
    known: Problems = {}
    for at in range(20):
        texts = [f"{chr(97 + at)}{number}x: {'y' * 10_000}" for number in range(500)]
        known, _ = find_problem_events(known, texts, 1000.0 * at)
        assert len(known) <= MAX_PROBLEMS


# HAProxy ----------------------------------------------------------------------------------------


def looked(*looks: Observation) -> list[tuple[EventKind, str]]:
    """Take looks at one HAProxy; give the events."""
    known: KnownInstance | None = None
    events = []
    for look in looks:
        known, event = find_instance_event("main", known, look, 3.0, 0.0)
        events += [] if event is None else [(event.kind, event.text)]
    return events


def test_a_haproxy_that_dies_and_comes_back() -> None:
    """Once each."""
    up = [snapshot(YES, asked_at=float(at)) for at in (1, 2)]
    gone = [Gone(float(at), "connection refused") for at in (3, 4)]
    assert looked(*up, *gone, snapshot(YES, asked_at=9.0, pid=101)) == [
        (
            EventKind.HAPROXY_GONE,
            f"haproxy main: {Reason.HAPROXY_GONE.sentence} (connection refused)",
        ),
        (
            EventKind.HAPROXY_BACK,
            "haproxy main: answers again after 7.0 s (version 2.6.12, pid 101)",
        ),
    ]
    assert len(looked(*gone)) == 1, "an agent that starts without a HAProxy says so"


def test_a_haproxy_that_is_reloaded() -> None:
    """Another worker answers."""
    looks = [snapshot(YES, asked_at=float(pid), pid=pid) for pid in (100, 100, 101, 101)]
    assert looked(*looks) == [
        (EventKind.HAPROXY_CHANGED, "haproxy main: a new worker answers (version 2.6.12, pid 101)")
    ]


def silent(at: float, heard_at: float | None = None) -> Unreadable:
    """Give a look that was not answered."""
    return Unreadable(at, at, 2, "no answer within 1 s", heard_at=heard_at)


def test_a_look_that_fails_for_a_moment_is_no_event() -> None:
    """Only one that lasts for the deadline."""
    up, brief = snapshot(YES, asked_at=1.0), silent(3.9)
    assert looked(up, brief, snapshot(YES, asked_at=4.0)) == []
    assert looked(up, silent(30.0, heard_at=28.0)) == [], "its event stream shows that it lives"
    late = silent(4.0)
    assert looked(up, brief, late, late) == [
        (
            EventKind.HAPROXY_GONE,
            f"haproxy main: {Reason.HAPROXY_SILENT.sentence} (no answer within 1 s)",
        )
    ]
