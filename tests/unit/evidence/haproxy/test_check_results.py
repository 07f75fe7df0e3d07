"""Looks one after another: whose check result may be older than its place in service.

What HAProxy shows in each of these cases was seen in HAProxy 2.6.12 (docs/servers.md).
"""

from __future__ import annotations

import pytest

from anycastd.evidence.haproxy.loops import LoopTargets
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.haproxy.stats import parse_answer

HERE, THERE = "10.0.3.4:80", "10.0.3.5:80"
COLUMNS = (  # noqa: SIM905 - as HAProxy writes them
    "pxname,svname,scur,qcur,econ,wretr,wredis,status,weight,bck,iid,tracked,type,check_status,"
    "last_chk,last_agt,agent_status,lastchg,chkfail,chkdown,check_duration,check_fall,addr,act,sid"
).split(",")
UP = {"status": "UP", "check_status": "L4OK"}
MAINT = {"status": "MAINT", "check_status": "", "chkdown": "1"}
BACK = {**UP, "status": "UP 1/3", "chkdown": "1"}
ONCE = {"check_fall": "1"}


def look(
    before: Snapshot | None,
    at: float,
    *servers: dict[str, str],
    pid: int = 7,
    uptime: int = 500,
    version: str = "2.6.12",
) -> Snapshot:
    """Parse an answer with these servers, s1 and so on, and what HAProxy shows of each."""
    default = {"weight": "1", "bck": "0", "iid": "3", "type": "2", "lastchg": "400", "addr": HERE}
    default |= {"pxname": "web", "check_fall": "3", "chkfail": "0", "chkdown": "0"}
    default["lastchg"] = str(min(400, uptime))
    rows = [{"pxname": "web", "svname": "BACKEND", "status": "UP", "type": "1", "iid": "3"}]
    rows += [{**default, "svname": f"s{n}", **each} for n, each in enumerate(servers, 1)]
    lines = [",".join(row.get(name, "") for name in COLUMNS) + "," for row in rows]
    info = f"Name: HAProxy\nVersion: {version}\nPid: {pid}\nUptime_sec: {uptime}\nStopping: 0\n\n"
    text = "\n".join(["# " + ",".join(COLUMNS) + ",", *lines]) + "\n\n" + info
    query = Query(backends=frozenset({"web"}), loops=LoopTargets(frozenset({"203.0.113.10"})))
    return parse_answer(text, at, query, before=before)


