"""Event: something that happened, as log, history, page and hooks show it (pure).

Each kind of event has a fixed MESSAGE_ID (systemd.journal-fields(7)), a priority (syslog(3)), a
meaning and a remedy.  An event is one line of JSON on disk: keys are only ever added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Self, TypeGuard

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
"""Priorities, as syslog(3) counts them: a lower number is more urgent."""
Value = str | int | float | bool | None
"""A value in the fields of an event."""

_LEVELS = ("withdrawn", "standby", "degraded", "preferred")  # lowest first
_WANTED = frozenset({"draining", "drained", "drain_waits", "maintenance"})  # reasons


class EventKind(Enum):
    """A kind of event; its value is its name in JSON, and never changes.

    ``message_id`` is 128 bits in hexadecimal, ``priority`` the one of most events of this kind,
    ``meaning`` says what has happened, ``remedy`` what an operator can do.
    """

    TRANSITION = (
        "transition",
        "95fa9116a73548a5b0e575aba74aada3",
        WARNING,
        "the level of a service has changed",
        "the text has the reason; `anycastd explain SERVICE` shows all rules and what comes next",
    )
    LEASE_EXPIRED = (
        "lease_expired",
        "8112b7552596448f9ecd0184ed29f3b8",
        ERROR,
        "nobody renewed the lease in time, so the speaker has withdrawn all routes",
        "see why the agent did not run: a paused machine, a lack of CPU, or a crash in the log",
    )
    REPAIR = (
        "repair",
        "dc1a4b7bb1444d428b22d6caa606f27b",
        WARNING,
        "ExaBGP's table differed from the wanted routes, and was corrected",
        "look for a second program that gives commands to this ExaBGP",
    )
    DRAIN_BEGAN = (
        "drain_began",
        "71c0340b332c4965ae14095f7ba2aa33",
        NOTICE,
        "an operator has begun a drain",
        "`anycastd undrain` ends it",
    )
    DRAIN_ENDED = (
        "drain_ended",
        "e671f4be697f4ef2a15284bbf3486261",
        NOTICE,
        "a drain has ended: by an operator, or because its time is up",
        "nothing to do: the service comes back as its rules and timers allow",
    )
    RETURN = (
        "return",
        "0ed55213cd5c42ab8f7c47f43f7a04da",
        NOTICE,
        "an operator has ended the hold-down of a service, or its wait for a person",
        "nothing to do: the service comes back as its other timers allow",
    )
    MAINTENANCE_BEGAN = (
        "maintenance_began",
        "2f46e5c45c5b4a63a259276cbabd0baf",
        NOTICE,
        "HAProxy's map has put a service into maintenance",
        "remove the entry from the map when the work is done",
    )
    MAINTENANCE_ENDED = (
        "maintenance_ended",
        "2a1764fc29724b9fb836ef7eea83d7a3",
        NOTICE,
        "HAProxy's map has no entry for the service any more",
        "nothing to do: the service comes back as its rules and timers allow",
    )
    RELOAD_DONE = (
        "reload_done",
        "acb0b591955e486bb78bdd5b0e1a7d6a",
        NOTICE,
        "the agent has taken over the code and the profile on disk",
        "nothing to do",
    )
    RELOAD_REFUSED = (
        "reload_refused",
        "307a655c11aa4e97839e00676db2df25",
        ERROR,
        "the code or the profile on disk cannot be used; the agent goes on unchanged",
        "correct what the text names, and run `anycastd reload`",
    )
    SESSION_LOST = (
        "session_lost",
        "c35b3d67e82e456b80cfd7e0fda914f2",
        WARNING,
        "a BGP session has closed",
        "the text has what the neighbor or ExaBGP said; `anycastd status` shows what to do",
    )
    SESSION_FOUND = (
        "session_found",
        "7ebffb3d3c0643c49785b535a930e12e",
        NOTICE,
        "a BGP session is up",
        "nothing to do",
    )
    HAPROXY_GONE = (
        "haproxy_gone",
        "fc736df2c3b94b789d7c2da21aa7e8a8",
        ERROR,
        "HAProxy does not run, or does not answer on its stats socket",
        "see HAProxy's log, and start it",
    )
    HAPROXY_BACK = (
        "haproxy_back",
        "303e0b7bcfd14117887f81d0d3746f37",
        NOTICE,
        "HAProxy answers on its stats socket",
        "nothing to do",
    )
    HAPROXY_CHANGED = (
        "haproxy_changed",
        "ec71578e3e2247bcae11b7f75ed648aa",
        INFO,
        "another worker of HAProxy answers: HAProxy was reloaded or restarted",
        "nothing to do",
    )
    PROBLEM_BEGAN = (
        "problem_began",
        "be316d4f87f449fc825b730e1b37a369",
        WARNING,
        "something is not as wanted",
        "the text says what to do; `anycastd status` shows whether it is still so",
    )
    PROBLEM_ENDED = (
        "problem_ended",
        "dc8d3d201e4d49d3990383829ce38773",
        NOTICE,
        "a problem is over",
        "nothing to do",
    )
    AGENT_STARTED = (
        "agent_started",
        "223220be274f4ce885ca71cd02f624ac",
        NOTICE,
        "the agent has started",
        "nothing to do",
    )
    AGENT_STOPPED = (
        "agent_stopped",
        "ff79213d2b924921aff1ed479f5677ab",
        NOTICE,
        "the agent ends in order; a crash leaves no such event",
        "start it with `systemctl start anycastd` if it is meant to run",
    )

    def __new__(cls, name: str, *_: object) -> Self:
        """Make the first value the name."""
        kind = object.__new__(cls)
        kind._value_ = name
        return kind

    def __init__(
        self, _name: str, message_id: str, priority: int, meaning: str, remedy: str
    ) -> None:
        self.message_id = message_id
        self.priority = priority
        self.meaning = meaning
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    ``at`` is Unix time (s).  ``text`` is one sentence without a time.  ``service``, ``neighbor``
    (address) and ``haproxy`` (instance) name what it is about, ``reason`` is the name of a Reason;
    each is empty where there is none.  ``fields`` are more values, for programs.  ``number``
    orders events, also over restarts; the event log gives it (0: not given yet).
    """

    at: float
    kind: EventKind
    text: str
    service: str = ""
    neighbor: str = ""
    haproxy: str = ""
    reason: str = ""
    fields: Mapping[str, Value] = field(default_factory=dict)
    number: int = 0

    @property
    def priority(self) -> int:
        """The priority of this event (syslog(3)).

        A step up is a notice, one that an operator asked for too, and another withdrawal an error.
        """
        if self.kind is EventKind.TRANSITION:
            if self.reason in _WANTED or self.is_step_up:
                return NOTICE
            return ERROR if self.fields.get("to") == _LEVELS[0] else WARNING
        return self.kind.priority

    @property
    def is_step_up(self) -> bool:
        """Whether it is a change to a better level."""
        return _rank(self.fields.get("to")) > _rank(self.fields.get("from"))

    def to_json(self) -> dict[str, Any]:
        """Return the event as values for json.dumps; ``time`` is ``at`` in UTC, for people."""
        return {
            "v": 1,
            "number": self.number,
            "at": round(self.at, 3),
            "time": format_time(self.at),
            "kind": self.kind.value,
            "service": self.service,
            "neighbor": self.neighbor,
            "haproxy": self.haproxy,
            "reason": self.reason,
            "text": self.text,
            "fields": dict(self.fields),
        }

    @classmethod
    def from_json(cls, data: object) -> Event:
        """Build an event from what ``to_json`` returned; unknown keys are ignored.

        Raises ValueError for anything else, and for a kind that this release does not know.
        """
        item: dict[str, Any] = data if isinstance(data, dict) else {}
        at, kind, number = item.get("at"), item.get("kind"), item.get("number", 0)
        fields = item.get("fields", {})
        texts = {key: item.get(key, "") for key in _TEXTS}
        if (
            not (_is_number(at) and -_MAX_AT < at < _MAX_AT)
            or not (isinstance(kind, str) and kind in _KINDS)
            or type(number) is not int
            or not (isinstance(fields, dict) and all(map(_is_plain, fields.values())))
            or not all(isinstance(text, str) for text in texts.values())
        ):
            raise ValueError("it is no event that this release knows")
        return cls(float(at), _KINDS[kind], **texts, fields=fields, number=number)


_KINDS: dict[str, EventKind] = {kind.value: kind for kind in EventKind}
_TEXTS = ("text", "service", "neighbor", "haproxy", "reason")
_MAX_AT = 1e11  # the year 5138, which datetime has


def format_time(at: float) -> str:
    """Format Unix time in UTC, with milliseconds: ``2026-11-30T03:01:20.123Z``."""
    moment = datetime.fromtimestamp(round(at, 3), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _rank(level: Value) -> int:
    return _LEVELS.index(level) if level in _LEVELS else -1
