"""Two sound profiles to break, and what is said of them then."""

from __future__ import annotations

from anycastd.profile.validate import validate

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
PLAIN = ("platform: azure", "platform: plain")
AWS = ("platform: azure", "platform: aws")

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

Changes = list[tuple[str, str]]


def changed(text: str, *changes: tuple[str, str]) -> str:
    """Replace texts that must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def said(changes: Changes) -> list[str]:
    """Return the problems of AZURE after the changes as they are printed, warnings marked."""
    accepted = validate(changed(AZURE, *changes), "p.yaml")
    errors = [problem for problem in accepted.problems if not problem.warning]
    assert (accepted.profile is None) == bool(errors)
    return [f"{'warning ' * each.warning}{each}" for each in accepted.problems]


def printed(text: str) -> list[str]:
    """Return all problems of a text as they are printed."""
    return [str(problem) for problem in validate(text, "p.yaml").problems]
