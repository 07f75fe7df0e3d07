"""A planted fault reaches all code that a search runs, and a copy without one passes it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from search import planting
from search.planting import (
    DECISION_SEARCH,
    LEASE_SEARCH,
    MODULES,
    SERVERS_SEARCH,
    copy_chain,
    find_chain,
    import_graph,
    plant_fault,
)
from search.sequences import DRAIN_EVENTS, EVENTS, try_sequences


def list_searched(search: str) -> list[str]:
    """List the modules of the package that a search runs."""
    return sorted(name for name in import_graph(search) if name.startswith("anycastd."))


SEARCHED_MODULES = [
    (search, name)
    for search in (DECISION_SEARCH, LEASE_SEARCH, SERVERS_SEARCH)
    for name in list_searched(search)
]


def test_modules_with_faults_are_searched() -> None:
    """Every module of the table is run by a search."""
    assert set(MODULES.values()) <= {name for _, name in SEARCHED_MODULES}


def test_a_fault_in_the_lowest_module_reaches_the_decision() -> None:
    """The copies use the module with the fault; the modules that were imported before do not."""
    lowest, top = MODULES["reasons"], MODULES["pipeline"]
    assert not import_graph(DECISION_SEARCH)[lowest], f"{lowest} imports other modules now"
    old, new = '("every rule is true", "")', '("planted", "")'
    copies = copy_chain(DECISION_SEARCH, lowest, lambda source: source.replace(old, new))

    def read_sentence(pipeline: ModuleType, surroundings: ModuleType) -> str:
        look = surroundings.Surroundings().look(0.0)
        inputs = pipeline.Inputs(pipeline.Evidence({"main": look}))
        result = pipeline.advance(surroundings.build_profile("plain"), {}, inputs, 0.0)
        sentence: str = result.decisions["web"].verdict.serve.reason.sentence
        return sentence

    surroundings = "search.surroundings"
    assert read_sentence(copies[top], copies[surroundings]) == "planted"
    assert read_sentence(import_module(top), import_module(surroundings)) == "every rule is true"


def test_a_fault_in_the_lowest_module_reaches_the_lease() -> None:
    """The same for the state machine of the lease."""
    lowest, top = MODULES["session"], MODULES["machine"]
    assert not import_graph(LEASE_SEARCH)[lowest], f"{lowest} imports other modules now"
    fault = "\nNO_CONNECTION = 'planted'\n"
    copies = copy_chain(LEASE_SEARCH, lowest, lambda source: source + fault)

    def read_details(machine: ModuleType, lease_rig: ModuleType) -> set[str]:
        rig = lease_rig.LeaseRig()
        assert type(rig.lease) is machine.LeaseMachine
        rig.exabgp.up.clear()
        rig.carry_out(rig.lease.start(rig.now))
        return {neighbor.detail for neighbor in rig.lease.neighbors.values()}

    lease_rig = "support.lease_rig"
    assert read_details(copies[top], copies[lease_rig]) == {"planted"}
    assert "planted" not in read_details(import_module(top), import_module(lease_rig))


@pytest.mark.parametrize(("search", "name"), SEARCHED_MODULES)
def test_a_copy_uses_nothing_of_the_original(search: str, name: str) -> None:
    """No function, class or value in the copies is one of the modules that were copied."""
    import_module(search)
    before = dict(sys.modules)
    copies = copy_chain(search, name)
    assert list(copies) == find_chain(search, name)
    assert all(sys.modules[each] is before[each] for each in copies)
    old = _name_objects({each: before[each] for each in copies})
    new = _name_objects(copies)
    assert set(old.values()) == set(new.values())
    reached = _reach_objects(copies)
    assert new.keys() <= reached
    assert not [old[found] for found in reached if found in old]


@pytest.mark.parametrize("name", list_searched(DECISION_SEARCH))
def test_a_copy_without_a_fault_passes_the_decision_search(name: str) -> None:
    """So what a search finds in a copy is its fault."""
    worlds = copy_chain(DECISION_SEARCH, name)[DECISION_SEARCH].World
    for variant, events in (("plain", EVENTS), ("first", DRAIN_EVENTS)):
        world = worlds.begin(variant)
        assert try_sequences(world, 1, events)
        assert try_sequences(world.recover().apply(events[0]), 1, events)


@pytest.mark.parametrize("name", list_searched(LEASE_SEARCH))
def test_a_copy_without_a_fault_passes_the_lease_search(name: str) -> None:
    """The same for agent and lease together."""
    copy = copy_chain(LEASE_SEARCH, name)[LEASE_SEARCH]
    copy.search_lease(copy.LeaseMachine, 3, shrink=False)


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("no such text", "has 0 times: no such text"),
        ("def judge_service(", rf"has 0 times \(but {MODULES['verdict']} has it\): def judge"),
        ("memory.level", r"has [2-9] times"),
        ("", r"has \d+ times"),
    ],
)
def test_the_text_to_replace_must_be_there_once(old: str, message: str) -> None:
    """Otherwise a change of the source would leave a test that plants nothing."""
    with pytest.raises(AssertionError, match=message):
        plant_fault("policy", old, "something else")


def test_a_fault_in_a_module_that_is_not_searched_is_refused() -> None:
    """The search could not find it."""
    with pytest.raises(
        AssertionError, match=f"{DECISION_SEARCH} does not run {MODULES['machine']}"
    ):
        copy_chain(DECISION_SEARCH, MODULES["machine"])


def test_modules_of_packages_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules may be in packages, and be imported in every way that Python has."""
    sources = {
        "planting_package/__init__.py": "",
        "planting_package/deep/__init__.py": "from planting_package.deep.low import Low",
        "planting_package/deep/low.py": "class Low:\n    word = 'sound'",
        "planting_package/deep/beside.py": "class Beside: ...",
        "planting_package/a.py": "from planting_package.deep import beside, low\nLow = low.Low",
        "planting_package/b.py": "from planting_package.deep import Low",
        "planting_package/c.py": "import planting_package.deep.low\n"
        "import planting_package.deep.beside\n"
        "Low = planting_package.deep.low.Low\nBeside = planting_package.deep.beside.Beside",
        "planting_package/d.py": "import planting_package.deep as deep\n"
        "Low = deep.Low\nBeside = deep.beside.Beside",
        "planting_top.py": "from planting_package import a, b, c, d",
        "planting_late.py": "def late():\n    from planting_package import a\n    return a",
        "planting_relative.py": "from . import planting_top",
    }
    for file, source in sources.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(planting, "FOLDERS", (tmp_path,))
    low = "planting_package.deep.low"

    def edit(source: str) -> str:
        return source.replace("sound", "planted")

    before = import_module("planting_top")
    top = copy_chain("planting_top", low, edit)["planting_top"]
    for each in "abcd":
        sound, faulty = getattr(before, each), getattr(top, each)
        assert (sound.Low.word, faulty.Low.word) == ("sound", "planted")
        assert faulty.Low is top.a.Low
    assert top.d.Beside is before.d.Beside
    assert import_module(low).Low is before.a.Low
    assert before.c.planting_package.deep.low.Low is before.a.Low
    with pytest.raises(AssertionError, match="in a function"):
        copy_chain("planting_late", low, edit)
    with pytest.raises(AssertionError, match="write it in full"):
        copy_chain("planting_relative", low, edit)


