"""The rules of the house, each read from where it is said: tour, README, Makefile, pyproject."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "anycastd"
TOUR = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))) or ""
PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "re",
    "typing",
}
# Only where a profile is read: YAML, JSON Schema, and the schema that lies in the package.
READS_A_PROFILE = ("yaml", "jsonschema", "importlib.resources")
READERS = {"profile", "document", "yamltext"}
# Neither doors nor rooms: the way in, and what the tour names beside `cli`.
BESIDE_THE_TOUR = {"__init__", "__main__", "commands"}
LONGEST = 450


def rooms(title: str) -> list[str]:
    """Return the modules of one part of the tour, in its order."""
    part = TOUR.split(f"{title} (", 1)[1].split("\n\n")[0]
    return re.findall(r"^ {4}(\w+) {2,}\S", part, re.MULTILINE)


STAGES, EDGES = rooms("Stages"), rooms("Edges")


def source(*folders: str) -> list[Path]:
    """Return the Python files below some folders of the checkout."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """Return a path below the checkout, as a test's id."""
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of every module that a file imports, wherever the line stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it in full"
            assert node.module
            if node.module == "anycastd":  # either a module of ours or something in __init__
                yield from (f"anycastd.{alias.name}" for alias in node.names)
            elif node.module == "importlib":
                yield from (f"importlib.{alias.name}" for alias in node.names)
            else:
                yield node.module


def loaded_by(module: str, *flags: str) -> set[str]:
    """Return everything that a fresh interpreter has loaded after importing one module."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_tour_names_every_module_once() -> None:
    """Who follows the tour sees every room, and finds every room that it names."""
    named = STAGES + EDGES
    assert len(named) == len(set(named))
    there = {path.stem for path in PACKAGE.glob("*.py")}
    there |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(named) == there - BESIDE_THE_TOUR


@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_pure_and_stand_in_order(stage: str) -> None:
    """A stage imports what cannot do I/O, and of ours only the stages above it in the tour."""
    above = {f"anycastd.{name}" for name in STAGES[: STAGES.index(stage)]}
    path = PACKAGE / f"{stage}.py"
    for name in imports(path):
        if name.startswith("anycastd."):
            top = ".".join(name.split(".")[:2])
            assert top in above | {"anycastd.__version__"}, f"{stage} imports {name}"
        elif stage not in READERS or not name.startswith(READS_A_PROFILE):
            assert name.split(".")[0] in PURE, f"{stage} imports {name}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval", "__import__"}


def test_the_package_itself_imports_nothing() -> None:
    """Every process of ours imports ``anycastd`` first: it must cost nothing."""
    assert not list(imports(PACKAGE / "__init__.py"))


def test_the_lab_drives_from_outside_only() -> None:
    """The lab imports nothing of ours, so that it sees what an operator would see."""
    for path in source("anycastd/lab"):
        ours = [name for name in imports(path) if name.split(".")[0] == "anycastd"]
        assert all(name.startswith("anycastd.lab") for name in ours), f"{name_of(path)}: {ours}"


def test_the_lease_process_is_stdlib_only_and_whole_at_its_start() -> None:
    """No third-party module is loaded, or even to be had, and nothing is imported later.

    ExaBGP may start new lease code beside an old one after an upgrade, so that a late import
    would mix the two.
    """
    loaded = loaded_by("anycastd.speaker.lease_process", "-I", "-S")
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign <= {"anycastd", "__main__"}
    for name in loaded:
        if name.startswith("anycastd."):
            path = PACKAGE / (name.removeprefix("anycastd.").replace(".", "/") + ".py")
            top = ast.parse(path.read_text(encoding="utf-8"))
            late = [
                ast.unparse(node)
                for function in ast.walk(top)
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
                for node in ast.walk(function)
                if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            assert not late, f"{name}: {late}"


def test_the_package_knows_which_code_a_speaker_runs() -> None:
    """An upgrade that changes any of it says that the speaker is to be restarted."""
    runs, found = {"speaker"}, {"keeper", "shim"}
    while found:
        runs |= found
        theirs = (imports(PACKAGE / f"{module}.py") for module in found)
        words = [name.split(".") for names in theirs for name in names]
        found = {word[1] for word in words if word[0] == "anycastd" and len(word) > 1} - runs
        found = {module for module in found if (PACKAGE / f"{module}.py").exists()}
    listed = re.findall(
        r"anycastd/(\w+)\.py", (ROOT / "packaging" / "speaker-code").read_text(encoding="utf-8")
    )
    assert set(listed) == runs


@pytest.mark.parametrize("module", ["anycastd.agent.daemon", "anycastd.cli.commands.run"])
def test_the_agent_never_loads_haproxyadmin(module: str) -> None:
    """It blocks for as long as a slow HAProxy likes: fine for `check`, not for the agent."""
    assert not {name.split(".")[0] for name in loaded_by(module)} & {"haproxyadmin", "inventory"}
    assert "anycastd.evidence.haproxy.inventory" not in loaded_by(module)


def test_dependencies_are_what_is_imported() -> None:
    """What pyproject.toml asks for is used, and what is used is asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=]", each)[0] for each in project["dependencies"]}
    used = {name.split(".")[0] for path in source("anycastd") for name in imports(path)}
    used -= set(sys.stdlib_module_names) | {"anycastd"}
    distribution = {"yaml": "pyyaml"}
    # ExaBGP is run more than imported, and where it is imported a shim does it by name.
    assert {distribution.get(name, name) for name in used} | {"exabgp"} == declared


