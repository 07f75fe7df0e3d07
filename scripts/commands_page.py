"""Write docs/commands.md: ``PYTHONPATH=. python scripts/commands_page.py``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from anycastd.cli.main import COMMANDS
from command_parsers import Argument, iter_arguments, iter_parsers

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
HEAD = """\
# Every command

This page is written by `scripts/commands_page.py` from the help of the commands.
`anycastd COMMAND --help` and `man anycastd-COMMAND` say the same.
[Exit codes](exit-codes.md) has the codes of all commands.
"""


def render_page() -> str:
    """Return the text of the page."""
    return "\n".join(_iter_lines()) + "\n"


def _iter_lines() -> Iterator[str]:
    yield HEAD
    yield "| command | what it does |"
    yield "|---|---|"
    for name, summary in COMMANDS.items():
        yield f"| [{name}](#{name}) | {summary} |"
    for name, parser in iter_parsers():
        yield f"\n## {name}\n"
        yield from _describe(name, parser)


def _describe(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Describe a command: what it does, and a table of its arguments."""
    arguments = list(iter_arguments(parser))
    positional = [each for each in arguments if not each.options]
    yield f"```text\nanycastd {name}{_join(positional)} [OPTIONS]\n```\n"
    yield (parser.description or "").strip() + "\n"
    yield "| argument | meaning |"
    yield "|---|---|"
    for each in arguments:
        shown = " ".join(filter(None, (", ".join(each.options), _show_value(each))))
        shown = shown.replace("|", "\\|")
        yield f"| `{shown}` | {_escape(each.help)} |"


def _join(positional: list[Argument]) -> str:
    return "".join(f" {_show_value(each)}" for each in positional)


def _show_value(argument: Argument) -> str:
    value = argument.value
    if value and not argument.required:
        value = f"[{value}]"
    return f"{value}..." if argument.repeated else value


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
