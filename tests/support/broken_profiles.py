"""Two valid profiles for tests to break, and functions that list the problems."""

from __future__ import annotations

from anycastd.profile.validate import validate_profile

AZURE = """\
region: northeurope
platform: azure
networks: [10.0.0.0/16]
lease: {ttl: 5}
bgp:
  local_as: 65010
  router_id: 10.0.2.10
  local_address: 10.0.2.10
  hold_time: 9
  neighbors:
    - {address: 10.0.1.4, peer_as: 65515}
    - {address: 10.0.1.5, peer_as: 65515}
haproxy:
  main: {socket: /run/haproxy/a.sock, ring: anycastd}
services:
  web:
    vip: 203.0.113.10/32
    prepend: 0
    serve: {all: [{backend: web, usable: 1}, {frontend: web}]}
    healthy: {backend: web, usable: 50%}
    degraded: {prepend: 3}
    standby: {prepend: 6}
    failed: withdraw
    return: {hold_down: 60, spacing: 35}
"""
"""A valid profile with most keys."""
PLAIN = ("platform: azure", "platform: plain")
AWS = ("platform: azure", "platform: aws")
"""Changes of its platform."""

LEAST = """\
region: here
platform: plain
bgp:
  local_as: 65010
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  neighbors: [{address: 192.0.2.4, peer_as: 65020}]
haproxy: {main: {socket: /run/haproxy.sock}}
services:
  web: {vip: 203.0.113.10/32, serve: {backend: web}, failed: standby}
"""
"""A valid profile with the required keys alone."""

Changes = list[tuple[str, str]]
"""(old, new) texts."""


def replace_texts(text: str, *changes: tuple[str, str]) -> str:
    """Replace the first occurrence of each old text; AssertionError where it does not exist."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def list_azure_problems(changes: Changes) -> list[str]:
    """Return the problems of AZURE after ``changes``, as printed; warnings begin with `warning`."""
    validation = validate_profile(replace_texts(AZURE, *changes), "p.yaml")
    errors = [problem for problem in validation.problems if not problem.warning]
    assert (validation.profile is None) == bool(errors)
    return [f"{'warning ' * each.warning}{each}" for each in validation.problems]


def list_problems(text: str) -> list[str]:
    """Return all problems of a profile's text, as printed."""
    return [str(problem) for problem in validate_profile(text, "p.yaml").problems]
