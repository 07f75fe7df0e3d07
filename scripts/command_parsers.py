"""What every command takes, read from its parser: for the manual pages and the completions."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from anycastd.cli.main import COMMANDS, MODULES, build_parser


class Kind(Enum):
    """What a value is, as far as a shell can complete it."""

    NONE = "nothing that a shell knows"
    CHOICE = "one of a few words"
    SERVICE = "a service of the running agent"
    FILE = "a file"
    DIRECTORY = "a directory"
    PROGRAM = "a program"


_KINDS = {
    "SERVICE": Kind.SERVICE,
    "FILE": Kind.FILE,
    "SOCKET": Kind.FILE,
    "RECORDING": Kind.FILE,
    "DIR": Kind.DIRECTORY,
    "DIRECTORY": Kind.DIRECTORY,
    "PROGRAM": Kind.PROGRAM,
}
"""Name of the value in the help -> its kind."""


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    ``options`` is empty for a positional argument.  ``value`` is the name of its value in the
    help, empty for a flag.  ``required`` and ``repeated`` are those of the value.
    """

    options: tuple[str, ...]
    value: str
    kind: Kind
    choices: tuple[str, ...]
    help: str
    required: bool
    repeated: bool


def iter_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield (command, parser) for every command."""
    for name in COMMANDS:
        module = importlib.import_module(f"anycastd.cli.commands.{MODULES.get(name, name)}")
        yield name, build_parser(name, module)


def iter_arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    """Yield the arguments of a command, without ``--help`` and those that the help leaves out."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if action.dest == "help" or action.help is argparse.SUPPRESS:
            continue
        choices = tuple(map(str, action.choices or ()))
        value = "" if action.nargs == 0 else _name_value(action, choices)
        yield Argument(
            tuple(action.option_strings),
            value,
            Kind.CHOICE if choices else _KINDS.get(value.upper(), Kind.NONE),
            choices,
            (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%"),
            action.nargs not in ("?", "*"),
            action.nargs in ("+", "*"),
        )


def _name_value(action: argparse.Action, choices: tuple[str, ...]) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if choices:
        return "|".join(choices)
    return action.dest.upper() if action.option_strings else action.dest
