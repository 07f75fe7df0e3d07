"""`anycastd speaker`: write ExaBGP's configuration, then exec ExaBGP."""

from __future__ import annotations

import argparse

from anycastd.cli.arguments import add_directory, add_profile
from anycastd.cli.output import print_error
from anycastd.cli.profile_file import load_profile
from anycastd.speaker import start
from anycastd.speaker.foreign import find_foreign_exabgps
from anycastd.system.exit_codes import DONE, EX_CONFIG, ExitError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_profile(parser)
    add_directory(
        parser,
        "/run/anycastd-speaker",
        "where to create the lease socket and ExaBGP's configuration",
    )


def main(args: argparse.Namespace) -> int:
    """Prepare the directory and exec ExaBGP; returns only if that fails.

    Returns the exit code: 69 where ExaBGP is missing, the directory cannot be used or another
    speaker runs there; 77 without permission; 78 for a profile or a file that it names.
    """
    profile = load_profile(args.profile)
    if profile is None:
        return EX_CONFIG
    for other in find_foreign_exabgps():
        print_error(f"anycastd: {other}")
    try:
        start.exec_exabgp(profile, args.directory, args.profile)
    except ExitError as error:
        print_error(f"anycastd: {error}")
        return error.code
    return DONE
