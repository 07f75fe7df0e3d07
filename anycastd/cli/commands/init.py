"""`anycastd init`: ask five questions, and write a pair of profiles to begin with."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anycastd.cli.init_answers import (
    QUESTIONS,
    AnswerError,
    Question,
    build_answers,
    judge_answers,
    read_address,
    read_addresses,
    read_asn,
    read_networks,
    read_platform,
    read_region,
    read_service,
    read_vip,
)
from anycastd.cli.output import fold, print_error, print_line, print_lines
from anycastd.evidence.haproxy.config_names import MAX_SIZE, parse_config_names
from anycastd.profile.starter import Names, write_pair
from anycastd.system.exit_codes import (
    DONE,
    EX_CONFIG,
    EX_NOPERM,
    EX_UNAVAILABLE,
    INTERRUPTED,
    REFUSED,
    USAGE,
)
from anycastd.system.regular_file import read_regular_file

DIRECTORY = "/etc/anycastd"
"""Where the profile of an installed appliance is."""
HAPROXY_CONFIG = "/etc/haproxy/haproxy.cfg"
"""HAProxy's configuration on Debian and Ubuntu."""
_AZURE_PEER = 65515
_MAX_TRIES = 5

_OPTIONS: Mapping[str, tuple[Callable[[str], object], str, str]] = {
    "platform": (read_platform, "NAME", "azure, aws or plain (routers of your own)"),
    "vip": (read_vip, "ADDRESS", "the anycast address, the same in each region"),
    "region": (read_region, "NAME", "the name of this region, which is preferred"),
    "other_region": (read_region, "NAME", "the name of the other region, which takes over"),
    "local_address": (read_address, "ADDRESS", "this appliance's own address"),
    "neighbors": (read_addresses, "A,B", "addresses of its BGP neighbors"),
    "local_as": (read_asn, "NUMBER", "your AS number (default with --yes: 65010)"),
    "peer_as": (read_asn, "NUMBER", "AS number of the neighbors (on azure always 65515)"),
    "other_local_address": (read_address, "ADDRESS", "address of the other region's appliance"),
    "other_neighbors": (read_addresses, "A,B", "addresses of its BGP neighbors"),
    "networks": (read_networks, "A,B", "prefixes of this network; the VIP is outside"),
    "service": (read_service, "NAME", "name of the service (default: web)"),
}
"""Option -> how its value is read, its placeholder, its help."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    for name, (_, placeholder, text) in _OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=placeholder, help=text)
    parser.add_argument(
        "--haproxy-config",
        metavar="FILE",
        help=f"read HAProxy's names from this file (default: {HAPROXY_CONFIG}, where it exists)",
    )
    parser.add_argument(
        "--directory",
        metavar="DIR",
        default=DIRECTORY,
        help=f"where to write the two profiles (default: {DIRECTORY})",
    )
    parser.add_argument("--force", action="store_true", help="replace profiles that exist")
    parser.add_argument("--yes", action="store_true", help="do not ask before writing")


def main(args: argparse.Namespace) -> int:
    """Ask what no option says, and write the profiles of both regions.

    Returns the exit code: 0; 2 where an option is missing or wrong; 4 where a file exists; 69 or 77
    where a file cannot be written; 78 where the answers do not fit; 130 where nobody answers.
    """
    try:
        known = _read_options(args)
        names, told = _read_haproxy(args.haproxy_config, str(known.get("vip", "")))
        if not sys.stdin.isatty():
            _require_options(known)
        else:
            print_lines(told)
            _ask(known, names)
            names, told = _read_haproxy(args.haproxy_config, str(known["vip"]))
    except AnswerError as error:
        _print_folded(f"anycastd: {error}")
        return USAGE
    except EOFError:
        print_error("\nanycastd: nothing is written")
        return INTERRUPTED
    other = known["other_region"]
    directory = Path(args.directory)
    files = (directory / "profile.yaml", directory / f"profile-{other}.yaml")
    answers = build_answers(known, names)
    problems = judge_answers(answers, (str(files[0]), str(files[1])))
    if problems:
        for problem in problems:
            _print_folded(f"anycastd: {problem.key}: {problem.message}; {problem.remedy}")
        print_error("anycastd: nothing is written; give other answers")
        return EX_CONFIG
    existing = [file for file in files if os.path.lexists(file)]
    if existing and not args.force:
        for file in existing:
            _print_folded(
                f"anycastd: {file} exists; --force replaces it, --directory names another"
            )
        return REFUSED
    if sys.stdin.isatty() and not args.yes and not _confirm(files):
        print_error("anycastd: nothing is written")
        return INTERRUPTED
    return _finish(files, write_pair(answers), told, force=args.force, known=answers.other.known)


def _print_folded(text: str) -> None:
    for line in fold(text, "", "  "):
        print_error(line)


# Answers -----------------------------------------------------------------------------------------


def _read_options(args: argparse.Namespace) -> dict[str, object]:
    """Read the options that are given; raises AnswerError with the option's name."""
    known: dict[str, object] = {}
    for name, (read, _, _) in _OPTIONS.items():
        text = getattr(args, name)
        if text is None:
            continue
        try:
            known[name] = read(text)
        except AnswerError as error:
            raise AnswerError(f"--{name.replace('_', '-')}: {error}") from None
    if known.get("region") is not None and known.get("region") == known.get("other_region"):
        raise AnswerError("--other-region: it is this region; give each region its own name")
    if known.get("platform") == "azure":
        known.setdefault("peer_as", _AZURE_PEER)
    return known


