"""The rules of the house that no tour says: imports of processes, texts, README, Makefile."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.tours import PACKAGE, ROOT, closure, imports, name_of, sources

MAX_LINES = 400
MAX_LINES_OF_A_TEST = 450
MAX_LINES_OF_A_FUNCTION = 51
MAX_PARAMETERS = 7
# Words for which the field has better ones; "hold" is BGP's hold time or a hold-down alone.
OF_OUR_OWN = {
    "again",
    "bequeath",
    "closing",
    "comeback",
    "desk",
    "elsewhere",
    "emptying",
    "heir",
    "heirloom",
    "holder",
    "keeper",
    "others",
    "recall",
    "resettle",
    "scribe",
    "tenure",
    "terms",
    "within",
    "words",
}


def loaded_by(module: str, *flags: str) -> set[str]:
    """Return everything that a fresh interpreter has loaded after importing one module."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_lab_drives_from_outside_only() -> None:
    """The lab imports nothing of ours, so that it sees what an operator would see."""
    for path in sources("anycastd/lab"):
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
            path = ROOT / (name.replace(".", "/") + ".py")
            if not path.is_file():
                continue
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
    script = (ROOT / "packaging" / "libexec" / "speaker-code").read_text(encoding="utf-8")
    listed = {
        path for pattern in re.findall(r"anycastd/\S+\.py", script) for path in ROOT.glob(pattern)
    }
    runs = closure("anycastd.speaker.lease_process", "anycastd.speaker.exabgp.shim")
    assert {ROOT / (name.replace(".", "/") + ".py") for name in runs} <= listed


def test_speakers_of_old_find_the_lease_process() -> None:
    """A speaker of 0.1.0 that still runs starts it by the name that it had then."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "anycastd.keeper", "/nonexistent/lease.json"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "/nonexistent/lease.json" in done.stderr
    assert done.returncode not in (0, 1)


@pytest.mark.parametrize("module", ["anycastd.agent.daemon", "anycastd.cli.commands.run"])
def test_the_agent_never_loads_haproxyadmin(module: str) -> None:
    """It blocks for as long as a slow HAProxy likes: fine for `check`, not for the agent."""
    assert not {name.split(".")[0] for name in loaded_by(module)} & {"haproxyadmin", "inventory"}
    assert "anycastd.evidence.haproxy.inventory" not in loaded_by(module)


def test_dependencies_are_what_is_imported() -> None:
    """What pyproject.toml asks for is used, and what is used is asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=]", each)[0] for each in project["dependencies"]}
    used = {name.split(".")[0] for path in sources("anycastd") for name in imports(path)}
    used -= set(sys.stdlib_module_names) | {"anycastd"}
    distribution = {"prometheus_client": "prometheus-client", "yaml": "pyyaml"}
    # ExaBGP is run more than imported, and where it is imported a shim does it by name.
    assert {distribution.get(name, name) for name in used} | {"exabgp"} == declared


@pytest.mark.parametrize("path", sources("anycastd", "tests", "scripts"), ids=name_of)
def test_every_file_can_be_read_in_one_go(path: Path) -> None:
    """A file that grew beyond that has two reasons to change."""
    most = MAX_LINES if "anycastd/" in name_of(path) else MAX_LINES_OF_A_TEST
    assert len(path.read_text(encoding="utf-8").splitlines()) <= most


@pytest.mark.parametrize("path", sources("anycastd"), ids=name_of)
def test_functions_are_short(path: Path) -> None:
    """A function fits on a screen, and takes few parameters; a class's fields are no parameters."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines"
            taken = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = sum(each.arg not in ("self", "cls") for each in taken)
            assert count <= MAX_PARAMETERS, f"{node.name} takes {count} parameters"


@pytest.mark.parametrize("path", sources("anycastd"), ids=name_of)
def test_names_are_of_the_field(path: Path) -> None:
    """No module, class or function has a name of our own for what the field has a word for."""
    names = {path.stem}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
    if path == PACKAGE / "keeper.py":  # speakers of 0.1.0 know the lease process by this name
        return
    for name in names:
        parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)}
        assert not parts & OF_OUR_OWN, f"{name_of(path)}: {name}"


def test_docs_that_the_code_names_exist() -> None:
    """A docstring, comment or message that names a page of docs/ names one that is there."""
    for path in sources("anycastd", "tests", "scripts"):
        for page in re.findall(r"\bdocs/[\w-]+\.md\b", path.read_text(encoding="utf-8")):
            assert (ROOT / page).is_file(), f"{name_of(path)}: {page}"


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


@pytest.mark.parametrize("path", sources("tests"), ids=name_of)
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


@pytest.mark.parametrize("path", sources("anycastd"), ids=name_of)
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


def test_tests_signal_only_what_they_started() -> None:
    """Signals go through ``support.processes``, and pids come from /proc.

    kill(2) takes the pid 0 for the caller's own group, and ps cuts its lines at COLUMNS, so that a
    process that was not found would end the tests themselves.
    """
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name in {"processes.py", Path(__file__).name}:
            continue
        text = path.read_text(encoding="utf-8")
        for banned in ("os.kill(", "os.killpg(", '"ps"', '"pgrep"'):
            assert banned not in text, f"{path.relative_to(ROOT)}: {banned}"
