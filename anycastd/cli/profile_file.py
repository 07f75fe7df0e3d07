"""Read profiles for a command: all problems to standard error, the exit code to the caller."""

from __future__ import annotations

from pathlib import Path

from anycastd.cli.output import print_error
from anycastd.profile.model import Profile
from anycastd.profile.validate import Validation, validate


def read_text(path: str) -> str | None:
    """Read a profile's text; where that cannot be, say why on standard error."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        print_error(f"{path}: cannot be read: {error.strerror}; name a readable profile")
    except UnicodeDecodeError as error:
        print_error(f"{path}: not UTF-8 text (byte {error.start}); save the profile as UTF-8")
    return None


def read_profile(path: str) -> Validation:
    """Read and judge one profile; a file that cannot be read is a problem like any other."""
    text = read_text(path)
    return Validation(None, ()) if text is None else validate(text, path)


def validate_text(text: str, path: str) -> Profile | None:
    """Judge a profile's text, saying every problem on standard error; None: it cannot be used."""
    accepted = validate(text, path)
    for problem in accepted.problems:
        print_error(str(problem))
    return accepted.profile


def load_profile(path: str) -> Profile | None:
    """Read one profile, saying every problem on standard error; None where it cannot be used."""
    text = read_text(path)
    return None if text is None else validate_text(text, path)
