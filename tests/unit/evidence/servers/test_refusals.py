"""What refused connections prove, and when they prove it no longer."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from anycastd.evidence.haproxy.check_results import CHECK_WITHIN
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.servers.refusals import (
    ACCEPTS_FOR,
    Answer,
    Asked,
    Reached,
    judge_errors,
    note_asked,
    note_look,
)
from support.server_looks import HERE, look_at

KEY = ("web", "s1")
REFUSED, STANDS = errno.ECONNREFUSED, 0
FAILS = {"status": "UP 2/3", "check_status": "L4CON", "chkfail": "1"}


def begin() -> Reached:
    """Build the state after one look, at 10 s, with a server that is up."""
    return note_look(Reached(), look_at(None, 10.0, {}))


def ask(state: Reached, at: float, answer: Answer, address: str = HERE) -> Reached:
    """Take an answer that was asked for from ``at`` on."""
    return note_asked(state, KEY, Asked(address, answer, at, at + 0.02, "refuses"))


def see(state: Reached, at: float, server: dict[str, str] | None = None, **more: int) -> Reached:
    """Take one more look."""
    return note_look(state, look_at(state.seen, at, server or {}, **more))


def usable(state: Reached) -> Usable | None:
    """Return what the report makes of the server; None: it says nothing."""
    override = state.build_report().refused.get("web", {}).get("s1")
    return None if override is None else override.usable


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (REFUSED, REFUSED, Answer.REFUSED),
        (errno.EHOSTUNREACH, errno.EHOSTUNREACH, Answer.REFUSED),
        (errno.ENETUNREACH, REFUSED, Answer.REFUSED),
        (REFUSED, STANDS, Answer.STANDS),
        (STANDS, STANDS, Answer.STANDS),
        (-1, -1, Answer.UNCERTAIN),
        (REFUSED, -1, Answer.UNCERTAIN),
        *((each, each, Answer.UNCERTAIN) for each in (errno.EPERM, errno.EACCES)),
        *((each, each, Answer.UNCERTAIN) for each in (errno.EMFILE, errno.ENOBUFS, errno.EAGAIN)),
        *((REFUSED, each, Answer.UNCERTAIN) for each in (errno.EADDRNOTAVAIL, errno.ECONNRESET)),
    ],
)
def test_only_two_refusals_are_a_proof(first: int, second: int, expected: Answer) -> None:
    """Silence, and whatever this machine lacks, prove nothing."""
    assert judge_errors(first, second)[0] is expected


def test_a_refusal_ends_with_a_check_that_passed_after_it() -> None:
    """A failed check of HAProxy's, and then one that passes: the server is back."""
    state = ask(begin(), 10.1, Answer.REFUSED)
    assert usable(state) is Usable.NO
    state = see(state, 10.2)
    assert usable(state) is Usable.NO
    state = see(state, 10.4, FAILS)
    assert usable(state) is Usable.NO
    state = see(state, 10.6, {"chkfail": "1"})
    assert usable(state) is None
    assert state.unverified == {KEY: 10.6}


def test_a_check_that_ended_before_the_refusal_proves_nothing() -> None:
    """The first look after the refusal may show a check of before it."""
    state = ask(begin(), 10.1, Answer.REFUSED)
    state = see(state, 10.2, {"check_duration": "1"})
    assert usable(state) is Usable.NO
    state = see(state, 10.4, {"check_duration": "1"})
    assert usable(state) is Usable.NO
    assert usable(see(state, 10.6, {"check_duration": "0"})) is None


def test_a_check_that_ran_at_the_refusal_proves_nothing() -> None:
    """It may have connected before."""
    running = {"check_status": "* L4OK"}
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2, running)
    state = see(state, 10.3)
    assert usable(state) is Usable.NO
    assert usable(see(see(state, 11.3, running), 11.4)) is None


def test_haproxy_itself_takes_it_out() -> None:
    """DOWN, gone, or at another address: HAProxy's own word is enough then."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    assert usable(see(state, 11.0, {"status": "DOWN", "check_status": "L4CON"})) is None
    assert usable(see(state, 11.0, {"addr": "10.0.3.5:80"})) is None
    assert usable(note_look(state, look_at(state.seen, 11.0))) is None


def test_a_server_in_maintenance_keeps_its_refusal() -> None:
    """What it is back from has no check of its own."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    state = see(state, 11.0, {"status": "MAINT", "check_status": ""})
    assert usable(see(state, 12.0, {"status": "UP 1/3"})) is Usable.NO


