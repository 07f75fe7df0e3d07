"""Judge one server row of HAProxy: usable, not usable, or not proved (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple


class Usable(Enum):
    """Whether a server counts as usable.

    YES: a check has proved it.  NO: HAProxy would not use it.  UNPROVED: HAProxy would use it, but
    no check has proved it.
    """

    YES = "yes"
    NO = "no"
    UNPROVED = "unproved"


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as its row in ``show stat`` shows it.

    ``status`` and ``check`` are HAProxy's own words (management manual, section 9.1: ``status``,
    ``check_status``).  ``detail`` says for people why the server counts or not.  ``weight`` is the
    weight now.  ``backup``: it is a backup server.  ``checked``: HAProxy checks it at all.
    ``tracked`` is the server that it tracks, as ``backend/server``, or empty.  ``in_share``: it is
    one of the servers that a share is of.
    """

    name: str
    usable: Usable
    detail: str
    status: str
    check: str
    weight: int
    backup: bool
    checked: bool
    tracked: str = ""
    in_share: bool = True


class ServerCounts(NamedTuple):
    """How many servers of a backend are proved usable, unproved, unchecked and active.

    ``unchecked`` counts those of ``unproved`` that HAProxy does not check.  ``active`` counts the
    servers that a share is of, usable or not: those that are no backups, or all where only backups
    are; empty slots and loops are left out.
    """

    proved: int
    unproved: int
    unchecked: int
    active: int


_PASSED = {"L4OK", "L6OK", "L7OK", "L7OKC", "PROCOK"}
_NEVER = {"INI", "UNK"}
_RISING = re.compile(r"DOWN \d{1,9}/\d{1,9}")
_NO_SOCKET = {"L4CON", "SOCKERR"}
_AGENT_ANSWERS = {"L7OK", "CHECKED"}

# What HAProxy writes of a check that it could not begin, for want of something of its own.
_COULD_NOT_CHECK = (
    "Too many sockets on the process",
    "Too many sockets on the system",
    "Out of system buffers",
    "Out of local source ports",
    "Source port range exhausted",
)

# Statuses in which a server gets no new traffic, by their first word.
_OUT = {
    "DOWN": "down",
    "DRAIN": "draining: gets no new traffic",
    "NOLB": "answers 404: gets no new traffic",
    "MAINT": "in maintenance",
}


def judge_server(
    status: str, check: str, agent: str, weight: int, check_text: str
) -> tuple[Usable, bool, str]:
    """Judge one server by the table in ``snapshot``.  Returns (usable, checked, detail).

    ``status``, ``check`` and ``agent`` are columns of ``show stat`` (HAProxy's management manual,
    section 9.1), the last two without their "* ".  ``check_text`` is the text of the last check.
    """
    word, _, rest = status.partition(" ")
    checked = bool(check or agent)
    if (
        word == "DOWN"
        and weight
        and check in _NO_SOCKET
        and check_text.startswith(_COULD_NOT_CHECK)
    ):
        return Usable.UNPROVED, True, f"down, but HAProxy could not check it: {check_text}"
    if word in _OUT:
        detail = _OUT[word] + (f" {rest}" if rest else "")
        return Usable.NO, checked, detail + (f": {check_text}" if check_text else "")
    if status != "no check" and word != "UP":
        return Usable.NO, checked, f"unknown status {status}"
    if weight == 0:
        return Usable.NO, checked, "weight 0: gets no new traffic"
    return _by_check(check, rest, check_text) if check else _by_agent(agent)


def is_passed(check: str, agent: str) -> bool:
    """Return whether ``check`` (or ``agent``, where there is no check) is the result of a pass."""
    return check in _PASSED if check else agent in _AGENT_ANSWERS