def proved(*rows: dict[str, str], every: float = 1.0) -> list[bool]:
    """Look at one server ``every`` seconds; return at which looks it counts as proved."""
    seen: Snapshot | None = None
    found = []
    for number, row in enumerate(rows):
        seen = look(seen, 100.0 + every * number, row)
        found.append(seen.backends["web"].servers[0].usable is Usable.YES)
    return found


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # The row itself tells.
        ([UP, MAINT, BACK, BACK, {**UP, "chkdown": "1"}], [1, 0, 0, 0, 1]),
        ([BACK, {**UP, "chkdown": "1"}], [0, 1]),
        # Another address: the row says what it said before.
        ([UP, {**UP, "addr": THERE}, {**UP, "addr": THERE}], [1, 0, 0]),
        ([UP, {**UP, "addr": THERE}, {**UP, "addr": THERE, "check_duration": "1"}], [1, 0, 1]),
        ([UP, {**UP, "addr": THERE}, {**UP, "addr": THERE, "chkfail": "1"}], [1, 0, 1]),
        (
            [
                UP,
                {**UP, "addr": THERE},
                {"status": "UP 2/3", "check_status": "L4CON", "addr": THERE},
                {**UP, "addr": THERE},
            ],
            [1, 0, 0, 1],
        ),
        # A check that ran already when the address changed was of the old address.
        (
            [
                UP,
                {**UP, "check_status": "* L4OK", "addr": THERE},
                {**UP, "addr": THERE},
                {**UP, "check_status": "* L4OK", "addr": THERE},
                {**UP, "addr": THERE},
            ],
            [1, 0, 0, 0, 1],
        ),
        # The end of a drain is no check.
        (
            [
                UP,
                {**UP, "status": "DRAIN"},
                {**UP, "status": "DRAIN", "addr": THERE},
                {**UP, "addr": THERE},
                {**UP, "addr": THERE, "check_duration": "1"},
            ],
            [1, 0, 0, 0, 1],
        ),
        # Changed in maintenance: the row tells.
        ([UP, {**MAINT, "addr": THERE}, {**BACK, "addr": THERE}], [1, 0, 0]),
        ([UP, {**MAINT, "addr": THERE}, {**UP, "chkdown": "1", "addr": THERE}], [1, 0, 1]),
        # A name that stopped resolving, and resolves to another address.
        (
            [UP, {**MAINT, "status": "MAINT (resolution)", "addr": ""}, {**BACK, "addr": THERE}],
            [1, 0, 0],
        ),
        # With `fall 1` the row says plain UP.
        ([UP | ONCE, MAINT, {**UP, **ONCE, "chkdown": "1"}], [1, 0, 0]),
        ([UP | ONCE, {**UP, **ONCE, "chkdown": "1"}], [1, 0]),
        # Down before the maintenance: it shows what a server shows that begins to fail.
        (
            [
                {"status": "DOWN", "check_status": "L4CON", "chkdown": "1"},
                {**MAINT},
                {"status": "UP 1/3", "check_status": "L4CON", "chkdown": "1"},
                {**UP, "chkdown": "1"},
            ],
            [0, 0, 0, 1],
        ),
        (
            [
                {"status": "DOWN", "check_status": "L4CON", "chkdown": "1"},
                {"status": "UP 1/3", "check_status": "L4CON", "chkdown": "1"},
            ],
            [0, 0],
        ),
        ([UP, {"status": "UP 2/3", "check_status": "L4CON"}], [1, 1]),
        ([UP, {"status": "UP 1/3", "check_status": "L4CON", "chkdown": "1"}], [1, 0]),
        # Down and up again by its checks is proof.
        (
            [
                UP | ONCE,
                {"status": "DOWN", "check_status": "L4CON", "chkdown": "1", **ONCE},
                {**UP, **ONCE, "chkdown": "1", "chkfail": "1"},
            ],
            [1, 0, 1],
        ),
        # Checks that were off.
        ([UP, {"status": "no check", "check_status": ""}, UP], [1, 0, 0]),
        # A server that was added, and its first check.
        (
            [
                {**MAINT, "chkdown": "0"},
                {"status": "UP -1/3", "check_status": "INI"},
                {"status": "UP 0/3", "check_status": "L4OK"},
            ],
            [0, 0, 1],
        ),
        # Counters that were cleared are no event.
        ([{**UP, "chkdown": "4", "chkfail": "4"} | ONCE, UP | ONCE], [1, 1]),
    ],
)
def test_a_result_counts_if_it_is_newer_than_the_last_change(
    rows: list[dict[str, str]], expected: list[int]
) -> None:
    """A server is proved by a check of its own that ended since it was last put into service."""
    assert proved(*rows) == [bool(each) for each in expected]


def test_without_any_sign_of_a_check_it_counts_after_a_minute() -> None:
    """A check that passes as fast as the one before it changes nothing that HAProxy shows."""
    there = {**UP, "addr": THERE}
    assert proved(UP, *[there] * 5, every=15.0) == [True, False, False, False, False, True]


def test_a_check_that_fails_is_never_taken_for_one_that_passed() -> None:
    """At its new address nothing has passed yet, however long its checks take."""
    failing = {"status": "UP 2/3", "check_status": "L4CON", "addr": THERE}
    assert not any(proved(UP, *[failing] * 9, every=30.0)[1:])


