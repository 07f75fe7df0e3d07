"""Faults planted in copies of the sources, so that a search can be seen to find them.

A fault in one module is a fault of every module that stands on it.  So all modules between the
faulty one and the search (a *chain*, read from the imports in their sources) are run anew, lowest
first, each on those that were run anew before it.  The search itself is the last of them: it makes
its values of the very classes that the code under search knows, so `is` and `isinstance` hold.
Whatever is not in the chain stays what it is, and what everybody else has imported does too.

Numbers of the search's own modules stay as they were, wherever they come from: a fault in a number
must not move what it is held against.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import anycastd

# The modules in which faults are planted: when one is moved, its name here is all that changes.
MODULES = {
    "reasons": "anycastd.reasons",
    "finding": "anycastd.evidence.finding",
    "snapshot": "anycastd.evidence.haproxy.snapshot",
    "conditions": "anycastd.evidence.haproxy.conditions",
    "verdict": "anycastd.decision.verdict",
    "last_known": "anycastd.decision.last_known",
    "memory": "anycastd.decision.memory",
    "caps": "anycastd.decision.caps",
    "policy": "anycastd.decision.policy",
    "drains": "anycastd.decision.drains",
    "routes": "anycastd.decision.routes",
    "pipeline": "anycastd.decision.pipeline",
    "session": "anycastd.bgp.session",
    "messages": "anycastd.lease.messages",
    "owner": "anycastd.lease.owner",
    "machine": "anycastd.lease.machine",
}
DECISIONS = "search.world"
"""The search of what an agent decides."""
TOGETHER = "search.lease_world"
"""The search of agent and lease together."""

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = (Path(anycastd.__file__).resolve().parents[1], TESTS)
"""What lies here is ours; nothing else is ever run anew."""


def planted(part: str, old: str, new: str, search: str = DECISIONS) -> ModuleType:
    """Give a search of code with a fault: one text of one of MODULES is replaced."""
    name = MODULES[part]
    times = _source(name).count(old)
    if times != 1:
        others = [each for each in sorted(graph(search)) if each != name and old in _source(each)]
        moved = f" (but {', '.join(others)} has it)" if others else ""
        raise AssertionError(f"{name} has {times} times{moved}: {old}")
    return anew(search, name, lambda source: source.replace(old, new))[search]


def anew(search: str, name: str, edit: Callable[[str], str] = str) -> dict[str, ModuleType]:
    """Run a module's source, edited, and with it its chain up to a search; give the copies."""
    before = {each: import_module(each) for each in chain(search, name)}
    for each in before:
        late = _imports(each, late=True).intersection(before)
        assert not late, f"{each} imports {late} in a function: it would get what is not planted"
    copies: dict[str, ModuleType] = {}
    try:
        for each, original in before.items():
            source = _source(each)
            copies[each] = _run(original, edit(source) if each == name else source)
    finally:
        sys.modules.update(before)
        for each, original in before.items():
            _hang(each, original)
    return copies


def chain(search: str, name: str) -> list[str]:
    """Name a module and all that stand on it up to a search, none before what it stands on."""
    there = graph(search)
    assert name in there, f"{search} does not run {name}"
    found = [name]
    for each in TopologicalSorter(there).static_order():
        if not there[each].isdisjoint(found):
            found.append(each)
    return found


@cache
def graph(search: str) -> dict[str, set[str]]:
    """Give all modules of ours that a search runs, each with those that it imports itself."""
    found: dict[str, set[str]] = {}
    left = [search]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = _imports(name)
            left += found[name]
    return found


def _run(original: ModuleType, source: str) -> ModuleType:
    """Run a source in place of a module of ours that is there already."""
    spec = original.__spec__
    assert spec is not None
    assert spec.origin is not None
    copy = module_from_spec(spec)
    for name, module in list(sys.modules.items()):
        package, _, child = name.rpartition(".")
        if package == spec.name:
            setattr(copy, child, module)
    sys.modules[spec.name] = copy
    _hang(spec.name, copy)
    exec(compile(source, spec.origin, "exec", dont_inherit=True), vars(copy))  # noqa: S102 - ours
    if Path(spec.origin).is_relative_to(TESTS):
        vars(copy).update({k: v for k, v in vars(original).items() if type(v) in {int, float}})
    return copy


def _hang(name: str, module: ModuleType) -> None:
    """Let a module be found through the package that it is in."""
    package, _, child = name.rpartition(".")
    if package:
        setattr(sys.modules[package], child, module)


def _imports(name: str, *, late: bool = False) -> set[str]:
    """Name the modules of ours that a module imports, or those that its functions import."""
    tree = ast.parse(_source(name))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    parts = [n for n in ast.walk(tree) if isinstance(n, functions)] if late else [tree]
    imported = (each for part in parts for node in ast.walk(part) for each in _imported(node))
    return {each for each in imported if _file(each) is not None}


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import; write it in full: {ast.unparse(node)}"
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            yield str(node.module) if _file(module) is None else module


def _source(name: str) -> str:
    path = _file(name)
    assert path is not None, f"there is no module {name} of ours"
    return path.read_text(encoding="utf-8")


@cache
def _file(name: str) -> Path | None:
    """Find the source of a module, None where it is not ours."""
    path = Path(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    there = (folder / file for folder in FOLDERS for file in files)
    return next((file for file in there if file.is_file()), None)
