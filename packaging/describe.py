# ruff: noqa: INP001 - a script beside what it is for, no package
"""Write the manual page or the bash completion from the command line's own description.

    python3 packaging/describe.py {man|completion}

Both say what `--help` says, so they cannot grow old.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from anycastd import __version__
from anycastd.cli.main import COMMANDS, MODULES

HEAD = Path(__file__).with_name("anycastd.8.head")
TAIL = Path(__file__).with_name("anycastd.8.tail")


def parsers() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield (command, summary, parser)."""
    for name, summary in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"anycastd {name}", add_help=False)
        importlib.import_module(f"anycastd.cli.commands.{MODULES.get(name, name)}").configure(
            parser
        )
        yield name, summary, parser


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield what a command takes, that of its own commands too."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield action
            for below in action.choices.values():
                yield from leaves(below)
        elif action.help is not argparse.SUPPRESS:
            yield action


def roff(text: str) -> str:
    """Escape a text for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))


def man() -> Iterator[str]:
    """Write anycastd(8)."""
    yield f'.TH ANYCASTD 8 "" "anycastd {__version__}" "System administration"'
    yield HEAD.read_text(encoding="ascii").rstrip("\n")
    yield ".SH COMMANDS"
    for name, summary, parser in parsers():
        yield f".SS {roff('anycastd ' + name)}"
        yield roff(summary[0].upper() + summary[1:]) + "."
        for action in leaves(parser):
            words = ", ".join(f"\\fB{roff(word)}\\fR" for word in action.option_strings)
            value = action.metavar or (
                "" if action.nargs == 0 or action.choices else action.dest.upper()
            )
            if action.choices and not action.metavar:
                value = "|".join(map(str, action.choices))
            label = " ".join(filter(None, (words, f"\\fI{roff(str(value))}\\fR" if value else "")))
            yield f".TP\n{label or roff(action.dest)}"
            help_text = (action.help or "").replace("%(default)s", str(action.default))
            yield roff(help_text[:1].upper() + help_text[1:]) + "."
    yield TAIL.read_text(encoding="ascii").rstrip("\n")


def completion() -> Iterator[str]:
    """Write the completion for bash."""
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
    for name, _, parser in parsers():
        words = [word for action in leaves(parser) for word in action.option_strings]
        for action in leaves(parser):
            if action.choices and not action.option_strings:
                words += map(str, action.choices)
        files = any(not it.option_strings and not it.choices for it in leaves(parser))
        options = f'{"-f " if files else ""}-W "{" ".join(words)} --help"'
        yield f"        {name})"
        yield f'            COMPREPLY=($(compgen {options} -- "$word")) ;;'
    yield "    esac"
    yield "}"
    yield "complete -o filenames -F _anycastd anycastd"


def main() -> int:
    """Write what is asked for to standard output."""
    writers = {"man": man, "completion": completion}
    if sys.argv[1:] not in [[name] for name in writers]:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    sys.stdout.write("\n".join(writers[sys.argv[1]]()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
