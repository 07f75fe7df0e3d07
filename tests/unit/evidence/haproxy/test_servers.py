from __future__ import annotations

import re
from itertools import pairwise

import pytest

from anycastd.evidence.haproxy import servers as servers_module
from anycastd.evidence.haproxy import snapshot as snapshot_module
from anycastd.evidence.haproxy.servers import Usable, judge_server
from anycastd.evidence.haproxy.stats import parse_answer
from support.snapshots import query

TABLE = (
    (snapshot_module.__doc__ or "").split("::\n")[1].split("\n\nA word")[0].strip("\n").splitlines()
)
COLUMNS = [match.start() for match in re.finditer(r"\S+", TABLE[0])]
NAMES = TABLE[0].split()
ROWS = [
    dict(
        zip(NAMES, [line[a:b].strip() for a, b in pairwise([*COLUMNS, None])], strict=True),
    )
    for line in TABLE[1:]
]
INFO = "Name: HAProxy\nVersion: 2.6.12\nPid: 7\nUptime_sec: 500\nStopping: 0\n\n"
HEADER = (
    "# pxname,svname,scur,qcur,econ,wretr,wredis,status,weight,bck,iid,tracked,type,check_status,"
    "last_chk,last_agt,agent_status,lastchg,chkfail,chkdown,check_duration,check_fall,addr,act,sid,\n"
)


def look(*rows: str) -> dict[str, servers_module.Server]:
    """Parse rows of backend web: `name,status,weight,bck,tracked,check,agent` each."""
    lines = [HEADER, "web,BACKEND,0,0,0,0,0,UP,1,0,3,,1,,,,,9,,,,,,,,\n"]
    for row in rows:
        name, status, weight, backup, tracked, check, agent = row.split(",")
        lines.append(
            f"web,{name},0,0,0,0,0,{status},{weight},{backup},3,{tracked},2,{check},,,{agent},9,,,,3,,,,\n"
        )
    snapshot = parse_answer("".join(lines) + "\n" + INFO, 1.0, query({"web"}))
    return {server.name: server for server in snapshot.backends["web"].servers}


def test_the_table_is_there() -> None:
    """The docstring's table is read: an empty one would test nothing."""
    assert NAMES == ["status", "check", "agent", "weight", "usable", "checked", "because"]
    assert len(ROWS) > 35
    assert all(row["because"] for row in ROWS)


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['status']}|{row['check']}|{row['agent']}|{row['weight']}"
)
def test_a_server_counts_as_the_table_says(row: dict[str, str]) -> None:
    """Each row of the module's table, through the parser, gives what the row says."""
    status = row["status"].replace("n/m", "2/3")
    check, agent = (row[name].replace("-", "") for name in ("check", "agent"))
    server = look(f"s,{status},{row['weight']},0,,{check},{agent}")["s"]
    assert server.usable is Usable(row["usable"])
    assert server.checked is (row["checked"] == "yes")
    assert server.detail
    assert server.check == check, "HAProxy's own word is kept as it is"


@pytest.mark.parametrize("status", ["UP2", "READY", "", "FROZEN 1/2"])
def test_an_unknown_status_is_not_usable(status: str) -> None:
    """A word of a newer HAProxy must not count as UP."""
    assert judge_server(status, "L4OK", "", 1, "")[0] is Usable.NO


@pytest.mark.parametrize("check", ["L9OK", "* L9OK", "WARN"])
def test_an_unknown_check_result_proves_nothing(check: str) -> None:
    """A word of a newer HAProxy must not count as a check that passed."""
    assert look(f"s,UP,1,0,,{check},")["s"].usable is Usable.UNPROVED


@pytest.mark.parametrize(
    ("active", "backup"),
    [
        ("UP,1,0,,L4OK,", Usable.NO),
        ("UP 1/3,1,0,,INI,", Usable.NO),
        ("no check,1,0,,,", Usable.NO),
        ("DOWN,1,0,,L4CON,", Usable.YES),
        ("DRAIN,1,0,,L4OK,", Usable.YES),
        ("UP,0,0,,L4OK,", Usable.YES),
    ],
)
def test_backups_count_when_no_active_server_does(active: str, backup: Usable) -> None:
    """HAProxy uses a backup server only when no active one is left to it, proved or not."""
    servers = look(f"a,{active}", "b,UP,1,1,,L4OK,")
    assert servers["b"].usable is backup
    assert servers["b"].backup


