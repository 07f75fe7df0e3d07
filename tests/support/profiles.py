"""A small valid profile for tests, with parts replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from anycastd.profile.model import Profile
from anycastd.profile.schema import load_schema
from anycastd.profile.validate import validate_profile

TEXT = """\
region: northeurope
platform: plain
bgp:
  local_as: 65010
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  neighbors:
    - {address: 192.0.2.4, peer_as: 65515}
    - {address: 192.0.2.5, peer_as: 65515}
haproxy:
  main: {socket: /run/haproxy/anycastd.sock, ring: anycastd}
services:
  web:
    vip: 203.0.113.10/32
    prepend: 0
    serve: {all: [{backend: web, usable: 1}, {frontend: web}]}
    healthy: {backend: web, usable: 50%}
    degraded: {prepend: 3, fall: 5}
    standby: {prepend: 6, after: 1}
    failed: withdraw
    return: {rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}
"""


def profile(*changes: tuple[str, str]) -> Profile:
    """Return the Profile of TEXT after replacing (old, new) texts.

    Raises AssertionError where an old text does not exist, or the profile cannot be used.
    """
    validation = validate_profile(profile_text(*changes), "test.yaml")
    assert validation.profile is not None, "\n".join(map(str, validation.problems))
    return validation.profile


def profile_text(*changes: tuple[str, str]) -> str:
    """Return TEXT after replacing (old, new) texts; raises AssertionError as ``profile`` does."""
    text = TEXT
    for old, new in changes:
        assert old in text, f"the test's profile has no {old!r}"
        text = text.replace(old, new)
    return text


def iter_schema_keys(
    schema: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place (``bgp.local_as``, or ``definition:key``) and the schema of each key."""
    for name, each in schema.get("properties", {}).items():
        yield f"{path}{name}", each
        yield from iter_schema_keys(each, f"{path}{name}.")
    for name, each in schema.get("$defs", {}).items():
        yield from iter_schema_keys(each, f"{name}:")


def assert_schema_agrees(
    kind: type[Any], place: str, renamed: dict[str, str], unwritten: set[str]
) -> None:
    """Assert that each key has its field and each field its key, with the same defaults.

    ``kind`` is the dataclass of the keys at ``place``.  ``renamed`` maps key -> field where they
    differ; ``unwritten`` are fields without a key.
    """
    found = {
        name.removeprefix(place): each
        for name, each in iter_schema_keys(load_schema())
        if name.startswith(place)
        and not set(name.removeprefix(place)) & set(".:")
        and name.removeprefix(place)
    }
    fields = {each.name: each for each in dataclasses.fields(kind) if each.init}
    assert {renamed.get(name, name) for name in found} | unwritten == set(fields)
    for name, each in found.items():
        default = fields[renamed.get(name, name)].default
        if default in (dataclasses.MISSING, None, ()):
            continue
        assert default == each["default"], name
