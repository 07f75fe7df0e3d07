"""Add the arguments that several commands have, and find who runs a command."""

from __future__ import annotations

import argparse
import os


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile``, which is required."""
    parser.add_argument("--profile", required=True, metavar="FILE", help="the region's profile")


def add_agent_directory(parser: argparse.ArgumentParser) -> None:
    """Add ``--directory`` to a command that asks the running agent."""
    add_directory(parser, "/run/anycastd", "where the agent's control socket is")


def add_directory(parser: argparse.ArgumentParser, default: str, purpose: str) -> None:
    """Add ``--directory``, with ``purpose`` as its help.

    By default it is the first directory of RuntimeDirectory= (systemd.exec(5)), else ``default``.
    """
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    parser.add_argument(
        "--directory",
        metavar="DIR",
        default=given or default,
        help=f"{purpose} (default: $RUNTIME_DIRECTORY, else {default})",
    )


def add_state(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add ``--state``, with ``purpose`` as its help.

    By default it is the first directory of StateDirectory= (systemd.exec(5)).
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    default = "/var/lib/anycastd"
    parser.add_argument(
        "--state",
        metavar="DIR",
        default=given or default,
        help=f"{purpose} (default: $STATE_DIRECTORY, else {default})",
    )


def add_colour(parser: argparse.ArgumentParser) -> None:
    """Add ``--color``."""
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="use colours (auto: on a terminal, unless NO_COLOR is set)",
    )


def find_user() -> str:
    """Return the user's name (with sudo, of the user who ran sudo), or ``uid N`` without a name."""
    import getpass  # noqa: PLC0415 - only some commands say who asks

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
