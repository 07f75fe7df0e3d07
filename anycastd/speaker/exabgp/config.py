"""Profile -> exabgp.conf, and hashes that tell whether a running speaker fits a profile (pure)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence

from anycastd.profile.model import IPV6, Address, Neighbor, Profile
from anycastd.speaker.exabgp.contract import format_config_line
from anycastd.system.exit_codes import EX_CONFIG, ExitError

OPEN_WAIT = 20  # seconds that a peer may take to answer a connection with its OPEN


def build_config(
    profile: Profile,
    lease_command: Sequence[str],
    passwords: Mapping[Address, str],
    *,
    port: int = 179,
) -> str:
    """Build the text of exabgp.conf.

    ``lease_command`` is the command line of the lease process, ``passwords`` are the neighbors'
    MD5 passwords (RFC 2385), ``port`` is the neighbors' TCP port.  The text has no routes: the
    lease process announces them.

    Raises ExitError (78) for a word of the command line that ExaBGP cannot read: one that is not
    ASCII, or has a quote, a backslash, a newline or a zero byte.
    """
    neighbors = (
        _neighbor(profile, neighbor, passwords.get(neighbor.address), port)
        for neighbor in profile.bgp.neighbors
    )
    run = " ".join(map(_quote, lease_command))
    process = f"process lease {{\n    run {run};\n    encoder json;\n}}\n"
    head = "# Written by `anycastd speaker` from its profile at each start; edit the profile.\n"
    return "\n".join((head + format_config_line(config_hash(profile)), process, *neighbors))


def _neighbor(
    profile: Profile,
    neighbor: Neighbor,
    password: str | None,
    port: int,
) -> str:
    lines = [
        f"router-id {profile.bgp.router_id};",
        f"local-address {neighbor.local_address};",
        f"local-as {profile.bgp.local_as};",
        f"peer-as {neighbor.peer_as};",
        f"hold-time {neighbor.hold_time};",
        "adj-rib-in false;",
        "adj-rib-out true;",
    ]
    if port != 179:  # noqa: PLR2004 - BGP's own
        lines.append(f"connect {port};")
    if neighbor.multihop is not None:
        lines.append(f"outgoing-ttl {neighbor.multihop};")
    if password is not None:
        # Without md5-base64, 4.2 guesses, and takes hexadecimal digits for Base64.
        plain = re.fullmatch(r"[\w()+./=-]+", password, re.ASCII) is not None
        encoded = password if plain else base64.b64encode(password.encode()).decode()
        lines.append(f"md5-password {encoded};")
        lines.append(f"md5-base64 {'false' if plain else 'true'};")
    lines += [
        "capability {",
        "    route-refresh enable;",  # without it a route server resets the session instead
        "    graceful-restart disable;",  # a stale anycast route is a black hole
        "}",
        "family {",
        *(f"    {family} unicast;" for family in neighbor.families),
        "}",
        *(["nexthop {", "    ipv4 unicast ipv6;", "}"] if neighbor.extended_next_hop else ()),
        "api {",
        "    processes [ lease ];",
        "    neighbor-changes;",
        "}",
    ]
    body = "\n".join(f"    {line}" for line in lines)
    return f"neighbor {neighbor.address} {{\n{body}\n}}\n"


def _quote(text: str) -> str:
    """Quote a word of the configuration where it needs quotes."""
    if re.fullmatch(r"[\w/.,:=@%+-]+", text, re.ASCII):
        return text
    if re.search(r"[\"\\\0\n]", text) or not text.isascii():
        raise ExitError(f"{text!r}: ExaBGP cannot read this path; use another", EX_CONFIG)
    return f'"{text}"'


def config_hash(profile: Profile) -> str:
    """Hash the settings of the sessions: where it differs, the speaker must be reconfigured.

    It covers the profile's values, not the text of the template, and the names of the password
    files, not the passwords.  Returns 16 hexadecimal digits.
    """
    usual = _usual_families(profile)
    neighbors = [
        [
            str(neighbor.address),
            neighbor.peer_as,
            str(neighbor.local_address),
            neighbor.hold_time,
            neighbor.multihop,
            neighbor.md5_file,
            *([neighbor.families] if neighbor.families != usual else ()),
            *(["extended next hop"] if neighbor.extended_next_hop else ()),
        ]
        for neighbor in profile.bgp.neighbors
    ]
    names = [f"{family} unicast" for family in usual]
    values = [profile.bgp.local_as, str(profile.bgp.router_id), names, neighbors]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _usual_families(profile: Profile) -> tuple[str, ...]:
    """Return the families of a neighbor whose profile names none; ``profile.build`` has the rule.

    They are hashed for all neighbors at once, as by a release that does not know the key.
    """
    ipv6 = any(service.vip.version == IPV6 for service in profile.services.values())
    return ("ipv4", "ipv6") if ipv6 else ("ipv4",)


def vip_prefixes(profile: Profile) -> list[str]:
    """Return the prefixes that may be announced, each once, sorted as text."""
    return sorted({service.prefix for service in profile.services.values()})


# The settings of a neighbor's block that come from the profile.  Only these are compared: what a
# newer release adds to the template is no reason to close a session.
_VALUES = re.compile(
    r"^\s*(?:(router-id|local-address|local-as|peer-as|hold-time|connect|outgoing-ttl"
    r"|md5-password|md5-base64)\s+([^;]+)|(ipv[46] unicast(?: ipv6)?));$",
    re.MULTILINE,
)
_BLOCK = re.compile(r"^neighbor (\S+) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


def parse_neighbor_blocks(text: str) -> dict[str, str]:
    """Return the neighbors' blocks in the text of an exabgp.conf: address -> block."""
    return {found[1]: found[0] for found in _BLOCK.finditer(text)}


def parse_session_values(block: str) -> frozenset[tuple[str, str]]:
    """Return the settings of the session in a neighbor's block: pairs of name and value.

    Between two blocks with equal settings the session can stay open.
    """
    return frozenset((name or family, value) for name, value, family in _VALUES.findall(block))


def merge_config(
    before: str, after: str, config: str, reset: Collection[str]
) -> tuple[str, list[str]]:
    """Merge two texts of exabgp.conf: ``after``, without changes that would close a session.

    The sessions with the neighbors in ``reset`` may close.  ``config`` is the hash of ``after``.

    Returns the text, and the addresses of the neighbors whose change is deferred.
    """
    old = parse_neighbor_blocks(before)
    deferred: list[str] = []

    def choose(found: re.Match[str]) -> str:
        address, block = found[1], found[0]
        current = old.get(address)
        if current is None or address in reset:
            return block
        if parse_session_values(current) != parse_session_values(block):
            deferred.append(address)
        return current

    text = _BLOCK.sub(choose, after)
    if deferred:
        # Each step has its own hash: one that is read in between must not look like the last one.
        line = format_config_line(config)
        text = text.replace(line, line.replace(config, f"{config}-{len(deferred)}", 1), 1)
    return text, deferred
