"""Read profiles for a command; problems are printed on standard error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anycastd.cli.output import print_error
from anycastd.cli.profile_text import read_text
from anycastd.profile.model import Profile
from anycastd.profile.validate import Validation, validate_profile

DEFAULT_PROFILE = "/etc/anycastd/profile.yaml"
"""The profile of an installed appliance."""
_OWN = Path(__file__).resolve().parents[2] / "profiles"
EXAMPLES = str(_OWN) if _OWN.is_dir() else "/etc/anycastd/examples"
"""Where the shipped profiles are: in the package, or in a checkout of the source."""


def read_profile(path: str) -> Validation:
    """Read and validate one profile; the result is empty if the file cannot be read."""
    text = read_text(path)
    return Validation(None, ()) if text is None else validate_profile(text, path)


def validate_text(
    text: str, path: str, tell_warning: Callable[[str], object] = print_error
) -> Validation:
    """Validate a profile's text and print every problem.

    ``tell_warning`` is given the warnings of a profile that can be used.
    """
    validation = validate_profile(text, path)
    for problem in validation.problems:
        tell = print_error if validation.profile is None else tell_warning
        marked = problem.warning and tell is print_error  # a log has priorities
        tell(f"warning: {problem}" if marked else str(problem))
    return validation


def load_profile(path: str) -> Profile | None:
    """Read one profile and print every problem; None if the profile cannot be used."""
    text = read_text(path)
    return None if text is None else validate_text(text, path).profile
