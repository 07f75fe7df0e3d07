"""Read the text of a profile's file; what is wrong with the file is printed on standard error."""

from __future__ import annotations

from pathlib import Path

from anycastd.cli.output import print_error
from anycastd.profile.document import MAX_SIZE
from anycastd.system.exit_codes import EX_UNAVAILABLE, ExitError
from anycastd.system.passing_errors import may_pass


def read_text(path: str) -> str | None:
    """Read a profile's text; None if that fails, with the reason on standard error.

    Raises ExitError (69) for an error that may pass: with 78 systemd would not start us again.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(MAX_SIZE + 1)  # validate_profile refuses what is longer
    except OSError as error:
        if may_pass(error):
            raise ExitError(
                f"{path}: cannot be read now: {error.strerror}", EX_UNAVAILABLE
            ) from None
        print_error(f"{path}: cannot be read: {error.strerror}; name a readable profile")
    except UnicodeDecodeError as error:
        print_error(f"{path}: not UTF-8 text (at byte {error.start}); save the profile as UTF-8")
    return None
