"""Write down what a check of a profile has accepted (pure)."""

from __future__ import annotations

from anycastd.profile.accepted import TAGS, AcceptedProfile, dump_accepted, load_accepted
from anycastd.profile.model import Profile
from anycastd.profile.schema import load_schema
from anycastd.profile.schema_check import complete_values
from anycastd.profile.validate import Validation
from anycastd.profile.without_secrets import remove_secrets
from anycastd.profile.yaml_reader import read_yaml


def accept_profile(text: str, profile: Profile, validation: Validation) -> AcceptedProfile:
    """Put together what a check of ``text`` has accepted: ``profile``, with its warnings."""
    warnings = tuple(str(problem) for problem in validation.problems)
    return AcceptedProfile(profile, warnings, remove_secrets(text))


def describe_accepted(text: str, accepted: AcceptedProfile, validation: Validation) -> str:
    """Return the JSON of what a check of ``text`` has accepted, for ``load_accepted``.

    Empty where it would not read back as the same.
    """
    tree = complete_values(read_yaml(text).value, load_schema(), TAGS)
    found = dump_accepted(tree, validation.lines, accepted)
    try:
        return found if load_accepted(found) == accepted else ""
    except ValueError:
        return ""