def test_the_first_look_at_a_worker_tells_too() -> None:
    """With `fall 1`, a server that was out a moment ago may be back from maintenance."""
    back = {**UP, **ONCE, "chkdown": "1", "lastchg": "3"}
    assert proved(back) == [False]
    assert proved({**back, "lastchg": "61"}) == [True]
    assert proved({**back, "chkdown": "0"}) == [True]
    failing = {"status": "UP 1/3", "check_status": "L4CON", "chkdown": "1", "lastchg": "3"}
    assert proved(failing) == [False]
    assert proved({**failing, "lastchg": "61"}) == [True]


def test_another_worker_is_not_compared_with_the_one_before() -> None:
    """A worker's own checks are its own: the address in the file may have changed."""
    first = look(None, 100.0, UP)
    second = look(first, 101.0, {**UP, "addr": THERE}, pid=8)
    assert second.backends["web"].servers[0].usable is Usable.YES


def test_what_tracks_a_server_is_as_old_as_its_result() -> None:
    """A server without checks of its own is proved by those of another, or not."""
    tracker = {"status": "UP", "check_status": "", "tracked": "web/s1"}
    seen = look(None, 100.0, UP, tracker)
    assert [s.usable for s in seen.backends["web"].servers] == [Usable.YES, Usable.YES]
    seen = look(seen, 101.0, {**UP, "addr": THERE}, tracker)
    assert [s.usable for s in seen.backends["web"].servers] == [Usable.UNPROVED] * 2


FAILS = {"status": "UP 2/3", "check_status": "L4CON", "chkfail": "1"}


@pytest.mark.parametrize(
    ("rows", "old", "new"),
    [
        # Back from maintenance: plain UP until the next check, which may fail three times.
        (
            [UP, MAINT, {**UP, "chkdown": "1"}, {**FAILS, "chkdown": "1"}],
            [1, 0, 1, 1],
            [1, 0, 0, 0],
        ),
        (
            [UP, MAINT, {**UP, "chkdown": "1"}, {**UP, "chkdown": "1", "check_duration": "1"}],
            [1, 0, 1, 1],
            [1, 0, 0, 1],
        ),
        # It never passed, and is not down yet.
        ([{**UP, "check_status": "INI"}, FAILS, FAILS, UP], [0, 1, 1, 1], [0, 0, 0, 1]),
        ([{**FAILS, "lastchg": "5"}, FAILS, UP], [1, 1, 1], [0, 0, 1]),
        # It begins to fail.
        ([UP, FAILS], [1, 1], [1, 1]),
        ([{**FAILS, "lastchg": "3"}], [1], [1]),
        # Without `init-state` the row tells.
        ([UP, MAINT, BACK, {**UP, "chkdown": "1"}], [1, 0, 0, 1], [1, 0, 0, 1]),
    ],
)
def test_servers_that_begin_at_full_health(
    rows: list[dict[str, str]], old: list[int], new: list[int]
) -> None:
    """HAProxy 3.1 has `init-state fully-up`: the rows are those of 3.2.26 with it."""
    for version, expected in (("3.0.11", old), ("3.1.0", new), ("3.2.26-1", new), ("dev", new)):
        seen: Snapshot | None = None
        found = []
        for number, row in enumerate(rows):
            seen = look(seen, 100.0 + number, row, uptime=6 + number, version=version)
            found.append(seen.backends["web"].servers[0].usable is Usable.YES)
        assert found == [bool(each) for each in expected], version


