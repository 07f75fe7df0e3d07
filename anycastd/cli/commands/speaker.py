"""`anycastd speaker`: write ExaBGP's configuration and become ExaBGP."""

from __future__ import annotations

import argparse

from anycastd.cli.arguments import add_directory, add_profile
from anycastd.cli.output import complain
from anycastd.cli.profile_file import load
from anycastd.speaker import start
from anycastd.speaker.exabgp import config
from anycastd.speaker.foreign import others
from anycastd.system.exit_codes import EX_CONFIG


def configure(parser: argparse.ArgumentParser) -> None:
    """Say the arguments."""
    add_profile(parser)
    add_directory(
        parser, "/run/anycastd-speaker", "where the lease socket and ExaBGP's configuration are put"
    )


def main(args: argparse.Namespace) -> int:
    """Prepare the directory and become ExaBGP; returns only where that cannot be."""
    profile = load(args.profile)
    if profile is None:
        return EX_CONFIG
    for other in others():
        complain(f"anycastd: {other}")
    try:
        start.become(profile, args.directory, args.profile)
    except config.SpeakerError as error:
        complain(f"anycastd: {error}")
        return error.code
    return 0
