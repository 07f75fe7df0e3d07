"""Lines of a recording -> its passes, each with all its inputs (pure).

Everything is checked: a line that is damaged, or of another version, is refused with its number.
Only a last line without its newline is left out, since an agent may have been killed in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from anycastd.decision.drains import Drain
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs
from anycastd.decision.policy import Transition
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.recording.codec import (
    BOOLEAN,
    INTEGER,
    KIND,
    NUMBER,
    TEXT,
    FormatError,
    as_object,
    list_of,
    record_of,
)
from anycastd.recording.limits import MAGIC, MAX_LINE, VERSION
from anycastd.recording.patch import apply_patch
from anycastd.recording.values import (
    BACKEND,
    DRAIN,
    MEMORY,
    OBSERVATION,
    OF_EVIDENCE,
    PARTS,
    TRANSITION,
)

NOT_ENDED = "its last line is missing: the agent ended without it"
"""Why a recording ends that does not say so itself."""
_UNREADABLE = (ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError)


class RecordingError(Exception):
    """A recording cannot be used; the text has the number of the line, and what to do."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: what a recording begins with.

    ``version`` is that of the anycastd that wrote it, ``profile`` the text of its profile.  ``at``
    is own time and ``wall`` Unix time, in seconds.  ``memory``: service -> Memory.
    """

    version: str
    region: str
    at: float
    wall: float
    memory: Mapping[str, Memory]
    profile: str


@dataclass(frozen=True, slots=True)
class Step:
    """One pass.  ``at`` is own time and ``wall`` Unix time, in seconds.

    ``inputs`` are all but the drains; ``drains`` are those that began or changed since the pass
    before it, by their keys, and None for each that ended.  ``steady``: so many passes with the
    same inputs, this one included, ended with this one; evidence came all the time between.
    ``expired``: the lease had expired.  ``memory`` is set where another agent went on, with this
    memory.  ``transitions`` are the changes of level that this pass decided.
    """

    at: float
    wall: float
    inputs: Inputs
    steady: int = 0
    drains: Mapping[str, Drain | None] = field(default_factory=dict)
    expired: bool = False
    memory: Mapping[str, Memory] | None = None
    transitions: tuple[Transition, ...] = ()


class RecordingReader:
    """Reads the lines of one recording, in bytes.

    ``header`` is its first line.  ``ended`` says why it ends, and ``ended_at`` (Unix time) when,
    once all steps were read; empty and None before.  Raises RecordingError where ``lines`` do not
    begin like a recording.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._number = 0
        self.ended = ""
        self.ended_at: float | None = None
        first = self._next()
        version = None if first is None else first.get(MAGIC)
        if first is None or version is None:
            raise RecordingError("line 1: it is no recording of `anycastd record`")
        if type(version) is not int or version != VERSION:
            raise RecordingError(
                f"line 1: it has the format {str(version)[:20]}, and this release reads {VERSION}; "
                "use the release that wrote it"
            )
        try:
            self.header: Header = _HEADER.load(
                {name: value for name, value in first.items() if name != MAGIC}, "it"
            )
        except FormatError as error:
            self._refuse(str(error))
        self._tree: dict[str, Any] = {}
        self._inputs = Inputs()
        self._offset = self.header.wall - self.header.at
        self._at = self.header.at

    def iter_steps(self) -> Iterator[Step]:
        """Yield the passes in order; call it once.  Raises RecordingError for a damaged line."""
        while (line := self._next()) is not None:
            if self.ended:
                self._refuse("it stands after the end")
            try:
                if "end" in line:
                    self._end(line)
                    continue
                yield self._read_step(line)
            except _UNREADABLE as error:
                self._refuse(str(error) if isinstance(error, FormatError) else "it is damaged")
        if not self.ended:
            self.ended, self.ended_at = NOT_ENDED, self._at + self._offset

    def _next(self) -> dict[str, Any] | None:
        line = next(self._lines, b"")
        self._number += 1
        if len(line) > MAX_LINE:
            self._refuse(f"it is longer than {MAX_LINE} bytes")
        if not line.endswith(b"\n"):
            if line and self._number == 1:
                self._refuse("it is no recording of `anycastd record`")
            return None
        try:
            return as_object(json.loads(line, parse_constant=_refuse_constant), "it")
        except _UNREADABLE:
            self._refuse("it is no recording" if self._number == 1 else "it is damaged")

    def _refuse(self, why: str) -> NoReturn:
        raise RecordingError(f"line {self._number}: {why}")

    def _end(self, line: dict[str, Any]) -> None:
        end: _End = _END.load(line, "it")
        self.ended, self.ended_at = end.end or "?", end.wall

    def _read_step(self, line: dict[str, Any]) -> Step:
        loaded: _Line = _LINE.load(
            {name: value for name, value in line.items() if name not in _PATCHES}, "it"
        )
        if loaded.at < self._at:
            raise FormatError("its time is before that of the line above")
        self._at = loaded.at
        if loaded.offset is not None:
            self._offset = loaded.offset
        if "inputs" in line:
            self._inputs = self._read_inputs(as_object(line["inputs"], "inputs"))
        drains = as_object(line.get("drains", {}), "drains")
        return Step(
            loaded.at,
            loaded.at + self._offset,
            self._inputs,
            loaded.steady,
            {
                key: None if item is None else DRAIN.load(item, f"drains.{key}")
                for key, item in drains.items()
            },
            loaded.expired,
            loaded.memory,
            loaded.transitions,
        )

    def _read_inputs(self, patch: dict[str, Any]) -> Inputs:
        before, tree = self._inputs, apply_patch(self._tree, patch)
        self._tree = tree
        found: dict[str, Any] = {}
        looks = dict(before.evidence.haproxy)
        for name, part in patch.items():
            if name == "haproxy":
                looks = self._read_looks(looks, as_object(part, name), tree[name])
            elif name not in PARTS:
                raise FormatError(f"inputs has the unknown key {name[:40]!r}")
            else:
                value = tree.get(name)
                found[name] = None if value is None else PARTS[name].load(value, name)
        others = {name: found.pop(name) or {} for name in OF_EVIDENCE if name in found}
        names = {"regions": "region_reports"}
        return replace(
            before,
            evidence=replace(before.evidence, haproxy=looks, **others),
            **{names.get(name, name): value for name, value in found.items()},
        )

    def _read_looks(
        self, looks: dict[str, Any], patch: dict[str, Any], tree: dict[str, Any]
    ) -> dict[str, Any]:
        for name, part in patch.items():
            if part is None:
                looks.pop(name, None)
                continue
            before, place = looks.get(name), f"haproxy.{name}"
            if isinstance(before, Snapshot) and KIND not in as_object(part, place):
                looks[name] = _patch_snapshot(before, part, tree[name], place)
            else:
                looks[name] = OBSERVATION.load(tree[name], place)
        return looks