def _name_objects(modules: Mapping[str, ModuleType]) -> dict[int, str]:
    """Name the classes and functions of modules, and values of these classes, by their id."""
    made = {id(module): name for name, module in modules.items()}
    for name, module in modules.items():
        found = vars(module).values()
        classes = [each for each in found if isinstance(each, type) and each.__module__ == name]
        for names in (vars(module), *map(vars, classes)):
            for attribute, value in names.items():
                if getattr(value, "__module__", "") == name:
                    made[id(value)] = f"{name}.{attribute}"
    return made


def _reach_objects(copies: Mapping[str, ModuleType]) -> set[int]:
    """Return the ids of all objects of the copies, and of the objects that these refer to."""
    reached: dict[int, object] = {}
    left: list[object] = list(copies.values())
    while left:
        value = left.pop()
        if id(value) not in reached:
            reached[id(value)] = value
            if _is_of_copies(value, copies):
                left += gc.get_referents(value)
    return set(reached)


def _is_of_copies(value: object, copies: Mapping[str, ModuleType]) -> bool:
    if isinstance(value, ModuleType):
        return copies.get(value.__name__) is value
    if isinstance(value, type | FunctionType):
        return value.__module__ in copies
    return type(value).__module__ in {*copies, "builtins", "functools", "dataclasses"}
