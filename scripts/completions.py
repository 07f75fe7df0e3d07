"""Write the completions for bash and zsh from the parsers of the commands."""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.cli.main import COMMANDS
from command_parsers import Argument, Kind, iter_arguments, iter_parsers

_ORIGIN = "written by packaging/describe.py from the help of the commands"
_READ_NAMES = "import json, sys; print(*json.load(sys.stdin)['services'], sep='\\n')"
"""Prints the names of the services of `anycastd status --json`."""


def render_bash() -> str:
    """Return the completion for bash."""
    return "\n".join(_iter_bash()) + "\n"


def render_zsh() -> str:
    """Return the completion for zsh."""
    return "\n".join(_iter_zsh()) + "\n"


_BASH_HEAD = f"""\
# bash completion for anycastd(8), {_ORIGIN}

# Print the services of the running agent; nothing where none answers within two seconds.
_anycastd_services() {{
    local at place=()
    for ((at = 2; at < COMP_CWORD; at++)); do
        [[ ${{COMP_WORDS[at]}} == --directory ]] && place=(--directory "${{COMP_WORDS[at + 1]}}")
    done
    timeout 2 "${{COMP_WORDS[0]}}" status --json "${{place[@]}}" 2>/dev/null </dev/null |
        python3 -c "{_READ_NAMES}" 2>/dev/null
}}

# Offer what completes the word as KIND: file, directory, program or service.
_anycastd_offer() {{
    local name
    case $1 in
        file | directory)
            mapfile -t COMPREPLY < <(compgen "-${{1:0:1}}" -- "$word")
            compopt -o filenames 2>/dev/null ;;
        program) mapfile -t COMPREPLY < <(compgen -c -- "$word") ;;
        service)
            while IFS= read -r name; do
                [[ $name == "$word"* ]] && COMPREPLY+=("$name")
            done < <(_anycastd_services) ;;
    esac
}}

_anycastd() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}}:$before in"""
_BASH_TAIL = """\
    esac
    # Nothing else fits: the options.
    if ((${#COMPREPLY[@]} == 0)); then
        COMPREPLY=($(compgen -W "$options --help" -- "$word"))
    fi
}
complete -F _anycastd anycastd"""


def _iter_bash() -> Iterator[str]:
    commands = [(name, list(iter_arguments(parser))) for name, parser in iter_parsers()]
    yield _BASH_HEAD
    for name, arguments in commands:
        for each in arguments:
            if each.options and each.value and each.required:
                patterns = "|".join(f"{name}:{option}" for option in each.options)
                yield f"        {patterns}) {_bash_value(each)}return ;;"
    yield "    esac"
    yield "    local options="
    yield "    case ${COMP_WORDS[1]} in"
    for name, arguments in commands:
        yield f"        {name})"
        options = " ".join(option for each in arguments for option in each.options)
        yield f'            options="{options}"'
        for each in arguments:
            if not each.options:
                yield f"            [[ $word == -* ]] || {{ {_bash_value(each)}}}"
        yield "            ;;"
    yield _BASH_TAIL


def _bash_value(argument: Argument) -> str:
    """Return the command that offers values of an argument, with its semicolon; "" for none."""
    if argument.kind is Kind.CHOICE:
        return f'COMPREPLY+=($(compgen -W "{" ".join(argument.choices)}" -- "$word")); '
    return "" if argument.kind is Kind.NONE else f"_anycastd_offer {argument.kind.name.lower()}; "


_ZSH_HEAD = f"""\
#compdef anycastd
# zsh completion for anycastd(8), {_ORIGIN}

# Offer the services of the running agent; nothing where none answers within two seconds.
_anycastd_services() {{
    local -a names place
    local at=${{words[(I)--directory]}}
    (( at )) && place=(--directory ${{words[at + 1]}})
    names=(${{(f)"$(timeout 2 $program status --json $place 2>/dev/null </dev/null |
        python3 -c "{_READ_NAMES}" 2>/dev/null)"}})
    (( $#names )) && compadd -a names
}}

_anycastd() {{
    local program=$words[1] command=$words[2]
    local -a commands
    if (( CURRENT == 2 )); then
        commands=("""
_ZSH_MIDDLE = """\
        )
        _describe command commands
        _arguments '--help[show the help and exit]' '--version[show the version and exit]'
        return
    fi
    shift words
    (( CURRENT-- ))
    case $command in"""
_ZSH_TAIL = """\
    esac
}

_anycastd "$@\""""
_ZSH_ACTIONS = {
    Kind.NONE: " ",
    Kind.SERVICE: "_anycastd_services",
    Kind.FILE: "_files",
    Kind.DIRECTORY: "_files -/",
    Kind.PROGRAM: "_command_names -e",
}


def _iter_zsh() -> Iterator[str]:
    yield _ZSH_HEAD
    for name, summary in COMMANDS.items():
        yield f"            {_quote_zsh(f'{name}:{summary}')}"
    yield _ZSH_MIDDLE
    for name, parser in iter_parsers():
        yield f"        {name})"
        yield "            _arguments \\"
        for each in iter_arguments(parser):
            for spec in _specify_zsh(each):
                yield f"                {_quote_zsh(spec)} \\"
        yield "                '--help[show the help and exit]' ;;"
    yield _ZSH_TAIL


def _specify_zsh(argument: Argument) -> Iterator[str]:
    """Yield the specifications of an argument for _arguments (zshcompsys(1))."""
    action = _ZSH_ACTIONS.get(argument.kind, f"({' '.join(argument.choices)})")
    value = f"{_escape_zsh(argument.value)}:{action}" if argument.value else ""
    if not argument.options:
        before = "*:" if argument.repeated else ":" if argument.required else "::"
        yield before + value
    elif argument.repeated:
        for option in argument.options:
            yield f"{option}[{_escape_zsh(argument.help)}]:*:{value}"
    else:
        for option in argument.options:
            before = "" if not value else ":" if argument.required else "::"
            yield f"{option}[{_escape_zsh(argument.help)}]{before}{value}"


def _escape_zsh(text: str) -> str:
    text = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\[]:" else letter for letter in text)


def _quote_zsh(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
