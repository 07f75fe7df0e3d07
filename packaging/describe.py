# ruff: noqa: INP001 - a script beside what it is for, no package
"""Write the manual page or the bash completion from what `--help` says.

python3 packaging/describe.py {man|completion}
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from anycastd import __version__
from anycastd.cli.main import COMMANDS, MODULES, build_parser

HEAD = Path(__file__).with_name("anycastd.8.head")
TAIL = Path(__file__).with_name("anycastd.8.tail")


def iter_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield (command, parser) for every command."""
    for name in COMMANDS:
        module = importlib.import_module(f"anycastd.cli.commands.{MODULES.get(name, name)}")
        yield name, build_parser(name, module)


def iter_arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a command, without `--help`."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if action.dest != "help" and action.help is not argparse.SUPPRESS:
            yield action


def escape_roff(text: str) -> str:
    """Escape a text for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))


def format_man_page() -> Iterator[str]:
    """Yield the lines of anycastd(8)."""
    yield f'.TH ANYCASTD 8 "" "anycastd {__version__}" "System administration"'
    yield HEAD.read_text(encoding="ascii").rstrip("\n")
    yield ".SH COMMANDS"
    for name, parser in iter_parsers():
        yield f".SS {escape_roff('anycastd ' + name)}"
        yield escape_roff(parser.description or "")
        for action in iter_arguments(parser):
            yield f".TP\n{_format_label(action)}"
            help_text = (action.help or "").replace("%(default)s", str(action.default))
            yield escape_roff(help_text[:1].upper() + help_text[1:]) + "."
    yield TAIL.read_text(encoding="ascii").rstrip("\n")


def _format_label(action: argparse.Action) -> str:
    options = ", ".join(f"\\fB{escape_roff(option)}\\fR" for option in action.option_strings)
    if action.metavar:
        value = str(action.metavar)
    elif action.choices:
        value = "|".join(map(str, action.choices))
    else:
        value = "" if action.nargs == 0 else action.dest.upper()
    label = " ".join(filter(None, (options, f"\\fI{escape_roff(value)}\\fR" if value else "")))
    return label or escape_roff(action.dest)


def format_completion() -> Iterator[str]:
    """Yield the lines of the completion for bash."""
    yield "# bash completion for anycastd, written by packaging/describe.py"
    yield "_anycastd() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield '    if [ "$COMP_CWORD" -eq 1 ]; then'
    yield f'        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$word"))'
    yield "        return"
    yield "    fi"
    yield "    case $before in"
    yield '        --profile|--lease|--directory) COMPREPLY=($(compgen -f -- "$word")); return ;;'
    yield "    esac"
    yield "    case ${COMP_WORDS[1]} in"
    for name, parser in iter_parsers():
        arguments = list(iter_arguments(parser))
        offered = [option for action in arguments for option in action.option_strings]
        for action in arguments:
            if action.choices and not action.option_strings:
                offered += map(str, action.choices)
        files = any(not it.option_strings and not it.choices for it in arguments)
        options = f'{"-f " if files else ""}-W "{" ".join(offered)} --help"'
        yield f"        {name})"
        yield f'            COMPREPLY=($(compgen {options} -- "$word")) ;;'
    yield "    esac"
    yield "}"
    yield "complete -o filenames -F _anycastd anycastd"


def main() -> int:
    """Write the manual page or the completion to standard output."""
    writers = {"man": format_man_page, "completion": format_completion}
    if sys.argv[1:] not in [[name] for name in writers]:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    sys.stdout.write("\n".join(writers[sys.argv[1]]()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
