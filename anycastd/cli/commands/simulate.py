"""`anycastd simulate`: run a recording again, also with another profile."""

from __future__ import annotations

import argparse
import itertools
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from anycastd.cli.output import (
    format_duration,
    format_table,
    print_error,
    print_json,
    print_line,
)
from anycastd.cli.profile_file import load_profile
from anycastd.decision.levels import Level
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile
from anycastd.recording.courses import (
    Comparison,
    Course,
    TooManyChangesError,
    compare_courses,
)
from anycastd.recording.limits import MAX_LINE, MAX_SIZE
from anycastd.recording.reader import RecordingError, RecordingReader
from anycastd.recording.simulation import Change
from anycastd.system.exit_codes import DONE, EX_CONFIG, EX_DATAERR, EX_NOINPUT

MAX_ROWS = 200
"""Changes that are printed; ``--json`` has all of them."""
_WIDTH = 80


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Run a recording of `anycastd record` again, in virtual time, and show its changes of "
        "level beside those that come out. With another profile this shows what would have "
        "happened with it. Nothing is sent and no agent is asked."
    )
    parser.add_argument("recording", metavar="RECORDING", help="the file of the recording")
    parser.add_argument(
        "--profile", metavar="FILE", help="the profile to try (default: the one that was recorded)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def main(args: argparse.Namespace) -> int:
    """Run the recording, and print both courses.

    Returns the exit code: 0; 65 (the recording cannot be used); 66 (it cannot be read); 78 (the
    profile cannot be used).
    """
    other = None
    if args.profile is not None:
        other = load_profile(args.profile)
        if other is None:
            return EX_CONFIG
    try:
        with open(args.recording, "rb") as file:
            reader = RecordingReader(_iter_lines(file))
            comparison = compare_courses(reader, _load_own(reader), other)
    except OSError as error:
        print_error(f"anycastd simulate: {args.recording}: {error.strerror or error}")
        return EX_NOINPUT
    except RecordingError as error:
        print_error(f"anycastd simulate: {args.recording}: {error}")
        return EX_DATAERR
    except TooManyChangesError:
        print_error(f"anycastd simulate: {args.recording}: it has too many changes of level")
        return EX_DATAERR
    if args.json:
        print_json(comparison.to_json())
        return DONE
    for line in describe_comparison(comparison, args.profile):
        print_line(line)
    return DONE


def _iter_lines(file: BinaryIO) -> Iterator[bytes]:
    left = MAX_SIZE + MAX_LINE
    while left > 0 and (line := file.readline(MAX_LINE + 1)):
        left -= len(line)
        yield line


def _load_own(reader: RecordingReader) -> Profile:
    """Return the profile of the recording; raises RecordingError where this release refuses it."""
    validation = validate_profile(reader.header.profile, "the recorded profile")
    if validation.profile is None:
        problem = next(each for each in validation.problems if not each.warning)
        raise RecordingError(f"line 1: {problem}")
    return validation.profile


# Output ------------------------------------------------------------------------------------------


def describe_comparison(found: Comparison, profile: str | None) -> Iterator[str]:
    """Yield the lines that are printed: the verdict, the totals, and the changes side by side."""
    yield from _fold(_describe_verdict(found, profile))
    length = format_duration(max(0.0, found.ended_at - found.began_at))
    began = _format_time(found.began_at)
    yield f"{found.region}: {length} from {began}, {found.passes} passes"
    if found.ended:
        yield from _fold(f"the recording ends because {found.ended}" if " " in found.ended else "")
    for note in found.notes:
        yield from _fold(f"note: {note}")
    yield ""
    names = ("recorded", "simulated" if profile is None else "with the profile")
    yield from _describe_totals(found, names)
    if not found.rows:
        return
    yield ""
    rows = [("TIME (UTC)", "SERVICE", names[0].upper(), names[1].upper())]
    reasons: list[str] = [""]
    for row in found.rows[:MAX_ROWS]:
        change = row.change
        both = _describe(row.recorded), "the same" if row.same else _describe(row.simulated)
        rows.append((_format_time(change.wall), change.service, *both))
        reasons.append(_describe_reason(change))
    for line, why in zip(format_table(rows, indent=0), reasons, strict=True):
        yield line
        if why:
            yield from textwrap.wrap(
                why, _WIDTH - 4, initial_indent="    ", subsequent_indent="    "
            )
    if len(found.rows) > MAX_ROWS:
        yield f"and {len(found.rows) - MAX_ROWS} more changes: see --json"


def _describe_verdict(found: Comparison, profile: str | None) -> str:
    first = found.first_difference
    number = len(found.recorded.changes)
    changes = f"{number} change{'' if number == 1 else 's'} of level"
    if first is None:
        how = "the same course again" if profile is None else f"{profile} makes no difference"
        return f"{how}: {changes}"
    at, who = _format_time(first.change.wall), first.change.service
    if profile is None:
        return f"this release decides otherwise than was recorded, first at {at}: {who}"
    return f"{profile} makes a difference, first at {at}: {who}"


def _describe_totals(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    rows = [("SERVICE", "COURSE", "CHANGES", *(each.label.upper() for each in reversed(Level)))]
    courses = (found.recorded, found.simulated)
    services = dict.fromkeys(itertools.chain(*(each.at_level for each in courses)))
    for service in services:
        for name, course in zip(names, courses, strict=True):
            rows.append((service, name, *_list_totals(course, service)))
    yield from format_table(rows, indent=0)


def _list_totals(course: Course, service: str) -> tuple[str, ...]:
    spent = course.at_level.get(service)
    if spent is None:
        return ("-",) * (1 + len(Level))
    changes = sum(change.service == service for change in course.changes)
    times = (format_duration(spent[level]) if spent[level] else "-" for level in reversed(Level))
    return (str(changes), *times)


def _describe(change: Change | None) -> str:
    return "-" if change is None else f"{change.old.label} > {change.new.label}"


def _describe_reason(change: Change) -> str:
    detail = f" ({change.detail})" if change.detail else ""
    return f"{change.reason.sentence}{detail}"


def _format_time(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


def _fold(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ")
