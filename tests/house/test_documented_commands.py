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
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


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
