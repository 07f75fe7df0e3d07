"""`anycastd bfd`: run a BIRD that speaks only BFD, beside ExaBGP."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from anycastd.cli.arguments import add_directory, add_profile
from anycastd.cli.output import print_error
from anycastd.cli.profile_file import load_profile
from anycastd.speaker import bird_bfd
from anycastd.system.atomic_file import write_atomic
from anycastd.system.exit_codes import DONE, EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_profile(parser)
    parser.add_argument(
        "--write",
        action="store_true",
        help="write BIRD's configuration and exit; a running BIRD loads it on SIGHUP",
    )
    add_directory(parser, "/run/anycastd-bfd", "where to create BIRD's configuration and socket")


def main(args: argparse.Namespace) -> int:
    """Write BIRD's configuration and exec BIRD.

    Returns the exit code after ``--write`` (0) or where that fails: 69 without BIRD or a directory,
    77 without permission, 78 for a profile that cannot be used or has no `bfd`.
    """
    profile = load_profile(args.profile)
    if profile is None:
        return EX_CONFIG
    if profile.bgp.bfd is None:
        print_error(
            f"{args.profile}: bgp.bfd: is missing; write bfd: {{interval: 1, multiplier: 3}}"
        )
        return EX_CONFIG
    where = Path(args.directory)
    conf = where / "bird.conf"
    bird = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if bird is None:
        print_error("anycastd: BIRD is not installed: apt install bird2")
        return EX_UNAVAILABLE
    try:
        where.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_atomic(conf, bird_bfd.build_bird_config(profile, profile.bgp.bfd))
        if args.write:
            return DONE
        files = ("-c", str(conf), "-s", str(where / "bird.ctl"), "-P", str(where / "bird.pid"))
        os.execv(bird, [bird, "-f", *files])  # noqa: S606 - no shell: a fixed list
    except OSError as error:
        print_error(f"anycastd: {error.filename or where}: {error.strerror}")
        return EX_NOPERM if isinstance(error, PermissionError) else EX_UNAVAILABLE