@pytest.mark.parametrize("path", source("anycastd", "tests"), ids=name_of)
def test_every_file_can_be_read_in_one_go(path: Path) -> None:
    """A file that grew beyond that has two reasons to change."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def written() -> list[Path]:
    """Return every text of ours: source, settings, scripts, documentation."""
    kinds = {".py", ".sh", ".md", ".toml", ".yaml", ".cfg", ".json", ".conf", ".service"}
    parts = ("anycastd", "tests", "scripts", "profiles", "haproxy", "docs", "packaging")
    found = {path for part in parts for path in (ROOT / part).rglob("*") if path.suffix in kinds}
    found |= {path for path in ROOT.iterdir() if path.suffix in kinds}
    return sorted(found | {ROOT / "Makefile", ROOT / ".ci" / "run"})


def test_no_registry_is_named() -> None:
    """Where packages come from is the business of the machine that installs them."""
    hosts = r"pypi\.org|pythonhosted\.org|deb\.debian\.org|security\.debian\.org|registry\.npmjs"
    assert not [
        name_of(path) for path in written() if re.search(hosts, path.read_text(encoding="utf-8"))
    ]


def test_processes_are_ended_by_their_id() -> None:
    """A name may be somebody else's process too."""
    by_name = re.compile(r"\b(p" + r"kill|kill" + r"all)\b")
    assert not [
        name_of(path) for path in written() if by_name.search(path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("path", source("tests"), ids=name_of)
def test_no_test_sleeps_and_hopes(path: Path) -> None:
    """A test waits for a condition with a deadline: sleeping is for the loop that asks again."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asking = {
        id(node)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
        for node in ast.walk(loop)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}:
            assert id(node) in asking, f"{name_of(path)}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", source("anycastd"), ids=name_of)
def test_no_comprehension_hides_a_name_of_its_module(path: Path) -> None:
    """Python 3.12.3 (Ubuntu 24.04's) then takes one for the other: UnboundLocalError."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    hidden = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.comprehension)
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }
    assert not ours & hidden


def test_commands_of_the_readme_are_in_the_makefile() -> None:
    """The README's two commands, and every other ``make`` that a page mentions, exist."""
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    said = set()
    for path in pages():
        code = re.findall(
            r"```.*?```|`[^`\n]+`|^ {4}.*?$",
            path.read_text(encoding="utf-8"),
            re.DOTALL | re.MULTILINE,
        )
        said |= set(re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join(code)))
    assert {"lab", "test"} <= said, "the README's two commands"
    assert said <= targets
    assert re.findall(
        r"^make .*", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE
    ) == ["make test"]


def pages() -> list[Path]:
    """Return the documentation: README.md and its like, and docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_links_between_pages_lead_somewhere() -> None:
    """A relative link names a file of the checkout, and a heading that the page has."""
    for path in pages():
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), f"{name_of(path)}: {link}"
            if anchor:
                assert anchor in anchors(target), f"{name_of(path)}: {link}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}
