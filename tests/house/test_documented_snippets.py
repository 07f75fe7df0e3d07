"""Every part of a profile that a page shows can be used in a profile."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from anycastd.profile.validate import validate_profile
from support.profiles import TEXT

ROOT = Path(__file__).resolve().parents[2]
SHOWN = [
    (page.name, block)
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for block in re.findall(
        r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
]


def test_pages_have_parts_of_profiles() -> None:
    """None was lost on the way."""
    assert len(SHOWN) > 4


@pytest.mark.parametrize(("page", "block"), SHOWN)
def test_a_part_of_a_profile_can_be_used(page: str, block: str) -> None:
    """It is added to a small profile: keys of a service to its service."""
    whole, part = yaml.safe_load(TEXT), yaml.safe_load(block)
    services = part.pop("services", {})
    for name, keys in services.items():
        whole["services"][name].update(keys)
    if "maintenance" in part:
        whole["services"]["web"]["maintenance"] = part.pop("maintenance")
    whole.update(part)
    validation = validate_profile(json.dumps(whole), page)
    assert validation.profile is not None, "\n".join(map(str, validation.problems))
