"""The passes of an agent -> lines of a recording (pure).

Only what changed is written.  A pass is left out if it changed nothing, and if its inputs were
those of the pass before it but for times: so an hour in which all is well has sixty lines.  The
last of such passes is always written (``steady`` counts them), so that the state before a change is
known exactly.  A line that is written has every time of its pass, so that the same passes come out
of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anycastd.decision.drains import DrainTable
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.profile.conditions import AllOf, AnyOf, LimitRule
from anycastd.profile.model import Profile
from anycastd.recording.limits import MAGIC, MAX_STEADY, MAX_WALL_ERROR, VERSION
from anycastd.recording.patch import make_patch
from anycastd.recording.values import (
    BACKEND,
    DRAIN,
    MEMORY,
    OBSERVATION,
    PARTS,
    SERVERS,
    SNAPSHOT,
    TRANSITION,
    list_parts,
)

_TIMES = {
    ("haproxy", "*", "asked_at"),
    ("haproxy", "*", "worker", "uptime"),
    ("haproxy", "*", "worker", "began_at"),
    ("haproxy", "*", "backends", "*", "asked_at"),
    ("haproxy", "*", "frontends", "*", "asked_at"),
    ("self_test", "*", "asked_at"),
    ("self_test", "*", "count"),
    ("checks", "*", "asked_at"),
    ("checks", "*", "count"),
    ("checks", "*", "detail"),
    ("regions", "*", "asked_at"),
}
"""Places in the inputs that change with each look although all is as before."""
_LOADS = {
    ("haproxy", "*", "backends", "*", "sessions"),
    ("haproxy", "*", "backends", "*", "queued_requests"),
    ("haproxy", "*", "frontends", "*", "sessions"),
}
"""Places of loads: likewise, unless a rule of the profile limits this load."""


@dataclass(frozen=True, slots=True)
class RecordedPass:
    """One pass as the decision loop ran it.

    ``at`` is own time and ``wall`` Unix time, in seconds.  ``memory`` is what the pass began with.
    ``expired``: the lease had expired since the pass before it, and ``memory`` says so already.
    """

    at: float
    wall: float
    memory: Mapping[str, Memory]
    inputs: Inputs
    result: PassResult
    expired: bool = False


@dataclass(slots=True)
class RecordingWriter:
    """Turns passes into lines, each with its newline.

    ``profile`` is the profile that runs, ``text`` its text without secrets.  ``version`` is that of
    anycastd.
    """

    profile: Profile
    text: str
    version: str
    _last: RecordedPass | None = None
    _tree: dict[str, Any] = field(default_factory=dict)  # of the last pass
    _written: dict[str, Any] = field(default_factory=dict)  # of the last line
    _written_at: float = 0.0
    _offset: float | None = None
    _steady: int = 0
    _watched: frozenset[tuple[str, ...]] = frozenset()

    def add(self, each: RecordedPass) -> list[str]:
        """Return the lines to write for the next pass: the header first, and often none."""
        last = self._last
        tree = self._dump_inputs(each)
        lines = []
        if last is None:
            self._watched = frozenset(_iter_limited(self.profile))
            lines.append(self._dump_header(each))
        elif self._is_steady(last, each, tree):
            self._steady += 1
            self._last, self._tree = each, tree
            due = each.at - self._written_at >= MAX_STEADY
            return [self._dump_pass(each, tree)] if due else []
        elif self._steady:
            lines.append(self._dump_pass(last, self._tree))
        before = last
        self._last, self._tree = each, tree
        lines.append(self._dump_pass(each, tree, before=before, whole=True))
        return lines

    def end(self, why: str, wall: float) -> list[str]:
        """Return the last lines; ``why`` says why the recording ends, ``wall`` is Unix time."""
        lines = []
        if self._last is not None and self._steady:
            lines.append(self._dump_pass(self._last, self._tree))
        return [*lines, _dump({"end": why, "wall": round(wall, 3)})]

    def _is_steady(self, last: RecordedPass, each: RecordedPass, tree: dict[str, Any]) -> bool:
        """Return whether nothing happened in this pass."""
        result = each.result
        return (
            not each.expired
            and not result.transitions
            and each.memory == last.result.memory
            and result.memory == each.memory
            and each.inputs.drains == last.result.drains
            and result.drains == each.inputs.drains
            and self._has_only_times(make_patch(self._tree, tree), ())
        )

    def _has_only_times(self, patch: Any, path: tuple[str, ...]) -> bool:  # noqa: ANN401 - JSON
        if type(patch) is not dict:
            named = (1, 3) if path[2:3] in {("backends",), ("frontends",)} else (1,)
            place = tuple("*" if n in named else step for n, step in enumerate(path))
            return place in _TIMES or (place in _LOADS and path not in self._watched)
        return all(self._has_only_times(value, (*path, name)) for name, value in patch.items())

    # Lines ---------------------------------------------------------------------------------------

    def _dump_header(self, first: RecordedPass) -> str:
        return _dump(
            {
                MAGIC: VERSION,
                "version": self.version,
                "region": self.profile.region,
                "at": first.at,
                "wall": round(first.wall, 3),
                "memory": MEMORY.dump(first.memory),
                "profile": self.text,
            }
        )

    def _dump_pass(
        self,
        each: RecordedPass,
        tree: dict[str, Any],
        *,
        before: RecordedPass | None = None,
        whole: bool = False,
    ) -> str:
        """Dump one pass; ``whole``: something happened in it, after the pass ``before`` it."""
        line: dict[str, Any] = {"at": each.at}
        offset = round(each.wall - each.at, 3)
        if self._offset is None or abs(offset - self._offset) > MAX_WALL_ERROR:
            self._offset = line["offset"] = offset
        if self._steady:
            line["steady"] = self._steady
        if whole:
            line |= self._dump_changes(each, before)
        patch = make_patch(self._written, tree)
        if patch:
            line["inputs"] = patch
        self._written, self._written_at, self._steady = tree, each.at, 0
        return _dump(line)

    def _dump_changes(self, each: RecordedPass, before: RecordedPass | None) -> dict[str, Any]:
        """Dump what a pass has besides its inputs: drains, an expiry, transitions."""
        line: dict[str, Any] = {}
        known: DrainTable = {} if before is None else before.result.drains
        drains = {
            key: None if key not in each.inputs.drains else DRAIN.dump(each.inputs.drains[key])
            for key in (*known, *(key for key in each.inputs.drains if key not in known))
            if known.get(key) != each.inputs.drains.get(key)
        }
        if drains:
            line["drains"] = drains
        if each.expired and before is not None:
            line["expired"] = True
        elif before is not None and each.memory != before.result.memory:
            line["memory"] = MEMORY.dump(each.memory)
        transitions = each.result.transitions
        if transitions:
            line["transitions"] = [TRANSITION.dump(one) for one in transitions]
        return line

    # Inputs --------------------------------------------------------------------------------------

    def _dump_inputs(self, each: RecordedPass) -> dict[str, Any]:
        """Dump the inputs; parts that are as in the pass before are the same objects as there."""
        before = None if self._last is None else list_parts(self._last.inputs)
        tree = {}
        for name, value in list_parts(each.inputs).items():
            if before is not None and before[name] is value and name in self._tree:
                tree[name] = self._tree[name]
            elif value is not None:
                tree[name] = PARTS[name].dump(value)
        tree["haproxy"] = {
            name: self._dump_look(name, look) for name, look in each.inputs.evidence.haproxy.items()
        }
        return tree

    def _dump_look(self, name: str, look: Any) -> Any:  # noqa: ANN401 - an Observation, JSON
        before = None if self._last is None else self._last.inputs.evidence.haproxy.get(name)
        if before is look and name in self._tree.get("haproxy", {}):
            return self._tree["haproxy"][name]
        known = getattr(before, "backends", None)
        if not known or not hasattr(look, "backends"):
            return OBSERVATION.dump(look)
        # Thousands of servers are compared, which is cheap, and dumped only where they differ.
        dumped = self._tree["haproxy"][name]["backends"]
        found = SNAPSHOT.dump(_WithoutBackends(look))
        found["kind"] = type(look).__name__
        found["backends"] = {
            key: _dump_backend(backend, known.get(key), dumped.get(key))
            for key, backend in look.backends.items()
        }
        return found


class _WithoutBackends:
    """A look as it is, but without its backends: these are dumped one by one."""

    def __init__(self, look: Any) -> None:  # noqa: ANN401 - a Snapshot
        self._look = look
        self.backends: Mapping[str, Any] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a field of a Snapshot
        return getattr(self._look, name)


class _WithoutServers:
    """A backend as it is, but without its servers."""

    def __init__(self, backend: Any) -> None:  # noqa: ANN401 - a Backend
        self._backend = backend
        self.servers: tuple[Any, ...] = ()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a field of a Backend
        return getattr(self._backend, name)


def _dump_backend(backend: Any, known: Any, dumped: Any) -> Any:  # noqa: ANN401 - as above
    found = BACKEND.dump(_WithoutServers(backend))
    same = known is not None and dumped is not None and known.servers == backend.servers
    found["servers"] = dumped["servers"] if same else SERVERS.dump(backend.servers)
    return found


def _iter_limited(profile: Profile) -> Iterator[tuple[str, ...]]:
    """Yield the places of the loads that a rule of the profile limits."""
    conditions: list[Any] = []
    for service in profile.services.values():
        conditions += [condition for _, condition in service.conditions]
    while conditions:
        each = conditions.pop()
        if isinstance(each, AllOf | AnyOf):
            conditions += each.rules
        elif isinstance(each, LimitRule):
            kind = "frontends" if each.frontend else "backends"
            load = "queued_requests" if each.load.value == "queue" else "sessions"
            yield ("haproxy", each.instance, kind, each.proxy, load)


def _dump(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def dump_lines(lines: Iterable[str]) -> bytes:
    """Encode lines as they stand in the file; a character that UTF-8 lacks is replaced."""
    return "".join(lines).encode("utf-8", "backslashreplace")
