from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycastd.evidence.haproxy.answer import MalformedAnswerError, TruncatedAnswerError
from anycastd.evidence.haproxy.query import MAX_NAMES, build_request, missing_tracked_backends
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Backend, Frontend, Snapshot, Worker
from anycastd.evidence.haproxy.stats import parse_answer
from captures.states import EXPECTED, LOOK, States
from support.haproxy import read_version, run_haproxy
from support.snapshots import query

CAPTURES = Path(__file__).resolve().parents[3] / "captures"
VERSIONS = ["2.6", "3.0"]
BACKENDS = {name.partition("/")[0] for name in EXPECTED} | {"empty"}
FRONTENDS = {"web", "paused", "traffic"}
EVERYTHING = query(BACKENDS, FRONTENDS)


def capture(name: str, version: str) -> str:
    """Read a capture of a real HAProxy."""
    return (CAPTURES / f"{name}-{version}.txt").read_text(encoding="utf-8")


def counted(snapshot: Snapshot) -> dict[str, str]:
    """Name every server, with what it counts as."""
    return {
        f"{backend.name}/{server.name}": f"{server.usable.value} "
        + ("checked" if server.checked else "unchecked")
        for backend in snapshot.backends.values()
        for server in backend.servers
    }


def same_as_haproxy(text: str, snapshot: Snapshot) -> None:
    """Compare what we hold for usable with HAProxy's own count of each backend."""
    lines = [line.split(",") for line in text.splitlines() if line.count(",") > 20]
    act, bck = lines[0].index("act"), lines[0].index("bck")
    for row in lines:
        if row[1] == "BACKEND" and row[0] in snapshot.backends:
            servers = snapshot.backends[row[0]].servers
            active = [s for s in servers if s.usable is not Usable.NO and not s.backup]
            assert len(active) == int(row[act]), row[0]
            if not active:
                backups = [s for s in servers if s.usable is not Usable.NO]
                assert len(backups) == int(row[bck]), row[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_state_of_a_real_haproxy(version: str) -> None:
    """Captures of Debian 12's and Debian 13's HAProxy: each server counts as it should."""
    text = capture("states", version)
    snapshot = parse_answer(text, 12.5, EVERYTHING)
    assert counted(snapshot) == EXPECTED
    same_as_haproxy(text, snapshot)
    assert snapshot.worker.version.startswith(version)
    assert snapshot.worker.pid > 0
    assert snapshot.worker.started_at > 0
    assert not snapshot.worker.stopping
    assert snapshot.asked_at == snapshot.backends["web"].asked_at == 12.5
    assert snapshot.backends["empty"].servers == ()
    assert {name: front.is_open for name, front in snapshot.frontends.items()} == {
        "web": True,
        "paused": False,
        "traffic": True,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_right_after_the_start_nothing_is_proved_but_by_a_check(version: str) -> None:
    """All servers are shown UP then: those that no check has reached are unproved."""
    text = capture("start", version)
    snapshot = parse_answer(text, 0.0, EVERYTHING)
    same_as_haproxy(text, snapshot)
    unproved = [
        server
        for backend in snapshot.backends.values()
        for server in backend.servers
        if server.usable is Usable.UNPROVED
    ]
    assert len(unproved) > 10
    assert any(server.check == "INI" for server in unproved)


def expected_here() -> dict[str, str]:
    """Return what the servers count as at the first look at the HAProxy here.

    Since 3.1 a server that fails may have begun so (`init-state fully-up`).
    """
    if read_version() < (3, 1):
        return EXPECTED
    return EXPECTED | dict.fromkeys(("web/falling", "traffic/errors"), "unproved checked")


def test_every_state_of_the_haproxy_here(tmp_path: Path) -> None:
    """The HAProxy of this machine (or of ``HAPROXY``) shows the states as the captures do."""
    states = States()
    with run_haproxy(tmp_path, states.body) as haproxy:
        states.settle(haproxy)
        text = haproxy.ask(LOOK)
    snapshot = parse_answer(text, 0.0, EVERYTHING)
    assert counted(snapshot) == expected_here()
    same_as_haproxy(text, snapshot)


def test_a_quoted_field_may_hold_commas_and_quotes() -> None:
    """A check's output moves no column: HAProxy quotes what has commas in it."""
    snapshot = parse_answer(capture("states", "2.6"), 0.0, query({"traffic", "http"}))
    errors = snapshot.backends["traffic"].servers[0]
    assert "Detected 1 consecutive errors, last one was: " in errors.detail
    assert errors.check == "HANA"
    bad = next(server for server in snapshot.backends["http"].servers if server.name == "bad")
    assert bad.detail.endswith(": Broken, badly")
    text = capture("states", "2.6").replace("Broken, badly", 'a ""b"", c\n\nd')
    again = parse_answer(text, 0.0, query({"http"})).backends["http"]
    assert next(s for s in again.servers if s.name == "bad").detail.endswith(': a "b", c\\n\\nd')
    assert [server.name for server in again.servers][-1] == "bad"


def test_columns_are_found_by_their_names() -> None:
    """A newer HAProxy may have its columns anywhere."""
    text = capture("states", "2.6")
    lines = []
    for line in text.split("\n"):
        if line.count(",") > 20 and '"' not in line:
            mark = "# " if line.startswith("# ") else ""
            name, *rest = line.removeprefix("# ").split(",")
            lines.append(mark + ",".join([name, "new", *reversed(rest)]))
        elif '"' not in line:
            lines.append(line)
    moved = "\n".join(lines)
    kept = {"web", "other", "chain", "talk"}
    before, after = (parse_answer(each, 0.0, query(kept, FRONTENDS)) for each in (text, moved))
    assert after == before


@pytest.mark.parametrize("version", VERSIONS)
def test_a_truncated_answer_is_noticed_wherever_it_ends(version: str) -> None:
    """An answer of a HAProxy that died while writing must not look like one with less in it."""
    text = capture("states", version)
    for end in [*range(0, len(text) - 1, 37), len(text) - 1, text.rindex("\n\nName") + 2]:
        with pytest.raises(MalformedAnswerError):
            parse_answer(text[:end], 0.0, EVERYTHING)
    with pytest.raises(TruncatedAnswerError):
        parse_answer("", 0.0, EVERYTHING)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Permission denied\n\nPermission denied\n\n", "show info.*Permission denied"),
        ("Permission denied\n\nName: HAProxy\nPid: 1\nUptime_sec: 1\nVersion: 2\n\n", "show stat"),
        ("HTTP/1.0 400 Bad Request\r\n\n\n", "show info.*400 Bad"),
        ("\n\n", "got: nothing"),
        ("Name: HAProxy\nPid: x\nUptime_sec: 1\nVersion: 2\n\n", "without a needed field"),
        ("Name: HAProxy\nPid: 1\nVersion: 2\n\n", "Uptime_sec"),
        ("# pxname,svname\nweb,a\n\nName: HAProxy\nPid: 1\nUptime_sec: 1\nVersion: 2\n\n", "scur"),
    ],
)
def test_what_is_no_answer_is_named(text: str, message: str) -> None:
    """Each error quotes what came instead."""
    with pytest.raises(MalformedAnswerError, match=message):
        parse_answer(text, 0.0, query({"web"}))