def _patch_snapshot(
    before: Snapshot, patch: dict[str, Any], tree: dict[str, Any], place: str
) -> Snapshot:
    """Load a look of which ``patch`` has changed, and take the other backends from ``before``."""
    known = tree["backends"]
    backends = {name: each for name, each in before.backends.items() if name in known}
    for name in as_object(patch.get("backends", {}), place):
        if name in known:
            backends[name] = BACKEND.load(known[name], f"{place}.backends.{name}")
    look: Snapshot = OBSERVATION.load({**tree, "backends": {}}, place)
    return replace(look, backends=backends)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class _Line:
    at: float
    offset: float | None = None
    steady: int = 0
    expired: bool = False
    memory: Mapping[str, Memory] | None = None
    transitions: tuple[Transition, ...] = ()


@dataclass(frozen=True, slots=True)
class _End:
    end: str
    wall: float


_PATCHES = ("inputs", "drains")
_LINE = record_of(
    _Line,
    at=NUMBER,
    offset=NUMBER,
    steady=INTEGER,
    expired=BOOLEAN,
    memory=MEMORY,
    transitions=list_of(TRANSITION),
)
_END = record_of(_End, end=TEXT, wall=NUMBER)
_HEADER = record_of(
    Header, version=TEXT, region=TEXT, at=NUMBER, wall=NUMBER, memory=MEMORY, profile=TEXT
)
