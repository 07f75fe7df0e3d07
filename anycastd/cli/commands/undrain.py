"""`anycastd undrain`: end a drain."""

from __future__ import annotations

import argparse

from anycastd.cli.arguments import add_agent_directory, find_user
from anycastd.cli.commands.drain import send_command

CODES = """\
exit codes:
  0   done; the service returns as soon as its rules and timers allow
  1   done, but not written to the disk: the drain is there again when the agent restarts
  2   wrong usage; there is no such service
  4   there is no such drain
  69  no agent answers; nothing has changed
  75  the agent did not answer in time: it is not known whether the drain ended
  77  this user may only read
"""
"""The exit codes, for the help of the command."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CODES
    parser.add_argument(
        "service",
        nargs="?",
        metavar="SERVICE",
        help="the service whose drain to end; without it: the drain of all services",
    )
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """End a drain, and print what follows; return one of the exit codes of ``CODES``."""
    return send_command(args.directory, "undrain", {"service": args.service, "by": find_user()})
