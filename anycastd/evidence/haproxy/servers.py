"""Judge one server row of HAProxy: usable, not usable, or not proved (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple


class Usable(Enum):
    """Whether a server counts: proved usable, not usable, or usable by HAProxy's word alone."""

    YES = "yes"
    NO = "no"
    UNPROVED = "unproved"


@dataclass(frozen=True, slots=True)
class Server:
    """A server row: ``status``, ``check`` and ``last`` are HAProxy's own words, ``why`` is ours.

    ``last`` is what the last check said, ``tracked`` is ``backend/server`` or empty.
    """

    name: str
    usable: Usable
    detail: str
    status: str
    check: str
    weight: int
    backup: bool
    checked: bool
    last: str = ""
    tracked: str = ""


class Tally(NamedTuple):
    """How many servers are proved, unproved, of the latter not even checked, and no backups."""

    proved: int
    unproved: int
    unchecked: int
    active: int


# What counts ---------------------------------------------------------------------------------

_PASSED = {"L4OK", "L6OK", "L7OK", "L7OKC", "PROCOK"}


_NEVER = {"INI", "UNK"}


_AGENT_ANSWERS = {"L7OK", "CHECKED"}


# Statuses in which a server gets no new traffic, by their first word.
_OUT = {
    "DOWN": "down",
    "DRAIN": "draining: gets no new traffic",
    "NOLB": "answers 404: gets no new traffic",
    "MAINT": "in maintenance",
}


def judge_server(
    status: str, check: str, agent: str, weight: int, said: str
) -> tuple[Usable, bool, str]:
    """Judge one server: (usable, checked, why), by the table at the top.

    ``check`` and ``agent`` are results without their "* ", ``said`` is what the last check said.
    """
    word, _, rest = status.partition(" ")
    checked = bool(check or agent)
    if word in _OUT:
        why = _OUT[word] + (f" {rest}" if rest else "") + (f": {said}" if said else "")
        return Usable.NO, checked, why
    if status != "no check" and word != "UP":
        return Usable.NO, checked, f"status {status}, which we do not know"
    if weight == 0:
        return Usable.NO, checked, "weight 0: gets no new traffic"
    return _by_check(check, rest, said) if check else _by_agent(agent)


def _by_check(check: str, going_down: str, said: str) -> tuple[Usable, bool, str]:
    if check in _PASSED:
        return Usable.YES, True, f"up, check passed ({check})"
    if check in _NEVER:
        return Usable.UNPROVED, True, "shown as up, its first check has not finished"
    if going_down:
        return Usable.YES, True, f"up {going_down}, last check failed: {said}"
    return Usable.UNPROVED, True, f"shown as up although its check failed: {said}"


def _by_agent(agent: str) -> tuple[Usable, bool, str]:
    if agent in _AGENT_ANSWERS:
        return Usable.YES, True, f"up, its agent answers ({agent})"
    if agent:
        return Usable.UNPROVED, True, f"no check, and its agent has not answered ({agent})"
    return Usable.UNPROVED, False, "HAProxy does not check it"


def demote_backups(servers: Iterable[Server]) -> tuple[Server, ...]:
    """Take a backend's servers, each judged alone: backups count only where no active one does."""
    servers = tuple(servers)
    if not any(s.usable is not Usable.NO and not s.backup for s in servers):
        return servers
    why = "backup, and an active server is up"
    return tuple(
        replace(s, usable=Usable.NO, detail=why) if s.backup and s.usable is not Usable.NO else s
        for s in servers
    )
