"""A profile that is not finished: its values, marks for what to edit, and notes (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_SIZE = 1 << 20
"""Bytes of a file that is read."""
MAX_ITEMS = 1000
"""Neighbors, services, checks and notes at most."""

Flow = str | int | float | bool | list["Flow"] | Mapping[str, "Flow"]
"""A value of YAML that is written in one line."""


class SourceError(ValueError):
    """The input cannot be read: ``message`` says what is wrong at ``line`` (0: as a whole)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True, slots=True)
class Note:
    """What of the input has no counterpart, or another one: ``text`` about ``line`` (0: none)."""

    line: int
    text: str


@dataclass(slots=True)
class NeighborDraft:
    """A neighbor; ``keys`` are its other keys.  ``edit``: what to look at, empty for nothing."""

    address: str
    peer_as: int
    keys: dict[str, Flow] = field(default_factory=dict)
    edit: str = ""


@dataclass(slots=True)
class ServiceDraft:
    """A service: ``keys`` -> value in the order in which they are written.

    ``edits``: key -> what to look at.
    """

    name: str
    keys: dict[str, Flow]
    edits: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class HaproxyDraft:
    """The stats socket of HAProxy and its ring (None: none).  ``edit`` as in NeighborDraft."""

    socket: str = "/run/haproxy/anycastd.sock"
    ring: str | None = None
    edit: str = "the path of HAProxy's stats socket"


@dataclass(slots=True)
class Draft:
    """A whole profile; what is None is not known, and is written with a mark.

    ``haproxy`` None: no rule needs it.  ``checks`` and ``hooks`` are those of the profile.
    """

    local_as: int | None = None
    router_id: str | None = None
    local_address: str | None = None
    hold_time: int | None = None
    platform: str = "plain"
    neighbors: list[NeighborDraft] = field(default_factory=list)
    haproxy: HaproxyDraft | None = None
    checks: dict[str, dict[str, Flow]] = field(default_factory=dict)
    services: list[ServiceDraft] = field(default_factory=list)
    hooks: list[dict[str, Flow]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def note(self, line: int, text: str) -> None:
        """Add a note about ``line`` of the input, once; beyond MAX_ITEMS there are no more."""
        found = Note(line, text)
        if len(self.notes) < MAX_ITEMS and found not in self.notes:
            self.notes.append(found)

    def add_service(self, line: int, service: ServiceDraft) -> None:
        """Add a service; its name gets a number where it is taken.

        Raises SourceError with ``line`` where there are too many.
        """
        if len(self.services) >= MAX_ITEMS:
            raise SourceError(line, f"more than {MAX_ITEMS} services")
        taken = {each.name for each in self.services}
        name, number = service.name, 1
        while service.name in taken:
            number += 1
            service.name = f"{name}-{number}"
        self.services.append(service)


def make_name(text: str, default: str = "web") -> str:
    """Make a name for a profile from any text: letters, digits and - _ alone."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:40] or default


def find_own_path(numbers: list[int], local_as: int | None) -> int:
    """Return the number of prepends in an AS path of the input: it is written as a whole there."""
    own = [number for number in numbers if local_as is None or number == local_as]
    return max(0, len(own) - 1)