def test_a_row_with_another_number_of_columns_is_garbage() -> None:
    """A row that lost its middle is not read as if nothing were wrong."""
    text = capture("states", "3.0")
    row = next(line for line in text.splitlines() if line.startswith("web,up,"))
    for wrong in (row.replace(",UP,", ',"UP,'), row + ",", row.replace(",UP,", ",")):
        with pytest.raises(MalformedAnswerError):
            parse_answer(text.replace(row, wrong), 0.0, query({"web"}))
    others = parse_answer(text.replace(row, wrong), 0.0, query({"other"}))
    assert set(others.backends) == {"other"}, "rows that nobody asked for are not read"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 17_000), st.text(max_size=40))
def test_no_garbage_raises_anything_else(at: int, junk: str) -> None:
    """Whatever stands in an answer: a Snapshot or GarbageError, never another exception."""
    text = capture("states", "2.6")
    with contextlib.suppress(MalformedAnswerError):
        parse_answer(text[:at] + junk + text[at + len(junk) :], 0.0, EVERYTHING)


PIECES = (
    *('"', '""', '"' * 2000, "\n", "\n\n", "\n" * 300, ",", "," * 5000, "1" * 4301, "A" * 70_000),
    *("-1", "1e999", "nan", "\xb2", "\u0661", "\x00", "\x1b[2J", "\u202e", "\ud800", "\r", ": "),
    *("# pxname,", "Name: ", "1\n# ", "type=", "[3]: ", "No such proxy.\n\n", ', value="', "web,"),
)


@settings(max_examples=300)
@given(
    st.sampled_from([(name, version) for name in ("states", "start") for version in VERSIONS]),
    st.lists(st.tuples(st.integers(0, 30_000), st.sampled_from(PIECES)), max_size=4),
)
def test_hostile_pieces_are_printable_or_refused(
    what: tuple[str, str], pieces: list[tuple[int, str]]
) -> None:
    """In bounded time: a refusal in one printable line, or a Snapshot whose texts are printable."""
    text = capture(*what)
    for at, piece in pieces:
        text = text[:at] + piece + text[at:]
    refusal, servers = "", []
    began_at = time.process_time()
    try:
        found = parse_answer(text, 0.0, EVERYTHING)
        servers = [server for backend in found.backends.values() for server in backend.servers]
    except MalformedAnswerError as error:
        refusal = str(error)
    assert time.process_time() - began_at < 1.0, "CPU, whatever else this machine does"
    assert refusal.isprintable()
    assert len(refusal) < 400
    for server in servers:
        shown = server.name + server.detail + server.status + server.check + server.tracked
        assert shown.isprintable()
        assert len(shown) < 3000


