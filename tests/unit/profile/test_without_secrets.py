"""The text of a profile for a recording: it decides the same, and has no secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anycastd.profile.model import Profile
from anycastd.profile.schema import load_schema
from anycastd.profile.validate import validate_profile
from anycastd.profile.without_secrets import REMOVED, SECRET_FILES, remove_secrets
from support.profiles import TEXT, iter_schema_keys

ROOT = Path(__file__).resolve().parents[3]
MARK = "s3cr3t"
FULL = (
    TEXT.replace(
        "{address: 192.0.2.4, peer_as: 65515}",
        f"{{address: 192.0.2.4, peer_as: 65515, md5_file: /etc/{MARK}/md5}}  # {MARK}",
    )
    + f"""\
web: {{listen: "192.0.2.10:9480", token_file: /etc/{MARK}/web}}
regions:
  - {{name: northeurope, agent: "192.0.2.10:9480"}}
  - {{name: westeurope, agent: "192.0.2.20:9480", token_file: /etc/{MARK}/web}}
hooks:
  - {{command: [/usr/bin/curl, "https://198.51.100.7/{MARK}"], events: [transition]}}
"""
)


def load(text: str) -> Profile:
    """Return the profile of a text."""
    validation = validate_profile(text, "test.yaml")
    assert validation.profile is not None, "\n".join(map(str, validation.problems))
    return validation.profile


def test_every_key_with_a_secret_is_known() -> None:
    """A new key that names a file has to be looked at here: its file may be a secret."""
    named = {
        place.rpartition(".")[2].rpartition(":")[2]
        for place, each in iter_schema_keys(load_schema())
        if "_file" in place or "token" in place or "password" in place
    }
    assert named == SECRET_FILES | {"ca_file"}  # certificates of authorities are public


def test_no_secret_is_left() -> None:
    """Neither the paths of secret files, nor comments, nor the commands of hooks."""
    text = remove_secrets(FULL)
    assert MARK not in text
    assert text.count(REMOVED) == 3


@pytest.mark.parametrize(
    "text",
    [FULL, TEXT, *(path.read_text("utf-8") for path in sorted((ROOT / "profiles").glob("*.yaml")))],
)
def test_it_decides_the_same(text: str) -> None:
    """Services, rules, timers, neighbors and regions are those of the profile."""
    before, after = load(text), load(remove_secrets(text))
    assert after.services == before.services
    assert after.haproxy == before.haproxy
    assert after.drain == before.drain
    neighbors = [
        [replace(n, md5_file=None) for n in each.bgp.neighbors] for each in (before, after)
    ]
    assert neighbors[0] == neighbors[1]
    regions = [[replace(r, token_file=None) for r in each.regions] for each in (before, after)]
    assert regions[0] == regions[1]
    assert after == load(remove_secrets(remove_secrets(text)))


def test_what_is_no_profile_is_refused() -> None:
    """It was validated before, so this is a fault of the caller."""
    with pytest.raises(ValueError, match="cannot be read"):
        remove_secrets("{")