def _require_options(known: dict[str, object]) -> None:
    """Raise AnswerError with all options that are missing, where nobody can be asked."""
    missing = [
        f"--{name.replace('_', '-')}"
        for question in QUESTIONS
        for name in question.options
        if name not in known
    ]
    if missing:
        raise AnswerError(
            f"there is no terminal to ask at, and these are missing: {', '.join(missing)}"
        )


def _ask(known: dict[str, object], names: Names) -> None:
    """Ask each question that no option answers; an answer that does not fit is asked for again."""
    open_questions = [each for each in QUESTIONS if any(name not in known for name in each.options)]
    for number, question in enumerate(open_questions, 1):
        for tries in range(1, _MAX_TRIES + 1):
            print_line(f"{number}/{len(open_questions)}  {question.text}")
            try:
                text = input(f"     such as {_example(question, known)}: ")
                _take(question, text, known, names)
                break
            except AnswerError as error:
                print_error(f"     {error}")
                if tries == _MAX_TRIES:
                    raise AnswerError("too many answers that do not fit") from None


def _example(question: Question, known: Mapping[str, object]) -> str:
    if question.options == ("local_as", "peer_as") and known.get("platform") != "azure":
        return "65010 65020"
    return question.example


def _take(question: Question, text: str, known: dict[str, object], names: Names) -> None:
    """Take an answer; raises AnswerError where it is wrong by itself, or beside those before it."""
    values = dict(zip(question.options, question.read(text, known), strict=True))
    trial = _FILL | known | values
    for problem in judge_answers(build_answers(trial, names), ("this", "other")):
        if any(key in problem.key for key in _KEYS[question.options[0]]):
            raise AnswerError(f"{problem.message}; {problem.remedy}")
    known.update(values)


_FILL: dict[str, Any] = {
    "platform": "plain",
    "vip": "198.51.100.10",
    "region": "one",
    "other_region": "two",
    "local_address": "10.255.255.1",
    "neighbors": ("10.255.254.4", "10.255.254.5"),
    "local_as": 65010,
    "peer_as": 65515,
}
"""Values that fit, for the questions that are not asked yet."""
_KEYS = {
    "platform": (),
    "vip": ("vip",),
    "region": ("region",),
    "local_address": ("address", "neighbors", "families"),
    "local_as": ("local_as", "peer_as"),
}
"""First option of a question -> the keys of a profile that its answer is in."""


def _read_haproxy(path: str | None, vip: str) -> tuple[Names, list[str]]:
    """Read HAProxy's names; returns them, and lines that say which ones and from where.

    Raises AnswerError where a file that was named cannot be read.
    """
    file = path or HAPROXY_CONFIG
    shipped = Names()
    try:
        text = read_regular_file(file, MAX_SIZE, follow=True).decode("utf-8", "replace")
    except OSError as error:
        if path is not None:
            raise AnswerError(f"--haproxy-config: {file}: {error.strerror}") from None
        return shipped, [f"{file} cannot be read: the names are those of the shipped haproxy.cfg"]
    found = parse_config_names(text)
    frontend, backend = found.choose(vip)
    names = Names(
        frontend or shipped.frontend,
        backend or shipped.backend,
        found.socket or shipped.socket,
        found.ring,
    )
    told = [f"from {file}: frontend {names.frontend}, backend {names.backend}"]
    for what, value, given in (
        ("frontend", frontend, names.frontend),
        ("backend", backend, names.backend),
        ("stats socket", found.socket, names.socket),
    ):
        if value is None:
            told.append(f"no {what} is clearly meant there: {given} is written; see that it fits")
    return names, told


# Files -------------------------------------------------------------------------------------------


def _confirm(files: tuple[Path, Path]) -> bool:
    try:
        answer = input(f"Write {files[0]} and {files[1].name}? [y/N] ")
    except EOFError:
        print_line("")
        return False
    return answer.strip().lower() in {"y", "yes"}


def _finish(
    files: tuple[Path, Path], texts: tuple[str, str], told: list[str], *, force: bool, known: bool
) -> int:
    try:
        _write_all(files, texts, force=force)
    except FileExistsError as error:
        print_error(f"anycastd: {error.filename} exists by now; nothing is written")
        return REFUSED
    except OSError as error:
        _print_folded(
            f"anycastd: {files[0].parent}: cannot be written: {error.strerror}; name another one "
            "with --directory, or use sudo"
        )
        return EX_NOPERM if isinstance(error, PermissionError) else EX_UNAVAILABLE
    print_lines(told)
    print_lines(f"wrote {file}" for file in files)
    if not known:
        print_line(f"change the lines marked EDIT in {files[1].name}: that region's addresses")
    print_line(f"next: anycastd check {files[0]} {files[1]}")
    print_line(f"then copy {files[1].name} to the other appliance, as {DIRECTORY}/profile.yaml")
    return DONE


def _write_all(files: tuple[Path, Path], texts: tuple[str, str], *, force: bool) -> None:
    """Write both files or none: whole texts first, then their names.

    Raises FileExistsError where a file exists and ``force`` is not set, else OSError.
    """
    with contextlib.ExitStack() as opened:
        temporaries = []
        for file, text in zip(files, texts, strict=True):
            descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
            opened.callback(_remove, name)
            with open(descriptor, "w", encoding="utf-8") as stream:
                os.fchmod(descriptor, 0o644)
                stream.write(text)
                stream.flush()
                os.fsync(descriptor)
            temporaries.append(name)
        written: list[Path] = []
        try:
            for file, name in zip(files, temporaries, strict=True):
                if force:
                    os.replace(name, file)
                else:
                    os.link(name, file)  # it fails where somebody was faster
                    written.append(file)
        except OSError:
            for file in written:
                _remove(file)
            raise


def _remove(file: str | Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(file)