OLD = {**UP, "lastchg": "9000", "check_duration": "0"}
"""A server whose state is older than its worker, as a state file makes it."""


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([OLD, OLD, {**OLD, "check_duration": "1"}], [0, 0, 1]),
        ([OLD, {**OLD, "last_chk": "OK"}], [0, 1]),  # an HTTP check's text is in no file
        ([OLD, {**OLD, "check_status": "* L4OK"}, OLD], [0, 0, 1]),
        ([{**OLD, "check_status": "* L4OK"}, OLD], [0, 1]),  # what runs began in this worker
        # Dead since then: its first check fails, and takes it down only as the last of three.
        (
            [OLD, {**OLD, "status": "UP 2/3", "check_status": "L4CON", "chkfail": "1"}, OLD],
            [0, 0, 1],
        ),
        ([{**OLD, "status": "UP 2/3", "check_status": "L4CON", "chkfail": "1"}, OLD], [0, 1]),
        # Checked by this worker before the first look.
        ([{**OLD, "check_duration": "1"}], [1]),
        ([{**OLD, "check_status": "L7OK", "last_chk": "OK"}], [1]),
        # No state file: the times agree, as whole seconds.
        ([{**OLD, "lastchg": "6"}], [1]),
        ([{**OLD, "check_status": "INI"}, UP], [0, 1]),
    ],
)
def test_a_result_out_of_a_state_file_proves_nothing(
    rows: list[dict[str, str]], expected: list[int]
) -> None:
    """Until a check of this worker is seen: the file may be of an earlier day."""
    seen: Snapshot | None = None
    found = []
    for number, row in enumerate(rows):
        seen = look(seen, 100.0 + number, row, uptime=5 + number)
        found.append(seen.backends["web"].servers[0].usable is Usable.YES)
    assert found == [bool(each) for each in expected]


def test_a_state_file_is_believed_after_a_while_and_doubted_for_a_whole_backend() -> None:
    """A minute after the start each server was checked; one that changed just then is doubted."""
    recent = {**OLD, "lastchg": "5"}
    first = look(None, 100.0, recent, OLD, uptime=5)
    assert [s.usable for s in first.backends["web"].servers] == [Usable.UNPROVED] * 2
    later = look(first, 155.0, recent, OLD, uptime=60)
    assert [s.usable for s in later.backends["web"].servers] == [Usable.YES] * 2
    assert look(None, 155.0, OLD, uptime=60).backends["web"].counts.proved == 1


@pytest.mark.parametrize(
    ("row", "counted"),
    [
        ({"status": "MAINT", "lastchg": "500"}, False),
        ({"status": "MAINT (resolution)", "lastchg": "499", "chkdown": "1"}, False),
        ({"status": "MAINT (via web/s1)", "lastchg": "500"}, False),
        ({"status": "MAINT", "lastchg": "499", "chkdown": "1"}, True),
        ({"status": "MAINT", "lastchg": "9"}, True),
        ({"status": "MAINT (resolution)", "lastchg": "400", "chkdown": "2"}, True),
        ({"status": "DOWN", "lastchg": "500"}, True),
        ({"status": "DRAIN", "lastchg": "500"}, True),
        ({"status": "UP", "lastchg": "500", "weight": "0"}, True),
    ],
)
def test_a_share_is_of_the_servers_that_are_there(row: dict[str, str], counted: bool) -> None:
    """Slots that this worker never used are left out; what has gone out of service is not."""
    seen = look(None, 100.0, UP, row)
    assert seen.backends["web"].counts.active == (2 if counted else 1)


def test_a_server_whose_record_has_gone_counts_for_an_hour() -> None:
    """Longer, and it is a service that has become smaller; by hand it counts until a reload."""
    gone = {"status": "MAINT (resolution)", "chkdown": "2"}
    for age, active in ((3599, 2), (3600, 1)):
        seen = look(None, 1.0, UP, {**gone, "lastchg": str(age)}, uptime=9000)
        assert seen.backends["web"].counts.active == active
    seen = look(None, 1.0, UP, {**gone, "status": "MAINT", "lastchg": "8000"}, uptime=9000)
    assert seen.backends["web"].counts.active == 2


def test_a_server_that_is_the_vip_is_no_server() -> None:
    """It does not count, and no backup that it keeps out of use does either."""
    loop, backup = {**UP, "addr": "203.0.113.10:80"}, {**UP, "bck": "1"}
    seen = look(None, 1.0, loop, backup).backends["web"]
    assert [s.usable for s in seen.servers] == [Usable.NO, Usable.NO]
    assert seen.servers[0].detail.startswith("a loop: 203.0.113.10:80 is a VIP")
    again = look(look(None, 1.0, UP, loop), 2.0, UP, loop).backends["web"]
    assert [s.usable for s in again.servers] == [Usable.YES, Usable.NO]
    assert again.counts.active == 1