def _by_check(check: str, going_down: str, check_text: str) -> tuple[Usable, bool, str]:
    if check in _PASSED and going_down and going_down[0] not in "-0":
        # A check that passes lifts a server that is up to full health at once, but for a server
        # that was added at run time: that one begins below its first step (`UP 0/3`).
        return Usable.UNPROVED, True, f"up {going_down}, put back and not checked since then"
    if check in _PASSED:
        return Usable.YES, True, f"up, check passed ({check})"
    if check in _NEVER:
        return Usable.UNPROVED, True, "shown as up, its first check has not finished"
    if going_down:
        return Usable.YES, True, f"up {going_down}, last check failed: {check_text}"
    return Usable.UNPROVED, True, f"shown as up although its check failed: {check_text}"


def _by_agent(agent: str) -> tuple[Usable, bool, str]:
    if agent in _AGENT_ANSWERS:
        return Usable.YES, True, f"up, its agent answers ({agent})"
    if agent:
        return Usable.UNPROVED, True, f"no check, and its agent has not answered ({agent})"
    return Usable.UNPROVED, False, "HAProxy does not check it"


def count_doubtful_as_unproved(servers: Iterable[Server]) -> tuple[Server, ...]:
    """Count servers as unproved that may be down for no reason of their own; returns all servers.

    For a moment at which HAProxy could not check any server: how they came down proves nothing.
    Such a server passes its checks again, or a check runs now.  While one runs, HAProxy shows the
    result of the check before it, but no more its text: "Too many sockets" looks like a refusal.
    """
    return tuple(
        replace(server, usable=Usable.UNPROVED, detail=detail)
        if (detail := _explain_doubt(server))
        else server
        for server in servers
    )


def _explain_doubt(server: Server) -> str:
    check = server.check.removeprefix("* ")
    if _RISING.fullmatch(server.status) and check in _PASSED:
        return "coming up, after HAProxy could not check it"
    if server.status == "DOWN" and server.weight and server.check != check in _NO_SOCKET:
        return "down, HAProxy checks it now, after it could not"
    return ""


def _is_up(server: Server) -> bool:
    """Whether HAProxy uses a server: one that it calls DOWN is not used, whatever proves that."""
    return server.usable is not Usable.NO and not server.status.startswith("DOWN")


def demote_backups(servers: Iterable[Server]) -> tuple[Server, ...]:
    """Judge the backups among the servers of one backend; returns all of its servers.

    A backup counts only while no active server does (``backup``, HAProxy's configuration manual,
    section 5.2).
    """
    servers = tuple(servers)
    if not any(_is_up(s) and not s.backup for s in servers):
        return servers
    detail = "backup, and an active server is up"
    return tuple(
        replace(s, usable=Usable.NO, detail=detail) if s.backup and s.usable is not Usable.NO else s
        for s in servers
    )


class Override(NamedTuple):
    """What another source of evidence makes of a server that HAProxy counts.

    ``usable`` is NO or UNPROVED; ``detail`` says for people why.
    """

    usable: Usable
    detail: str


def override_servers(
    servers: Iterable[Server], overrides: Mapping[str, Override]
) -> tuple[Server, ...]:
    """Judge the servers of one backend by ``overrides`` (server -> Override) as well; returns all.

    A server that does not count anyway stays as it is.  Where no active server is left, HAProxy
    will use the backups that are up as soon as its own checks have failed: they are UNPROVED.
    """
    no = Usable.NO
    found, lost = [], False
    for server in servers:
        override = overrides.get(server.name)
        if override is not None and server.usable is not no:
            lost = lost or (override.usable is no and not server.backup)
            found.append(replace(server, usable=override.usable, detail=override.detail))
        else:
            found.append(server)
    if not lost or any(_is_up(each) and not each.backup for each in found):
        return tuple(found)
    return tuple(_promote_backup(each, overrides.get(each.name)) for each in found)


def _promote_backup(server: Server, override: Override | None) -> Server:
    """Judge a server whose backend has no active one any more: HAProxy will use it if it is up."""
    is_up = server.status.partition(" ")[0] == "UP" and server.weight and server.in_share
    if not (server.backup and is_up and server.usable is Usable.NO):
        return server
    if override is not None:
        return replace(server, usable=override.usable, detail=override.detail)
    detail = "backup, and HAProxy does not use it until its checks of the active servers fail"
    return replace(server, usable=Usable.UNPROVED, detail=detail)
