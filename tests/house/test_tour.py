"""The tours are true: folders, files in their order, who may use whom, and the way of one event."""

from __future__ import annotations

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from support import tours
from support.tours import PACKAGE, ROOT, closure, folders, imports, name_of, ours, sources

# What cannot do I/O; everything else of the standard library is for files below `I/O`.
PURE = {
    "__future__",
    "base64",
    "collections",
    "dataclasses",
    "datetime",  # for times that are arguments; its clock is refused below
    "difflib",
    "errno",
    "enum",
    "functools",
    "hashlib",
    "ipaddress",
    "itertools",
    "json",
    "shlex",
    "math",
    "operator",
    "re",
    "typing",
}
# Beside those: what reads a profile's text, and the schema that lies in the package.
READS_A_PROFILE = {"yaml", "jsonschema", "importlib.resources"}
PURE_FOLDERS = ("profile", "decision", "recording", "views", "bgp", "lease")
BESIDE_THE_FOLDERS = {"__init__", "__main__", "keeper"}


def top(module: str) -> str:
    """Return the folder of the package, or the file beside the folders, of a module of ours."""
    return module.split(".")[1]


def is_pure(path: Path) -> bool:
    """Whether no I/O may be in a file: no tour on the way to it lists it below `I/O`."""
    folder, name = path.parent, path.stem
    if folder == PACKAGE and name in BESIDE_THE_FOLDERS:
        return False
    while folder != PACKAGE:
        if name in tours.tour(folder).impure:
            return False
        name, folder = f"{folder.name}/", folder.parent
    return True


def test_the_tour_names_every_folder() -> None:
    """Whoever follows the package's tour sees every folder and every file beside them."""
    there = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    there |= {path.stem for path in PACKAGE.glob("*.py")} - BESIDE_THE_FOLDERS
    assert set(tours.uses()) == there


