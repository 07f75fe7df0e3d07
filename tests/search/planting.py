"""Plant a fault in a copy of the sources, to show that a search finds it.

A fault in one module must reach every module that imports it, directly or not.  So all modules from
the faulty one up to the search (a *chain*, read from the imports in their sources) are executed
again, the imported ones first.  The search is the last of them, so it uses the same classes as the
code that it searches, and `is` and `isinstance` work.  Modules outside the chain are not copied,
and nothing that was imported before changes.

Numbers in the modules of the search keep their values: the search must not measure a fault in a
number with the faulty number.
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

# The modules in which faults are planted.
MODULES = {
    "reasons": "anycastd.reasons",
    "finding": "anycastd.evidence.finding",
    "check_observation": "anycastd.evidence.checks.observation",
    "check_evaluate": "anycastd.evidence.checks.evaluate",
    "snapshot": "anycastd.evidence.haproxy.snapshot",
    "servers": "anycastd.evidence.haproxy.servers",
    "check_results": "anycastd.evidence.haproxy.check_results",
    "backend_line": "anycastd.evidence.haproxy.backend_line",
    "brief_look": "anycastd.evidence.haproxy.brief_look",
    "judged_rows": "anycastd.evidence.haproxy.judged_rows",
    "stats": "anycastd.evidence.haproxy.stats",
    "refusals": "anycastd.evidence.servers.refusals",
    "sources": "anycastd.evidence.sources",
    "conditions": "anycastd.evidence.haproxy.conditions",
    "verdict": "anycastd.decision.verdict",
    "last_known": "anycastd.decision.last_known",
    "memory": "anycastd.decision.memory",
    "caps": "anycastd.decision.caps",
    "next_hop": "anycastd.decision.next_hop",
    "med": "anycastd.decision.med",
    "policy": "anycastd.decision.policy",
    "drains": "anycastd.decision.drains",
    "stored_drains": "anycastd.decision.stored_drains",
    "routes": "anycastd.decision.routes",
    "pipeline": "anycastd.decision.pipeline",
    "sessions": "anycastd.decision.sessions",
    "session": "anycastd.bgp.session",
    "messages": "anycastd.lease.messages",
    "owner": "anycastd.lease.owner",
    "due": "anycastd.lease.due",
    "machine": "anycastd.lease.machine",
}
DECISION_SEARCH = "search.world"
"""The search of the agent's decisions."""
SERVERS_SEARCH = "search.servers_world"
"""The search of HAProxy's servers, from rows to the decision."""
BRIEF_SEARCH = "search.brief_world"
"""The same search, with brief looks at a large backend."""
CHECKS_SEARCH = "search.checks_world"
"""The search of a check on which a service rests."""
ASKED_SEARCH = "search.asked_world"
"""The search of servers that are asked by TCP."""
PASSES_SEARCH = "search.passes_world"
"""The comparison of the fast and the plain way of a pass."""
LEASE_SEARCH = "search.lease_world"
"""The search of agent and lease together."""

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = (Path(anycastd.__file__).resolve().parents[1], TESTS)
"""Folders of our own modules; no other module is ever executed again."""


def plant_fault(key: str, old: str, new: str, search: str = DECISION_SEARCH) -> ModuleType:
    """Return a copy of a search whose code has a fault.

    In the source of the module ``key`` of MODULES, ``old`` is replaced by ``new``.  Raises
    AssertionError if ``old`` is not there exactly once.
    """
    name = MODULES[key]
    times = _read_source(name).count(old)
    if times != 1:
        candidates = (each for each in sorted(import_graph(search)) if each != name)
        having = [each for each in candidates if old in _read_source(each)]
        moved = f" (but {', '.join(having)} has it)" if having else ""
        raise AssertionError(f"{name} has {times} times{moved}: {old}")
    return copy_chain(search, name, lambda source: source.replace(old, new))[search]


def copy_chain(search: str, name: str, edit: Callable[[str], str] = str) -> dict[str, ModuleType]:
    """Execute the edited source of module ``name``, and then its chain up to ``search``.

    Returns module name -> its copy, in the order of execution.
    """
    before = {each: import_module(each) for each in find_chain(search, name)}
    for each in before:
        late = _list_imports(each, in_functions=True).intersection(before)
        assert not late, f"{each} imports {late} in a function: it would not get the copy"
    copies: dict[str, ModuleType] = {}
    try:
        for each, original in before.items():
            source = _read_source(each)
            copies[each] = _execute(original, edit(source) if each == name else source)
    finally:
        sys.modules.update(before)
        for each, original in before.items():
            _attach(each, original)
    return copies


def find_chain(search: str, name: str) -> list[str]:
    """List a module and all that import it, up to a search; imported modules come first."""
    graph = import_graph(search)
    assert name in graph, f"{search} does not run {name}"
    found = [name]
    for each in TopologicalSorter(graph).static_order():
        if not graph[each].isdisjoint(found):
            found.append(each)
    return found


@cache
def import_graph(search: str) -> dict[str, set[str]]:
    """Return all of our modules that a search runs: name -> the names that it imports itself."""
    found: dict[str, set[str]] = {}
    left = [search]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = _list_imports(name)
            left += found[name]
    return found


def _execute(original: ModuleType, source: str) -> ModuleType:
    """Execute a source as a new module in place of one of ours that is imported already."""
    spec = original.__spec__
    assert spec is not None
    assert spec.origin is not None
    copy = module_from_spec(spec)
    for name, module in list(sys.modules.items()):
        package, _, child = name.rpartition(".")
        if package == spec.name:
            setattr(copy, child, module)
    sys.modules[spec.name] = copy
    _attach(spec.name, copy)
    exec(compile(source, spec.origin, "exec", dont_inherit=True), vars(copy))  # noqa: S102 - ours
    if Path(spec.origin).is_relative_to(TESTS):
        vars(copy).update({k: v for k, v in vars(original).items() if type(v) in {int, float}})
    return copy


def _attach(name: str, module: ModuleType) -> None:
    """Make a module an attribute of its package."""
    package, _, child = name.rpartition(".")
    if package:
        setattr(sys.modules[package], child, module)


def _list_imports(name: str, *, in_functions: bool = False) -> set[str]:
    """List our modules that a module imports, or those that its functions import."""
    tree = ast.parse(_read_source(name))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    parts = [n for n in ast.walk(tree) if isinstance(n, functions)] if in_functions else [tree]
    imported = (each for part in parts for node in ast.walk(part) for each in _iter_imported(node))
    return {each for each in imported if _find_source(each) is not None}


def _iter_imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import; write it in full: {ast.unparse(node)}"
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            yield str(node.module) if _find_source(module) is None else module


def _read_source(name: str) -> str:
    path = _find_source(name)
    assert path is not None, f"there is no module {name} of ours"
    return path.read_text(encoding="utf-8")


@cache
def _find_source(name: str) -> Path | None:
    """Find the source of a module; None where it is not ours."""
    path = Path(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    candidates = (folder / file for folder in FOLDERS for file in files)
    return next((file for file in candidates if file.is_file()), None)
