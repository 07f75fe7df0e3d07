"""`anycastd check [FILE...]`: do everything that `run` does, except starting it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from anycastd.cli.check_live import check_live, find_foreign_speakers
from anycastd.cli.check_machine import (
    find_master_sockets,
    find_profiles_of_machine,
    report_skipped,
)
from anycastd.cli.check_print import print_result
from anycastd.cli.check_result import CheckedProfile, CheckResult, Found
from anycastd.cli.live_look import gather_evidence, gather_looks
from anycastd.cli.output import print_json
from anycastd.cli.profile_file import DEFAULT_PROFILE, EXAMPLES
from anycastd.cli.profile_text import read_text
from anycastd.profile.compare import compare_regions
from anycastd.profile.document import Problem
from anycastd.profile.model import Profile
from anycastd.profile.unfinished import find_notes, find_unfinished
from anycastd.profile.validate import Validation, validate_profile

_Read = Mapping[str, tuple[str, Validation]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help=f"a region's profile (default: {DEFAULT_PROFILE})",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--here",
        action="store_const",
        const=True,
        help="look at this machine, even where local_address is not here",
    )
    where.add_argument(
        "--not-here",
        "--offline",
        dest="here",
        action="store_const",
        const=False,
        help="look only at the files: not at this machine, HAProxy or the other regions",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--verbose", action="store_true", help="show every combination of levels of all regions"
    )
    parser.add_argument(
        "--show-config",
        action="store_true",
        help="show ExaBGP's configuration, as the speaker would write it",
    )


def main(args: argparse.Namespace) -> int:
    """Check every file, print every problem, and compare the profiles that can be used.

    Returns the exit code: 0, or 78 where a profile cannot be used, they do not fit together, or it
    cannot work on this machine.
    Raises ExitError where ExaBGP cannot read the path of this Python, or a file cannot be read now;
    OSError without /proc.
    """
    files = list(dict.fromkeys(args.files or [DEFAULT_PROFILE]))
    result = _check(files, here=args.here)
    if args.json:
        print_json(result.to_json())
    else:
        print_result(result, verbose=args.verbose, show_config=args.show_config)
    return result.code


def _check(files: list[str], *, here: bool | None) -> CheckResult:
    texts = {file: read_text(file) for file in files}
    read = {
        file: (text, validate_profile(text, file))
        for file, text in texts.items()
        if text is not None
    }
    usable = [(file, it.profile) for file, (_, it) in read.items() if it.profile is not None]
    comparison = compare_regions(usable, {file: it.lines for file, (_, it) in read.items()})
    problems = [
        *(problem for _, it in read.values() for problem in it.problems),
        *comparison.problems,
        *_find_unfinished(read, usable),
    ]
    found = list(map(Found.from_problem, problems))
    profiles = []
    for checked, more in _check_machines(usable, read, here=here):
        profiles.append(checked)
        found += more
    if usable and here is not False:
        found += find_foreign_speakers(usable[0][0])
    notes = comparison.notes
    if not notes:
        notes = tuple(note for file, it in usable for note in find_notes(it, read[file][1].lines))
    return CheckResult(len(files), tuple(found), tuple(profiles), comparison, notes)


def _find_unfinished(read: _Read, usable: list[tuple[str, Profile]]) -> list[Problem]:
    examples = [each.read_text(encoding="utf-8") for each in sorted(Path(EXAMPLES).glob("*.yaml"))]
    return [
        problem
        for file, profile in usable
        for problem in find_unfinished(file, profile, read[file][1].lines, read[file][0], examples)
    ]


def _check_machines(
    usable: list[tuple[str, Profile]], read: _Read, *, here: bool | None
) -> list[tuple[CheckedProfile, tuple[Found, ...]]]:
    """Look at this machine for each profile that is for it."""
    profiles = dict(usable)
    gather = cache(lambda file: gather_evidence(profiles[file]))
    # No check of a profile runs that may be for another machine.
    ours = find_profiles_of_machine(usable, lambda file: gather_looks(profiles[file]), here=here)
    checked = []
    for file, profile in usable:
        lines = read[file][1].lines
        if file in ours:
            one, problems = check_live(file, profile, lines, gather(file))
            masters = find_master_sockets(profile, gather(file).haproxy)
            problems = (*(Found.from_machine(file, each) for each in masters), *problems)
        else:
            summary = "not looked at" if here is False else report_skipped(profile).summary
            one, problems = CheckedProfile(file, profile, lines, machine=summary), ()
        checked.append((one, problems))
    return checked
