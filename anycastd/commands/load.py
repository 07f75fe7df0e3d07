"""Read profiles for a command: all problems to standard error, the exit code to the caller."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from anycastd.profile import Profile
from anycastd.rules import Accepted, accept

EX_UNAVAILABLE = 69
EX_NOPERM = 77
EX_CONFIG = 78


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


def text_of(path: str) -> str | None:
    """Read a profile's text; where that cannot be, say why on standard error."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        complain(f"{path}: cannot be read: {error.strerror}; name a readable profile")
    except UnicodeDecodeError as error:
        complain(f"{path}: not UTF-8 text (byte {error.start}); save the profile as UTF-8")
    return None


def read(path: str) -> Accepted:
    """Read and judge one profile; a file that cannot be read is a problem like any other."""
    text = text_of(path)
    return Accepted(None, ()) if text is None else accept(text, path)


def judged(text: str, path: str) -> Profile | None:
    """Judge a profile's text, saying every problem on standard error; None: it cannot be used."""
    accepted = accept(text, path)
    for problem in accepted.problems:
        complain(str(problem))
    return accepted.profile


def load(path: str) -> Profile | None:
    """Read one profile, saying every problem on standard error; None where it cannot be used."""
    text = text_of(path)
    return None if text is None else judged(text, path)


def complain(text: str) -> None:
    """Say something on standard error."""
    print(text, file=sys.stderr)


def log_to_stderr() -> None:
    """Log to standard error: with the time on a terminal, without it where a journal adds it."""
    stamp = "%(asctime)s " if sys.stderr.isatty() else ""
    logging.basicConfig(level=logging.INFO, format=f"{stamp}anycastd: %(message)s")
