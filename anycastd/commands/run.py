"""`anycastd run`: the agent."""

from __future__ import annotations

import argparse
import asyncio
import os

from anycastd import daemon
from anycastd.commands.load import (
    EX_CONFIG,
    EX_NOPERM,
    EX_UNAVAILABLE,
    add_directory,
    add_profile,
    complain,
    load,
    log_to_stderr,
)
from anycastd.control import ControlError
from anycastd.loopback import NoPrivilegeError
from anycastd.supervise import SpeakerEndedError, Supervisor


def configure(parser: argparse.ArgumentParser) -> None:
    """Say the arguments."""
    add_profile(parser)
    parser.add_argument(
        "--lease",
        metavar="SOCKET",
        help="the lease socket of a speaker that runs on its own; without it, run owns a speaker",
    )
    add_directory(parser, "/run/anycastd", "where the control socket is put")


def main(args: argparse.Namespace) -> int:
    """Run the agent until SIGTERM or SIGINT."""
    log_to_stderr()
    profile = load(args.profile)
    if profile is None:
        return EX_CONFIG
    speaker = None
    lease = args.lease
    if lease is None:
        below = os.path.join(args.directory, "speaker")
        lease = os.path.join(below, "lease.sock")
        speaker = Supervisor(("--profile", args.profile, "--directory", below))
    try:
        asyncio.run(daemon.run(profile, lease, args.directory, speaker))
    except NoPrivilegeError as error:
        complain(f"anycastd: {error.strerror}")
        return EX_NOPERM
    except SpeakerEndedError as error:
        complain(f"anycastd: {error}")
        return error.code
    except (ControlError, daemon.LostError) as error:
        complain(f"anycastd: {error}")
        return EX_UNAVAILABLE
    except OSError as error:
        complain(f"anycastd: {args.directory}: {error.strerror}; choose a --directory to write to")
        return EX_NOPERM if isinstance(error, PermissionError) else EX_UNAVAILABLE
    return 0
