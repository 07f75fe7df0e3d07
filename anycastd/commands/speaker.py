"""`anycastd speaker`: write ExaBGP's configuration and become ExaBGP."""

from __future__ import annotations

import argparse

from anycastd import speaker, speaker_exabgp_config
from anycastd.cli_arguments import add_directory, add_profile
from anycastd.cli_output import complain
from anycastd.commands.load import load
from anycastd.others import others
from anycastd.system_exit_codes import EX_CONFIG


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
        speaker.become(profile, args.directory, args.profile)
    except speaker_exabgp_config.SpeakerError as error:
        complain(f"anycastd: {error}")
        return error.code
    return 0
