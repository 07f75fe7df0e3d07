"""Looks at servers of backend `web`, one after another, built from the columns that matter."""

from __future__ import annotations

from anycastd.evidence.haproxy.check_results import COLUMNS
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.haproxy.stats import parse_answer

_ORDER = ("pxname", "svname", *sorted({*COLUMNS} - {"pxname", "svname"}))
HERE = "10.0.3.4:80"
"""Address of a server where a test gives none."""


def look_at(
    before: Snapshot | None,
    at: float,
    *servers: dict[str, str],
    pid: int = 7,
    uptime: int = 500,
    failed_connects: int = 0,
) -> Snapshot:
    """Parse an answer with these servers, s1 and so on, and what HAProxy shows of each."""
    text = build_look(*servers, pid=pid, uptime=uptime, failed_connects=failed_connects)
    return parse_answer(text, at, Query(backends=frozenset({"web"})), before=before)


def build_look(
    *servers: dict[str, str], pid: int = 7, uptime: int = 500, failed_connects: int = 0
) -> str:
    """Build the text of such an answer."""
    default = {"pxname": "web", "weight": "1", "bck": "0", "iid": "3", "type": "2", "addr": HERE}
    default |= {"status": "UP", "check_status": "L4OK", "lastchg": str(min(400, uptime))}
    default |= {"check_fall": "3", "chkfail": "0", "chkdown": "0", "check_duration": "0"}
    head = {"pxname": "web", "svname": "BACKEND", "status": "UP", "type": "1", "iid": "3"}
    rows = [head | {"econ": str(failed_connects)}]
    rows += [{**default, "svname": f"s{n}", **each} for n, each in enumerate(servers, 1)]
    lines = [",".join(row.get(name, "") for name in _ORDER) + "," for row in rows]
    info = f"Name: HAProxy\nVersion: 2.6.12\nPid: {pid}\nUptime_sec: {uptime}\nStopping: 0\n\n"
    return "\n".join(["# " + ",".join(_ORDER) + ",", *lines]) + "\n\n" + info
