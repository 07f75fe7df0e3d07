"""Read profiles for a command: all problems to standard error, the exit code to the caller."""

from __future__ import annotations

from pathlib import Path

from anycastd.cli.output import complain
from anycastd.profile.model import Profile
from anycastd.profile.validate import Accepted, accept


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
