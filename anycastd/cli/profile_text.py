"""Read the text of a profile's file; what is wrong with the file is printed on standard error."""

from __future__ import annotations

from pathlib import Path

from anycastd.cli.output import print_error
from anycastd.profile.document import MAX_SIZE


def read_text(path: str) -> str | None:
    """Read a profile's text; None if that fails, with the reason on standard error."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(MAX_SIZE + 1)  # validate_profile refuses what is longer
    except OSError as error:
        print_error(f"{path}: cannot be read: {error.strerror}; name a readable profile")
    except UnicodeDecodeError as error:
        print_error(f"{path}: not UTF-8 text (at byte {error.start}); save the profile as UTF-8")
    return None
