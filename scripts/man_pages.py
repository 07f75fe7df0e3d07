"""Write the manual pages from the parsers of the commands and the schema of the profile."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import profile_reference
from anycastd import __version__
from anycastd.cli.main import COMMANDS
from anycastd.profile.schema import load_schema, resolve_ref
from command_parsers import Argument, iter_arguments, iter_parsers

ROOT = Path(__file__).resolve().parent.parent
HEAD = ROOT / "packaging" / "anycastd.8.head"
TAIL = ROOT / "packaging" / "anycastd.8.tail"
CODES = ROOT / "docs" / "exit-codes.md"
_NO_HYPHENS = ".nh\n.ad l"
"""Names and commands can be copied from a terminal as they are."""
_ESCAPES = {"\\": "\\e", "-": "\\-", "`": "\\(ga", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti"}


def render_pages() -> dict[str, str]:
    """Return the file name of every page (`anycastd.8`) and its text."""
    pages = {"anycastd.8": _render_main(), "anycastd-profile.5": _render_profile()}
    for name, parser in iter_parsers():
        pages[f"anycastd-{name}.8"] = _render_command(name, parser)
    return pages


def escape_roff(text: str) -> str:
    """Escape a text for roff; `code` in it becomes bold, and a link its text."""
    text = re.sub(r"\[([^]\n]+)\]\([^)\s]+\)", r"\1", text)
    parts = re.split(r"`([^`\n]+)`", text)
    plain = ["".join(_ESCAPES.get(letter, letter) for letter in part) for part in parts]
    text = "".join(f"\\fB{part}\\fR" if i % 2 else part for i, part in enumerate(plain))
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))


def _head(title: str, section: int, summary: str) -> Iterator[str]:
    yield f'.TH {title.upper()} {section} "" "anycastd {__version__}" "System administration"'
    yield _NO_HYPHENS
    yield f".SH NAME\n{escape_roff(title)} \\- {escape_roff(summary)}"


def _render_main() -> str:
    """Render anycastd(8): what it is, and the list of the commands."""
    lines = [f'.TH ANYCASTD 8 "" "anycastd {__version__}" "System administration"']
    lines += [_NO_HYPHENS, HEAD.read_text(encoding="ascii").rstrip("\n"), ".SH COMMANDS"]
    lines += ["Each command has a page of its own."]
    for name, summary in COMMANDS.items():
        lines.append(f".TP\n.BR {_refer(name)}\n{_sentence(summary)}")
    lines.append(TAIL.read_text(encoding="ascii").rstrip("\n"))
    return "\n".join(lines) + "\n"


def _render_command(name: str, parser: argparse.ArgumentParser) -> str:
    """Render the page of one command."""
    lines = list(_head(f"anycastd-{name}", 8, COMMANDS[name]))
    lines += [".SH SYNOPSIS", _format_usage(name, parser), ".SH DESCRIPTION"]
    lines.append(_paragraphs(parser.description or ""))
    arguments = list(iter_arguments(parser))
    if arguments:
        lines.append(".SH OPTIONS")
        for each in arguments:
            lines.append(f".TP\n{_format_label(each)}\n{_sentence(each.help)}")
    lines += _epilog(parser.epilog or "")
    lines += _exit_status(name, parser.epilog or "")
    lines.append(".SH SEE ALSO")
    others = [f".BR {_refer(other)}" for other in COMMANDS if other != name]
    lines.append(" ,\n".join([".BR anycastd (8)", *others, ".BR anycastd\\-profile (5)"]))
    return "\n".join(lines) + "\n"


def _refer(name: str) -> str:
    return f"anycastd\\-{escape_roff(name)} (8)"


def _sentence(text: str) -> str:
    return escape_roff(f"{text[:1].upper()}{text[1:]}".rstrip(".")) + "."


def _paragraphs(text: str) -> str:
    return "\n.PP\n".join(escape_roff(part.strip()) for part in re.split(r"\n{2,}", text))


def _format_usage(name: str, parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().split()).removeprefix(f"usage: anycastd {name}")
    text = escape_roff(usage.strip())
    text = re.sub(r"(?<![\w\\-])((?:\\-){1,2}[a-z][\w\\-]*)", r"\\fB\1\\fR", text)
    text = re.sub(r"\b([A-Z]{2,})\b", r"\\fI\1\\fR", text)
    return f"\\fBanycastd {escape_roff(name)}\\fR {text}"


def _format_label(argument: Argument) -> str:
    value = f"\\fI{escape_roff(argument.value)}\\fR" if argument.value else ""
    if value and not argument.required:
        value = f"[{value}]"
    if argument.repeated:
        value += " ..."
    options = ", ".join(f"\\fB{escape_roff(option)}\\fR" for option in argument.options)
    return " ".join(filter(None, (options, value)))


def _epilog(epilog: str) -> Iterator[str]:
    """Yield what stands below the options in the help, without the exit codes."""
    for part in re.split(r"\n{2,}", epilog.strip("\n")):
        heading, _, rest = part.partition("\n")
        if not part or heading.startswith("exit codes"):
            continue
        if heading.endswith(":") and rest:
            yield f".SH {escape_roff(heading.rstrip(':').upper())}"
            yield f".nf\n{escape_roff(rest)}\n.fi"
        else:
            yield f".PP\n.nf\n{escape_roff(part)}\n.fi"


def _exit_status(name: str, epilog: str) -> Iterator[str]:
    """Yield the exit codes: those of the help, else those of docs/exit-codes.md."""
    yield ".SH EXIT STATUS"
    found = re.search(r"^exit codes[^\n]*\n((?: +\S[^\n]*\n?)+)", epilog, re.MULTILINE)
    if found:
        for line in found[1].splitlines():
            code, _, meaning = line.strip().partition(" ")
            yield f".TP\n{code}\n{_sentence(meaning.strip())}"
    else:
        for shown, codes, when in _read_codes(name):
            yield f".TP\n\\fB{escape_roff(shown)}\\fR: {codes}\n{_sentence(when)}"
    yield ".PP\nCodes of 65 and above mean the same for every command; see\n.BR anycastd (8)."


def _read_codes(name: str) -> list[tuple[str, str, str]]:
    """Read the rows of a command in docs/exit-codes.md: (command, codes, when)."""
    text = CODES.read_text(encoding="utf-8").partition("\n## By command\n")[2]
    rows = re.findall(r"^\| `([a-z]+)([^`]*)` \| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    return [(f"anycastd {first}{more}", *rest) for first, more, *rest in rows if first == name]


def _render_profile() -> str:
    """Render anycastd-profile(5): every key of the profile."""
    root = load_schema()
    lines = list(_head("anycastd-profile", 5, "the profile of a region, for anycastd"))
    lines += [".SH SYNOPSIS", ".I /etc/anycastd/profile.yaml", ".SH DESCRIPTION"]
    lines.append(_paragraphs(profile_reference.INTRODUCTION))
    for heading, path in profile_reference.BLOCKS:
        block: Any = root
        for step in path:
            block = block[step]
        lines.append(
            f".SH {escape_roff(heading.replace('`', ''))}\n{escape_roff(block['description'])}"
        )
        for key, raw in block["properties"].items():
            lines.append(_render_key(key, resolve_ref(raw, root), key in block.get("required", ())))
    lines += [".SH FILES", ".TP\n.I /etc/anycastd/profile.yaml\nThe profile of this machine."]
    lines += [".TP\n.I /etc/anycastd/examples/\nProfiles to begin with."]
    lines += [".SH SEE ALSO", ".BR anycastd (8),\n.BR anycastd\\-check (8)"]
    return "\n".join(lines) + "\n"


def _render_key(key: str, each: Mapping[str, Any], required: bool) -> str:
    facts = [profile_reference.render_type(each)]
    if each.get("x-unit"):
        facts.append(f"in {each['x-unit']}")
    default = profile_reference.render_default(each)
    facts.append("required" if required else f"default {default}" if default else "optional")
    label = f"\\fB{escape_roff(key)}\\fR ({escape_roff(', '.join(facts))})"
    return f".TP\n{label}\n{escape_roff(each['description'])}"
