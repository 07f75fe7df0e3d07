"""`anycastd record`: record what the agent decides and why, to run it again with `simulate`."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from typing import Any

from anycastd.agent.control_client import (
    MISMATCH,
    NO_ANSWER,
    ControlError,
    ask_agent,
    socket_path,
)
from anycastd.cli.arguments import add_agent_directory, find_user
from anycastd.cli.no_agent import report_no_answer
from anycastd.cli.output import (
    clean_answer,
    format_duration,
    format_table,
    print_error,
    print_json,
    print_line,
)
from anycastd.system.exit_codes import DONE, EX_NOPERM, EX_UNAVAILABLE, USAGE

_SIZE = re.compile(r"(\d{1,7})([KMG])")
_FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TIMEOUT = 15.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from anycastd.cli.commands.drain import parse_duration  # noqa: PLC0415 - only here

    parser.description = (
        "Record everything that the agent's decisions depend on, and no secret, to a file in its "
        "state directory. `start` begins a recording, `stop` ends it, `status` shows what there "
        "is, and `copy FILE` copies the newest one. `anycastd simulate` runs a recording again."
    )
    parser.add_argument("action", choices=("start", "stop", "status", "copy"), help="what to do")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="with copy: where to (`-`: standard output)"
    )
    parser.add_argument(
        "--for",
        dest="duration",
        type=parse_duration,
        metavar="TIME",
        help="with start: end after this time, such as 30m or 2d (default: 1h)",
    )
    parser.add_argument(
        "--max-size",
        type=parse_size,
        metavar="SIZE",
        help="with start: end at this size, such as 500K or 1G (default: 64M)",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="with copy: this recording, as `status` names it"
    )
    parser.add_argument("--json", action="store_true", help="print the agent's answer as JSON")
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Do what ``args.action`` says.

    Returns the exit code: 0; 2 (no FILE, or the agent refuses); 69 (no agent answers, or there is
    no recording); 75 (it is not known whether the agent did it); 77 (a permission is missing).
    """
    if (args.action == "copy") != (args.file is not None):
        wanted = "copy needs FILE" if args.file is None else f"{args.action} takes no FILE"
        print_error(f"anycastd record: {wanted}; `anycastd record copy FILE` copies the newest one")
        return USAGE
    try:
        if args.action == "start":
            arguments = {"for": args.duration, "max_size": args.max_size, "by": find_user()}
            answer = ask_agent(args.directory, "record", _TIMEOUT, arguments)
        elif args.action == "stop":
            answer = ask_agent(args.directory, "record_stop", _TIMEOUT, {"by": find_user()})
        else:
            answer = ask_agent(args.directory, "recordings", _TIMEOUT)
        answer = clean_answer(answer)
        return _show(args, answer)
    except ControlError as error:
        return report_no_answer(error)
    except MISMATCH:
        print_error(f"anycastd: {socket_path(args.directory)}: {NO_ANSWER}")
        return EX_UNAVAILABLE


def _show(args: argparse.Namespace, answer: dict[str, Any]) -> int:
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return USAGE
    if args.action == "copy":
        return _copy(answer, args.name, args.file)
    if args.json:
        print_json(answer)
        return DONE
    newest = answer["recording"]
    if args.action == "start":
        left = format_duration(newest["ends_at"] - newest["began_at"])
        print_line(f"recording for {left}, at most {format_size(newest['max_size'])}:")
        print_line(f"  {newest['path']}")
        print_line("`anycastd record stop` ends it, `anycastd record copy FILE` copies it")
    elif args.action == "stop":
        print_line(f"recorded {newest['passes']} passes in {format_size(newest['size'])}:")
        print_line(f"  {newest['path']}")
    else:
        _print_status(answer)
    return DONE


def _print_status(answer: dict[str, Any]) -> None:
    newest = answer["recording"]
    if answer["running"]:
        left = format_duration(max(0.0, newest["ends_at"] - time.time()))
        size, most = format_size(newest["size"]), format_size(newest["max_size"])
        print_line(f"recording, for {left} more: {size} of at most {most}")
        print_line(f"  {newest['path']}")
    elif newest is not None:
        print_line("no recording now")
        print_line(f"  the last one has ended: {newest['why']}")
    else:
        print_line("no recording now; `anycastd record start` begins one")
    if answer["files"]:
        print_line(f"in {answer['directory']}:")
        for line in format_table(
            [(each["name"], format_size(each["size"])) for each in answer["files"]]
        ):
            print_line(line)


def _copy(answer: dict[str, Any], name: str | None, target: str) -> int:
    names = [str(each["name"]) for each in answer["files"]]
    if not names:
        print_error("anycastd: there is no recording; `anycastd record start` begins one")
        return EX_UNAVAILABLE
    if name is not None and name not in names:
        print_error(f"anycastd: there is no recording {name}; there are: {', '.join(names)}")
        return USAGE
    path = os.path.join(answer["directory"], name or names[-1])
    try:
        with open(path, "rb") as source:
            if target == "-":
                shutil.copyfileobj(source, sys.stdout.buffer)
                sys.stdout.buffer.flush()
                return DONE
            with open(target, "xb") as copy:
                shutil.copyfileobj(source, copy)
    except FileExistsError:
        print_error(f"{target}: it is there already; name another file")
        return USAGE
    except OSError as error:
        print_error(f"{error.filename or target}: {error.strerror}")
        return EX_NOPERM if isinstance(error, PermissionError) else EX_UNAVAILABLE
    print_line(f"copied {os.path.basename(path)} to {target}")
    return DONE


def parse_size(text: str) -> int:
    """Parse a size such as 500K, 64M or 1G; returns bytes.

    Raises ArgumentTypeError for another text.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500K, 64M or 1G")
    return int(found[1]) * _FACTORS[found[2]]


def format_size(size: int) -> str:
    """Format a number of bytes for people: 512 B, 3.1 KB, 64 MB."""
    number, unit = float(size), "B"
    for larger in ("KB", "MB", "GB"):
        if number < 1024:  # noqa: PLR2004 - the next unit
            break
        number, unit = number / 1024, larger
    return f"{number:.1f} {unit}" if number < 10 and unit != "B" else f"{number:.0f} {unit}"  # noqa: PLR2004 - a tenth matters
