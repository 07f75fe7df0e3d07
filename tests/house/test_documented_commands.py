"""Every command of ours that a page shows is one that the command line takes."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from anycastd.cli.main import COMMANDS, MODULES, build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def find_commands(page: Path) -> list[str]:
    """Return the commands of a page: lines of its code, and code within its text."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^ {4}(anycastd .*)$", text, re.MULTILINE)
    lines += [line for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`((?:ExecStop=)?anycastd [^`\n]+)`", text)
    parts = [part for line in [*lines, *inline] for part in re.split(r"&&|\||;|#", line)]
    found = [part.strip().removeprefix("ExecStop=") for part in parts]
    return [part for part in found if re.match(r"anycastd [a-z]+\b", part)]


SHOWN = sorted({(page.name, command) for page in PAGES for command in find_commands(page)})


def build(command: str) -> argparse.ArgumentParser:
    """Build the parser of a command; exits of argparse become a ValueError."""
    module = importlib.import_module(f"anycastd.cli.commands.{MODULES.get(command, command)}")
    parser = build_parser(command, module)

    def refuse(message: str) -> None:
        raise ValueError(message)

    parser.error = refuse  # type: ignore[assignment,method-assign]
    return parser


def test_pages_have_commands() -> None:
    """None was lost on the way."""
    assert len(SHOWN) > 40
    assert {command.split()[1] for _, command in SHOWN} == set(COMMANDS)


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_a_shown_command_is_taken(page: str, command: str) -> None:
    """Its options exist, with values of their kind; `[...]` is optional, `A|B` a choice."""
    _, name, *words = shlex.split(re.sub(r"[][]|\.\.\.$", "", command))
    parser = build(name)
    options = set(re.findall(r"(?<!\S)--[\w-]+", parser.format_help()))
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, page
    if re.search(r"\[|[A-Z]{3}|\.\.\.", command):
        return  # it shows a form, not one command
    wrong = ""
    try:
        parser.parse_args(words)
    except ValueError as error:
        wrong = str(error)
    # A text may name a command without what it needs: `anycastd loopback`.
    assert not wrong or "required" in wrong, f"{page}: {command}: {wrong}"


PROGRAMS = {
    "PYTHONPATH=.",
    "ansible-playbook",
    "anycastd",
    "apt-get",
    "cloud-init",
    "cp",
    "ip",
    "journalctl",
    "make",
    "python",
    "ss",
    "systemctl",
    "tail",
}
"""What the shell blocks of the pages run; commands that no test can try are in `text` blocks."""
UNITS = {
    path.name.removeprefix("anycastd.") if path.name.count(".") > 1 else path.name
    for path in (ROOT / "packaging" / "debian").glob("*.service")
}


def iter_shell_lines(page: Path) -> list[str]:
    """Return the lines of a page's shell blocks, without comments, continued lines joined."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_blocks_run_known_programs(page: Path) -> None:
    """A misspelt program is not known."""
    for line in iter_shell_lines(page):
        for command in re.split(r"&&|\|", line):
            word = shlex.split(command, comments=True)[0]
            assert word in PROGRAMS or word.startswith((".venv", "./", "/", "tests/")), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_units_that_a_page_names_exist(page: Path) -> None:
    """In commands of systemctl and journalctl."""
    for line in re.findall(r"\b(?:systemctl|journalctl) [^\n`]*", page.read_text(encoding="utf-8")):
        for word in re.findall(r"(?<=\s)anycastd[\w.-]*", line.split("#")[0]):
            assert f"{word.removesuffix('.service').rstrip('.')}.service" in UNITS, line
