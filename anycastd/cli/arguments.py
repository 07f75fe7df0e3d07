"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import os


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile``."""
    parser.add_argument("--profile", required=True, metavar="FILE", help="the region's profile")


def add_directory(parser: argparse.ArgumentParser, default: str, holds: str) -> None:
    """Add ``--directory``, by default systemd's RuntimeDirectory=, else ``default``."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    parser.add_argument(
        "--directory",
        metavar="DIR",
        default=given or default,
        help=f"{holds} (default: $RUNTIME_DIRECTORY, else {default})",
    )