def test_a_server_that_accepts_is_unproved_and_then_counts() -> None:
    """No check is seen to pass: after ACCEPTS_FOR seconds HAProxy's word counts."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    state = see(ask(state, 11.1, Answer.STANDS), 11.2)
    assert usable(state) is Usable.UNPROVED
    state = see(ask(state, 11.0 + ACCEPTS_FOR, Answer.STANDS), 11.1 + ACCEPTS_FOR)
    assert usable(state) is Usable.UNPROVED
    state = see(ask(state, 11.2 + ACCEPTS_FOR, Answer.STANDS), 11.3 + ACCEPTS_FOR)
    assert usable(state) is None
    assert not state.unverified


def test_silence_is_no_acceptance() -> None:
    """A server that does not answer any more is neither back nor worse."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    state = ask(state, 11.1, Answer.STANDS)
    for at in range(12, 22):
        state = see(ask(state, float(at), Answer.UNCERTAIN), at + 0.1)
        assert usable(state) is Usable.UNPROVED


def test_a_server_that_refuses_once_more() -> None:
    """The time of what was accepted begins anew."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    state = ask(ask(state, 11.1, Answer.STANDS), 12.1, Answer.REFUSED)
    assert usable(state) is Usable.NO
    assert usable(see(state, 12.2, FAILS)) is Usable.NO


def test_a_refusal_does_not_last_for_ever() -> None:
    """HAProxy goes on to call it UP: a check is taken to have passed."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    assert usable(see(state, 10.1 + CHECK_WITHIN)) is Usable.NO
    assert usable(see(state, 10.3 + CHECK_WITHIN)) is None


def test_a_refusal_that_haproxy_contradicts_is_not_believed_any_more() -> None:
    """HAProxy's check passes, and the agent is refused: its connection is another one."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    state = see(see(state, 10.4, FAILS), 10.6)
    assert usable(ask(state, 10.5, Answer.REFUSED)) is None  # it began before the look
    state = ask(state, 10.7, Answer.REFUSED)
    assert usable(state) is None
    assert state.disbelieved == {KEY: HERE}
    state = ask(state, 20.0, Answer.REFUSED)
    assert usable(state) is None
    state = ask(ask(state, 21.0, Answer.STANDS), 22.0, Answer.REFUSED)
    assert usable(state) is Usable.NO


def test_another_address_is_believed_anew() -> None:
    """What was found at the old one says nothing of it."""
    state = see(see(see(ask(begin(), 10.1, Answer.REFUSED), 10.2), 10.4, FAILS), 10.6)
    state = see(ask(state, 10.7, Answer.REFUSED), 10.8, {"addr": "10.0.3.5:80"})
    assert not state.disbelieved
    assert usable(ask(state, 11.0, Answer.REFUSED)) is None  # of the old address
    assert usable(ask(state, 11.0, Answer.REFUSED, "10.0.3.5:80")) is Usable.NO


def test_a_new_worker_has_to_check_it() -> None:
    """A reload shows the server as UP before its first check."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    state = see(state, 10.5, {"check_status": "INI"}, pid=8, uptime=0)
    assert usable(state) is Usable.NO
    assert usable(see(state, 10.9, {}, pid=8, uptime=0)) is None


def test_a_worker_that_began_after_the_refusal() -> None:
    """All of its checks ended after it."""
    state = see(ask(begin(), 10.1, Answer.REFUSED), 10.2)
    assert usable(see(state, 12.5, {}, pid=8, uptime=2)) is Usable.NO  # to a second: perhaps before
    assert usable(see(state, 13.5, {}, pid=8, uptime=1)) is None


def test_a_server_that_does_not_count_is_not_refused() -> None:
    """An answer that comes late says nothing: HAProxy has taken the server out meanwhile."""
    state = see(begin(), 10.2, {"status": "DOWN", "check_status": "L4CON"})
    assert usable(ask(state, 10.1, Answer.REFUSED)) is None


def test_a_brief_look_that_has_not_asked_for_the_row_shows_nothing() -> None:
    """The row is that of a look before the refusal: what differs from it may have ended then."""
    state = ask(begin(), 10.1, Answer.REFUSED)
    assert state.seen is not None
    state = note_look(state, replace(state.seen, asked_at=10.2))
    state = see(state, 10.4, {"check_duration": "1"})
    assert usable(state) is Usable.NO
    assert usable(see(state, 10.6, {"check_duration": "2"})) is None
