"""Many rows are parsed in pieces, and a row that says the same is not judged again."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from anycastd.evidence.haproxy.judged_rows import LEFT_COUNTS_FOR, TURN
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.haproxy.stats import parse_answer, parse_in_turns
from support.server_looks import build_look, look_at

QUERY = Query(frozenset({"web"}))
SLOT = "since HAProxy's start: an empty slot, in no share"
LEFT = "for more than an hour: in no share any more"
TEXTS = ("", "refused", *(f'"{each}"' for each in (SLOT, LEFT, f"x, {SLOT}", f"x, {LEFT}")))

SERVER = st.fixed_dictionaries(
    {
        "status": st.sampled_from(
            ("MAINT", "MAINT (resolution)", "MAINT (via web/s1)", "MAINTX", "UP", "DOWN", "UP 1/3")
        ),
        "lastchg": st.sampled_from(("", "0", "3", "9", "20", "3599", "3600", "4000", "x")),
        "chkdown": st.sampled_from(("", "0", "1", "2")),
        "check_status": st.sampled_from(("", "L4OK", "L4CON", "INI")),
        "last_chk": st.sampled_from(TEXTS),
        "weight": st.sampled_from(("0", "1")),
        "tracked": st.sampled_from(("", "", "web/s1")),
        "addr": st.sampled_from(("10.0.3.4:80", "10.0.3.5:80")),
    }
)
LOOKS = st.lists(
    st.tuples(st.sampled_from((2, 9, 20, 3600, 4000)), st.lists(SERVER, min_size=1, max_size=3)),
    min_size=1,
    max_size=3,
)
LEAVES = {"status": "MAINT (resolution)", "chkdown": "2", "check_status": "L4OK"}


@given(LOOKS, st.lists(st.tuples(st.integers(0, 4000), st.booleans()), max_size=4))
@settings(max_examples=300, deadline=None)
@example([(4000, [LEAVES | {"lastchg": "10"}])], [(4000, True), (0, True)])
@example([(3600, [LEAVES | {"lastchg": "3600", "chkdown": "0"}])], [(400, False)])
@example(
    [(9, [{"status": "MAINT", "lastchg": "9", "last_chk": TEXTS[2]}])], [(20, False), (0, True)]
)
def test_what_is_in_maintenance_is_judged_as_at_a_first_look(
    looks: list[tuple[int, list[dict[str, str]]]], later: list[tuple[int, bool]]
) -> None:
    """Time alone ends or begins an absence; text of a check that reads like one does not."""
    uptime, servers = looks[-1]
    for seconds, ages in later:
        aged = [
            each | {"lastchg": str(seconds) if ages else each.get("lastchg", "")}
            for each in servers
        ]
        looks = [*looks, (uptime + seconds, aged)]
    before: Snapshot | None = None
    for number, (uptime, servers) in enumerate(looks):
        at = 100.0 + number
        before = look_at(before, at, *servers, uptime=uptime)
        fresh = look_at(None, at, *servers, uptime=uptime)
        for name, server in before.judged.servers["web"].items():
            if server.status.startswith("MAINT"):
                assert server == fresh.judged.servers["web"][name]


def test_an_absence_that_lasts_costs_no_new_server() -> None:
    """The row says the same at the next look, and so does what was made of it."""
    row = {"status": "MAINT", "chkdown": "0", "check_status": ""}
    first = look_at(None, 1.0, row | {"lastchg": "50"}, uptime=50)
    second = look_at(first, 2.0, row | {"lastchg": "51"}, uptime=51)
    server = second.judged.servers["web"]["s1"]
    assert not server.in_share
    assert server is first.judged.servers["web"]["s1"]
    gone = LEAVES | {"lastchg": str(int(LEFT_COUNTS_FOR) - 1)}
    third = look_at(None, 3.0, gone, uptime=9000)
    fourth = look_at(third, 4.0, gone | {"lastchg": str(int(LEFT_COUNTS_FOR))}, uptime=9001)
    assert third.judged.servers["web"]["s1"].in_share
    assert not fourth.judged.servers["web"]["s1"].in_share


def test_many_rows_are_parsed_in_pieces_of_bounded_size() -> None:
    """Reading them and judging them are interrupted after so many rows; the result is the same."""
    count = 20 * TURN
    servers = [{"status": "MAINT" if n % 3 else "UP", "lastchg": str(n % 50)} for n in range(count)]
    text = build_look(*servers, uptime=500)
    plain, results = parse_answer(text, 1.0, QUERY), list[Snapshot]()

    def parse() -> Generator[None, None, None]:
        results.append((yield from parse_in_turns(text, 1.0, QUERY)))

    pieces = sum(1 for _ in parse())
    (found,) = results
    assert found == plain
    assert found.judged == plain.judged
    assert pieces >= 3 * count // TURN
    again = parse_answer(text, 2.0, QUERY, before=found)
    assert again.judged == found.judged
    assert again == replace(
        found,
        asked_at=2.0,
        worker=replace(found.worker, began_at=found.worker.began_at + 1.0),
        backends={"web": replace(found.backends["web"], asked_at=2.0)},
    )
