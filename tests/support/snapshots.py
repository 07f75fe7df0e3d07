"""Observations of HAProxy for tests without a HAProxy."""

from __future__ import annotations

from collections.abc import Iterable

from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.servers import Server, Usable
from anycastd.evidence.haproxy.snapshot import Backend, Frontend, Snapshot, Worker

YES, NO, UNPROVED = Usable.YES, Usable.NO, Usable.UNPROVED


def server(name: str, usable: Usable, *, backup: bool = False, checked: bool = True) -> Server:
    """Build a server row as HAProxy shows it for ``usable``."""
    status = {YES: "UP", NO: "DOWN", UNPROVED: "UP"}[usable]
    check = {YES: "L4OK", NO: "L4CON", UNPROVED: "INI"}[usable]
    return Server(
        name=name,
        usable=usable,
        detail="",
        status=status,
        check=check,
        weight=1,
        backup=backup,
        checked=checked,
    )


def query(backends: Iterable[str] = (), frontends: Iterable[str] = ()) -> Query:
    """Build a query for rows only."""
    return Query(frozenset(backends), frozenset(frontends))


def snapshot(
    *servers: Usable, asked_at: float, frontend: str = "OPEN", pid: int = 100, backend: str = "web"
) -> Snapshot:
    """Build a snapshot of backend and frontend `web`, with one server for each value.

    ``asked_at`` is own time, in seconds.
    """
    rows = tuple(server(f"s{number}", usable) for number, usable in enumerate(servers, 1))
    return Snapshot(
        asked_at=asked_at,
        worker=Worker(pid=pid, uptime=100.0, stopping=False, version="2.6.12"),
        backends={backend: Backend(name=backend, status="UP", servers=rows)},
        frontends={
            "web": Frontend(name="web", is_open=frontend == "OPEN", status=frontend, sessions=0)
        },
    )
