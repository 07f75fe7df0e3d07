"""`anycastd undrain`: end a drain."""

from __future__ import annotations

import argparse

from anycastd.cli.arguments import add_directory
from anycastd.cli.commands.drain import find_user, send_command

CODES = """\
exit codes:
  0   done; the service comes back as its rules and timers allow
  1   done, but that could not be written to the disk: the drain returns with the next agent
  2   wrong usage; there is no such service
  4   there is no such drain
  69  no agent answers
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CODES
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="without it: the drain of all services"
    )
    add_directory(parser, "/run/anycastd", "where the agent's control socket is")


def main(args: argparse.Namespace) -> int:
    """End a drain, and say what follows."""
    return send_command(args.directory, "undrain", {"service": args.service, "by": find_user()})