def test_names_that_haproxy_lacks_are_absent() -> None:
    """A backend that a rule names and HAProxy does not have is not invented."""
    snapshot = parse_answer(
        capture("states", "2.6"), 0.0, query({"web", "nowhere", "paused"}, {"other"})
    )
    assert set(snapshot.backends) == {"web"}
    assert not snapshot.frontends, "other is a backend, not a frontend"


def small(*, backends: dict[str, int], frontends: dict[str, int]) -> Snapshot:
    """Give a snapshot of proxies with the numbers that HAProxy gave them."""
    return Snapshot(
        0.0,
        Worker(1, 1.0, False, "2.6"),
        {name: Backend(name, "UP", (), number=n) for name, n in backends.items()},
        {name: Frontend(name, True, "OPEN", 0, number=n) for name, n in frontends.items()},
    )


def test_the_question_asks_for_everything_and_then_by_number() -> None:
    """A name is not enough: frontend and backend may share one, and HAProxy gives the first."""
    assert build_request(query({"web"}, {"web"})).line == "show stat;show info\n"
    last = small(backends={"web": 3}, frontends={"web": 2})
    wanted = build_request(query({"web", "gone", "evil;shutdown sessions"}, {"web"}), last)
    assert wanted.line == "show stat #3 7 -1;show stat #2 7 -1;show info\n"


def test_a_proxy_that_is_both_is_asked_for_once() -> None:
    """A `listen` section is frontend and backend with one number."""
    last = small(backends={"web": 2}, frontends={"web": 2})
    assert build_request(query({"web"}, {"web"}), last).line == "show stat #2 7 -1;show info\n"


def test_many_names_are_one_question() -> None:
    """The request fits into HAProxy's buffer whatever the profile names."""
    names = [f"backend{number}" for number in range(MAX_NAMES)]
    last = small(backends=dict.fromkeys(names, 99_999_999), frontends={})
    one_each = small(backends={name: 10**7 + n for n, name in enumerate(names)}, frontends={})
    assert len(build_request(query(names), one_each).line) < 15_000
    assert build_request(query([*names, "more"]), last).line == "show stat;show info\n"


def test_a_real_haproxy_answers_by_number_as_it_does_in_full(tmp_path: Path) -> None:
    """Both questions give the same, also where a frontend and a backend share their name."""
    states = States()
    with run_haproxy(tmp_path, states.body) as haproxy:
        states.settle(haproxy)
        whole = parse_answer(haproxy.ask(build_request(EVERYTHING).line.strip()), 0.0, EVERYTHING)
        again = build_request(query(BACKENDS | {"nowhere"}, FRONTENDS), whole)
        part = parse_answer(haproxy.ask(again.line.strip()), 0.0, EVERYTHING, again)
    assert counted(part) == counted(whole) == expected_here()
    assert part.frontends.keys() == whole.frontends.keys() == FRONTENDS
    assert part.worker.is_same_process(whole.worker)


def test_backends_that_are_only_tracked_are_named() -> None:
    """A tracked server may live where no rule looks: it has to be asked for as well."""
    text = capture("states", "2.6")
    alone = parse_answer(text, 0.0, query({"web"}))
    assert missing_tracked_backends(alone) == {"other", "chain", "talk"}
    assert counted(alone)["web/trackchain"] == "unproved checked"
    more = parse_answer(text, 0.0, query({"web"} | missing_tracked_backends(alone)))
    assert not missing_tracked_backends(more)
    assert counted(more)["web/trackchain"] == "yes checked"


def test_ten_thousand_servers_are_parsed_in_no_time() -> None:
    """A look at 10,000 servers of which one backend is named costs a few milliseconds."""
    text = capture("states", "3.0")
    header, row = (line for line in text.splitlines() if re.match("# pxname|web,up,", line))
    info = text[text.rindex("\n\n", 0, -2) + 2 :]
    rows = "\n".join(row.replace("web,", f"b{n % 1000},", 1) for n in range(10_000))
    answer = f"{header}\n{rows}\n{row}\n\n{info}"
    best = min(_timed(answer) for _ in range(5))
    assert best < 0.1, f"{best:.3f} s"


def _timed(answer: str) -> float:
    start = time.perf_counter()
    parse_answer(answer, 0.0, query({"web"}))
    return time.perf_counter() - start
