"""An accepted profile as JSON reads back as the profile that was accepted, or not at all."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from anycastd.profile.acceptance import accept_profile, describe_accepted
from anycastd.profile.accepted import AcceptedProfile, load_accepted
from anycastd.profile.validate import validate_profile
from support.profiles import TEXT

ROOT = Path(__file__).resolve().parents[3]
RICH = (
    TEXT.replace(
        "{address: 192.0.2.4, peer_as: 65515}",
        "{address: 192.0.2.4, peer_as: 65515, md5_file: /etc/x, communities: ['65010:1'], med: 5}",
    )
    .replace("vip: 203.0.113.10/32", 'vip: "203.0.113.10/32"\n    next_hop: 192.0.2.99')
    .replace("failed: withdraw", "failed: withdraw\n    self_test: {tcp: 80}")
    + """\
web: {listen: "192.0.2.10:9480", token_file: /etc/token, allow: [192.0.2.0/24]}
regions:
  - {name: northeurope, agent: "192.0.2.10:9480"}
  - {name: westeurope, agent: "192.0.2.20:9480", token_file: /etc/token}
hooks:
  - {command: [/usr/bin/curl, "https://198.51.100.7/"], events: [transition]}
  - {command: [/bin/true], events: [transition], timeout: 3.5}
"""
)
TEXTS = {
    "small": TEXT,
    "rich": RICH,
    **{path.name: path.read_text("utf-8") for path in sorted((ROOT / "profiles").glob("*.yaml"))},
}


def accept(text: str) -> tuple[AcceptedProfile, str]:
    """Check a text; return what was accepted, and its JSON."""
    validation = validate_profile(text, "test.yaml")
    assert validation.profile is not None, "\n".join(map(str, validation.problems))
    accepted = accept_profile(text, validation.profile, validation)
    return accepted, describe_accepted(text, accepted, validation)


@pytest.mark.parametrize("name", TEXTS)
def test_it_reads_back_as_the_same(name: str) -> None:
    """Every value, the lines of hooks, the warnings, and the text for recordings."""
    accepted, dumped = accept(TEXTS[name])
    assert dumped
    assert "\n" not in dumped
    assert load_accepted(dumped) == accepted


def test_warnings_are_kept() -> None:
    """They are told at each start, whoever has checked."""
    lonely = TEXT.replace("    - {address: 192.0.2.5, peer_as: 65515}\n", "")
    accepted, dumped = accept(lonely.replace("platform: plain", "platform: aws"))
    assert accepted.warnings
    assert load_accepted(dumped).warnings == accepted.warnings
    assert "test.yaml:" in accepted.warnings[0]


def edit(value: Any, choose: random.Random) -> Any:
    """Replace, remove or double one part of a value of JSON."""
    strange: tuple[Any, ...] = (
        None,
        -1,
        1e308,
        "",
        "x" * 50,
        "::1",
        [],
        {},
        {"": ["vip", 7]},
        {"": 1},
        True,
    )
    if isinstance(value, dict | list) and value and choose.random() < 0.95:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = choose.choice(keys)
        changed = dict(value) if isinstance(value, dict) else list(value)
        if choose.random() < 0.05:
            del changed[key]
        else:
            changed[key] = edit(value[key], choose)
        return changed
    return choose.choice(strange)


def test_what_is_strange_is_refused_or_a_profile() -> None:
    """Nothing but ValueError comes out, whatever stands there."""
    choose = random.Random(14)  # noqa: S311 - edits, no secrets
    dumped = json.loads(accept(RICH)[1])
    refused = 0
    for _ in range(3000):
        text = json.dumps(edit(dumped, choose))
        try:
            load_accepted(text)
        except ValueError:
            refused += 1
    assert refused > 300
    for text in ("", "{", "[" * 100_000, "null", "7", '{"tree": {}}'):
        with pytest.raises(ValueError, match=r"^(it is no|Expecting|Extra)"):
            load_accepted(text)
