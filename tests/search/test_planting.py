"""Faults reach all code that a search runs, and nothing but a fault makes it find something."""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from search import planting
from search.planting import DECISIONS, MODULES, TOGETHER, anew, chain, graph, planted
from search.sequences import DRAINS, EVENTS, every_sequence


def run(search: str) -> list[str]:
    """Name every module of the package that a search runs."""
    return sorted(name for name in graph(search) if name.startswith("anycastd."))


RUN = [(search, name) for search in (DECISIONS, TOGETHER) for name in run(search)]


def test_what_is_planted_in_is_run() -> None:
    """Each name in the table is one of a module that some search runs."""
    assert set(MODULES.values()) <= {name for _, name in RUN}


def test_a_fault_at_the_bottom_reaches_the_pass() -> None:
    """The composition, and all between, use the module with the fault; nobody else does."""
    lowest, top = MODULES["reasons"], MODULES["pipeline"]
    assert not graph(DECISIONS)[lowest], f"{lowest} is not at the bottom any more"
    old, new = '("every rule is true", "")', '("planted", "")'
    copies = anew(DECISIONS, lowest, lambda source: source.replace(old, new))

    def said(pipeline: ModuleType, weather: ModuleType) -> str:
        inputs = pipeline.Inputs(pipeline.Evidence({"main": weather.Weather().look(0.0)}))
        step = pipeline.advance(weather.searched("plain"), {}, inputs, 0.0)
        sentence: str = step.decisions["web"].verdict.serve.reason.sentence
        return sentence

    assert said(copies[top], copies["search.surroundings"]) == "planted"
    assert said(import_module(top), import_module("search.surroundings")) == "every rule is true"


def test_a_fault_at_the_bottom_reaches_the_lease() -> None:
    """So it is with the lease's machine."""
    lowest, top = MODULES["session"], MODULES["machine"]
    assert not graph(TOGETHER)[lowest], f"{lowest} is not at the bottom any more"
    copies = anew(TOGETHER, lowest, lambda source: f"{source}\nNO_CONNECTION = 'planted'\n")

    def said(machine: ModuleType, leases: ModuleType) -> set[str]:
        rig = leases.LeaseRig()
        assert type(rig.lease) is machine.LeaseMachine
        rig.exabgp.up.clear()
        rig.carry_out(rig.lease.start(rig.now))
        return {peer.detail for peer in rig.lease.neighbors.values()}

    assert said(copies[top], copies["support.lease_rig"]) == {"planted"}
    assert "planted" not in said(import_module(top), import_module("support.lease_rig"))


@pytest.mark.parametrize(("search", "name"), RUN)
def test_nothing_of_a_chain_is_left_in_its_copy(search: str, name: str) -> None:
    """No function, class or value of a module that was run anew is one of before."""
    before = dict(sys.modules)
    copies = anew(search, name)
    assert list(copies) == chain(search, name)
    assert all(sys.modules[each] is before[each] for each in copies)
    old = _made({each: before[each] for each in copies})
    new = _made(copies)
    assert set(old.values()) == set(new.values())
    reached = _reached(copies)
    assert new.keys() <= reached
    assert not [old[found] for found in reached if found in old]


@pytest.mark.parametrize("name", run(DECISIONS))
def test_without_a_fault_a_copy_keeps_every_promise(name: str) -> None:
    """What is found in a copy is found for its fault, and not for being one."""
    worlds = anew(DECISIONS, name)[DECISIONS].World
    for variant, events in (("plain", EVENTS), ("first", DRAINS)):
        world = worlds.begin(variant)
        assert every_sequence(world, 1, events)
        assert every_sequence(world.settle().happen(events[0]), 1, events)


@pytest.mark.parametrize("name", run(TOGETHER))
def test_without_a_fault_a_copy_of_the_lease_keeps_every_promise(name: str) -> None:
    """So it is with agent and lease together."""
    together = anew(TOGETHER, name)[TOGETHER]
    together.search(together.LeaseMachine, 3, shrink=False)


@pytest.mark.parametrize(
    ("old", "why"),
    [
        ("no such text", "has 0 times: no such text"),
        ("def judge_service(", rf"has 0 times \(but {MODULES['verdict']} has it\): def judge"),
        ("memory.level", r"has [2-9] times"),
        ("", r"has \d+ times"),
    ],
)
def test_a_fault_whose_text_is_not_there_once_is_none(old: str, why: str) -> None:
    """A source that has changed must not leave a test that tests nothing."""
    with pytest.raises(AssertionError, match=why):
        planted("policy", old, "something else")


def test_a_module_that_is_not_run_takes_no_fault() -> None:
    """Nobody would find it."""
    with pytest.raises(AssertionError, match=f"{DECISIONS} does not run {MODULES['machine']}"):
        anew(DECISIONS, MODULES["machine"])


def test_packages_are_run_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules may be in packages, and be imported in all ways there are."""
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
    top = anew("planting_top", low, edit)["planting_top"]
    for each in "abcd":
        sound, faulty = getattr(before, each), getattr(top, each)
        assert (sound.Low.word, faulty.Low.word) == ("sound", "planted")
        assert faulty.Low is top.a.Low
    assert top.d.Beside is before.d.Beside
    assert import_module(low).Low is before.a.Low
    assert before.c.planting_package.deep.low.Low is before.a.Low
    with pytest.raises(AssertionError, match="in a function"):
        anew("planting_late", low, edit)
    with pytest.raises(AssertionError, match="write it in full"):
        anew("planting_relative", low, edit)


def _made(modules: Mapping[str, ModuleType]) -> dict[int, str]:
    """Name what modules make themselves, by its id: classes, functions, values of their classes."""
    made = {id(module): name for name, module in modules.items()}
    for name, module in modules.items():
        found = vars(module).values()
        classes = [each for each in found if isinstance(each, type) and each.__module__ == name]
        for names in (vars(module), *map(vars, classes)):
            for word, value in names.items():
                if getattr(value, "__module__", "") == name:
                    made[id(value)] = f"{name}.{word}"
    return made


def _reached(copies: Mapping[str, ModuleType]) -> set[int]:
    """Give the ids of all that copies hold, and of what they only use: that is not looked into."""
    reached: dict[int, object] = {}
    left: list[object] = list(copies.values())
    while left:
        value = left.pop()
        if id(value) not in reached:
            reached[id(value)] = value
            if _holds(value, copies):
                left += gc.get_referents(value)
    return set(reached)


def _holds(value: object, copies: Mapping[str, ModuleType]) -> bool:
    if isinstance(value, ModuleType):
        return copies.get(value.__name__) is value
    if isinstance(value, type | FunctionType):
        return value.__module__ in copies
    return type(value).__module__ in {*copies, "builtins", "functools", "dataclasses"}