def test_a_backup_that_is_down_says_so() -> None:
    """A backup's own state is its reason, not that it is a backup."""
    servers = look("a,UP,1,0,,L4OK,", "b,DOWN,1,1,,L4CON,")
    assert servers["b"].detail == "down: L4CON"


def test_a_tracking_server_is_proved_by_what_it_tracks() -> None:
    """Tracking servers show no check: the row at the end of the chain has it."""
    servers = look("a,UP,1,0,,L4OK,", "b,UP,1,0,web/a,,", "c,UP,1,0,web/b,,", "d,UP,1,0,else/a,,")
    assert [servers[name].usable for name in "abc"] == [Usable.YES] * 3
    assert servers["c"].detail == "tracks web/b, up, check passed (L4OK)"
    assert servers["d"].usable is Usable.UNPROVED
    assert servers["d"].checked


def test_tracking_in_a_circle_ends() -> None:
    """HAProxy refuses such a configuration; a garbled answer must not hang us."""
    servers = look("a,UP,1,0,web/b,,", "b,UP,1,0,web/a,,")
    assert {server.usable for server in servers.values()} == {Usable.UNPROVED}


@pytest.mark.parametrize(
    ("text", "check", "usable"),
    [
        ("Too many sockets on the process (Too many open files)", "L4CON", Usable.UNPROVED),
        ("Out of system buffers", "SOCKERR", Usable.UNPROVED),
        ("Connection refused", "L4CON", Usable.NO),
        ("Too many sockets on the process", "L7STS", Usable.NO),
        ("", "L4CON", Usable.NO),
    ],
)
def test_a_check_that_had_no_socket_proves_nothing(text: str, check: str, usable: Usable) -> None:
    """A server is not down because HAProxy could not ask it; a server's own words do not do it."""
    # FC-FDLIMIT: HAProxy's checks fail when it is out of descriptors
    assert judge_server("DOWN", check, "", 1, text)[0] is usable
    assert judge_server("DOWN", check, "", 0, text)[0] is Usable.NO


def test_a_server_that_rises_or_is_checked_after_that_is_unproved() -> None:
    """A server that passes its checks again is doubted; one that an agent took out is not.

    While a check runs, nothing shows that the one before it had no socket.
    """
    rows = look(
        "a,DOWN 1/2,1,0,,L4OK,",
        "b,DOWN 1/2,1,0,,L4CON,",
        "c,DOWN (agent),1,0,,L4OK,",
        "d,UP,1,0,,L4OK,",
        "e,DOWN,1,0,,* L4CON,",
        "f,DOWN,0,0,,* L4CON,",
        "g,DOWN,1,0,,* L4TOUT,",
        "h,DOWN,1,0,,L4CON,",
    )
    found = servers_module.count_doubtful_as_unproved(rows.values())
    unproved = {each.name for each in found if each.usable is Usable.UNPROVED}
    assert unproved == {"a", "e"}
    assert found[3].usable is Usable.YES
    assert {each.usable for each in found if each.name in "bcfgh"} == {Usable.NO}


def test_backups_count_when_the_active_ones_are_down_and_unproved() -> None:
    """HAProxy had no socket to check the active server and calls it DOWN: it uses the backup."""
    text = "Too many sockets on the process"
    rows = (
        f"web,a,0,0,0,0,0,DOWN,1,0,3,,2,L4CON,{text},,,9,,,,3,,,,\n",
        "web,b,0,0,0,0,0,UP,1,1,3,,2,L4OK,,,,9,,,,3,,,,\n",
    )
    answer = HEADER + "web,BACKEND,0,0,0,0,0,UP,1,0,3,,1,,,,,9,,,,,,,,\n" + "".join(rows)
    found = parse_answer(f"{answer}\n{INFO}", 1.0, query({"web"})).backends["web"].servers
    assert [each.usable for each in found] == [Usable.UNPROVED, Usable.YES]