@pytest.mark.parametrize("folder", folders(), ids=name_of)
def test_a_folder_lists_its_files(folder: Path) -> None:
    """Each file and folder in it has a line, once, and each line has a file or folder."""
    listed = tours.tour(folder).names
    if name_of(folder).split("/")[1] in PURE_FOLDERS:
        assert not tours.tour(folder).impure
    there = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    there |= {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert len(listed) == len(set(listed))
    assert set(listed) == there


@pytest.mark.parametrize("path", sources("anycastd"), ids=name_of)
def test_a_folder_uses_only_what_its_line_names(path: Path) -> None:
    """No arrow leads up; `reasons` and `system` are folders like the others here."""
    if path.parent == PACKAGE and path.stem in BESIDE_THE_FOLDERS:
        return
    own = name_of(path).removesuffix(".py").split("/")[1]
    allowed = tours.uses()[own] | {own, "__version__"}
    if path == PACKAGE / "cli" / "commands" / "lab.py":
        allowed |= {"lab"}
    wrong = {name for name in ours(path) if top(name) not in allowed}
    assert not wrong, f"{name_of(path)} imports {sorted(wrong)}"


@pytest.mark.parametrize("folder", folders(), ids=name_of)
def test_a_file_imports_only_files_above_it(folder: Path) -> None:
    """Inside a folder the order of the tour is the order of the imports: no circle."""
    names = tours.tour(folder).names
    module = tours.module_of(folder / "__init__.py")
    for place, name in enumerate(names):
        files = (
            sorted((folder / name).rglob("*.py")) if name.endswith("/") else [folder / f"{name}.py"]
        )
        above = {each.rstrip("/") for each in names[:place]}
        for path in files:
            for other in ours(path):
                if not other.startswith(f"{module}."):
                    continue
                beside = other.removeprefix(f"{module}.").split(".")[0]
                assert beside in above or beside == name.rstrip("/"), (
                    f"{name_of(path)} imports {other}, which the tour of {folder.name} lists below"
                )


@pytest.mark.parametrize("path", sources("anycastd"), ids=name_of)
def test_pure_files_do_no_io(path: Path) -> None:
    """A pure file imports what cannot do I/O, of ours only pure files, and opens nothing."""
    if path.stem == "__init__":
        assert not imports(path), "an __init__ imports nothing: it costs every process"
        return
    if not is_pure(path):
        return
    foreign = {name for name in imports(path) if not name.startswith("anycastd.")}
    allowed = PURE | (READS_A_PROFILE if "anycastd/profile/" in name_of(path) else set())
    wrong = {name for name in foreign if name not in allowed and name.split(".")[0] not in allowed}
    assert not wrong, f"{name_of(path)} imports {sorted(wrong)}"
    for name in ours(path):
        other = ROOT / (name.replace(".", "/") + ".py")
        if other.is_file() and other.parent != PACKAGE:
            assert is_pure(other), f"{name_of(path)} imports {name}, which may do I/O"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval", "__import__"}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"datetime", "date"}:
            assert node.attr not in {"now", "utcnow", "today"}, f"{name_of(path)} reads a clock"


def test_only_readers_of_a_profile_load_its_schema() -> None:
    """The running half knows a profile by its values: no jsonschema is loaded by accident."""
    readers = (
        *("anycastd/profile/", "anycastd/cli/", "anycastd/migration/"),
        "anycastd/speaker/rewrite.py",
    )
    for path in sources("anycastd"):
        if not name_of(path).startswith(readers):
            used = {name for name in ours(path) if top(name) == "profile"}
            names = ("model", "conditions", "checks", "route_choice", "regions")
            values = {f"anycastd.profile.{name}" for name in names}
            assert used <= values, f"{name_of(path)}: {sorted(used)}"


def test_the_composition_is_the_only_one() -> None:
    """Only a pass decides, only the decision loop renews the lease, nobody imports the commands."""
    for path in sources("anycastd"):
        name, text = name_of(path), path.read_text(encoding="utf-8")
        if "anycastd.decision.policy" in imports(path) and name != "anycastd/decision/pipeline.py":
            assert "import decide_level" not in text, name
            assert "decide_level," not in text, name
        if name.startswith("anycastd/agent/") and not name.endswith("/decision_loop.py"):
            assert "lease.renew(" not in text, f"{name} renews the lease"
        if not name.startswith(("anycastd/cli/", "anycastd/__main__")):
            assert not {each for each in ours(path) if top(each) == "cli"}, name


def test_the_lease_process_stays_small() -> None:
    """What the lease process loads: values of BGP, the lease, the words of ExaBGP, the system."""
    folders_used = {top(name) for name in closure("anycastd.speaker.lease_process")}
    assert folders_used <= {"bgp", "lease", "speaker", "system"}


def test_the_way_of_one_event(capsys: pytest.CaptureFixture[str]) -> None:
    """The ten functions of the tour exist, and each leads to the next one.

    A function leads to the next one where its file, or a file on the way that it imports or is
    imported by, names that function.
    """
    found = tours.steps()
    assert [step.number for step in found] == list(range(1, 11))
    told = [f"  {step.number:2}  {name_of(step.path)}: {step.function}\n" for step in found]
    with capsys.disabled():
        sys.stdout.write("\nThe way of one event, from HAProxy's socket to the UPDATE:\n")
        sys.stdout.writelines(told)
    for step in found:
        assert step.path.is_file(), f"step {step.number}: {name_of(step.path)} is gone"
        assert _has(step.path, step.function), f"step {step.number}: {step.function} is gone"
    for step, following in pairwise(found):
        called = following.function.rsplit(".", 1)[-1]
        text = step.path.read_text(encoding="utf-8")
        if following.number == 10:  # another process: they share the message alone
            assert "anycastd.lease.messages" in imports(step.path)
            continue
        near = {step.path, following.path}
        near |= {ROOT / (name.replace(".", "/") + ".py") for name in ours(step.path)}
        near |= {each for each in sources("anycastd") if tours.module_of(step.path) in ours(each)}
        assert any(called in each.read_text(encoding="utf-8") for each in near if each.is_file()), (
            f"step {step.number} does not lead to {called}: {text[:80]}"
        )


def test_the_design_has_the_same_way() -> None:
    """DESIGN.md tells the ten steps of the tour, with the same files and functions."""
    page = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\d+) \| `(\S+)` \| `(\S+)` \|", page, re.MULTILINE)
    assert told == [
        (str(step.number), str(step.path.relative_to(PACKAGE)), step.function)
        for step in tours.steps()
    ]


def test_the_docs_have_the_same_way() -> None:
    """docs/how-it-works.md shows the ten steps in the tour's very words."""
    text = tours.docstring(PACKAGE)
    way = text[text.index("   1  ") :].split("\n\n")[0]
    assert f"```text\n{way}\n```\n" in (ROOT / "docs" / "how-it-works.md").read_text(
        encoding="utf-8"
    )


def _has(path: Path, function: str) -> bool:
    """Whether a file has a function, or a class with a method (``Class.method``)."""
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for name in function.split("."):
        inside = [
            node
            for node in body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name == name
        ]
        if not inside:
            return False
        body = inside[0].body
    return True
