"""Profile -> exabgp.conf, and hashes of what it says (pure)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Collection, Mapping

from anycastd.profile.model import Address, Neighbor, Profile
from anycastd.speaker.exabgp.contract import format_config_line
from anycastd.system.exit_codes import EX_CONFIG, ExitError

OPEN_WAIT = 20  # seconds that a peer may take to answer a connection with its OPEN


def build_config(
    profile: Profile, directory: str, secrets: Mapping[Address, str], *, port: int = 179
) -> str:
    """Write the text of exabgp.conf.

    ``secrets`` are the neighbors' MD5 passwords (RFC 2385), ``port`` is the neighbors' TCP port.
    No routes stand in it: they are the lease's to say.  ExitError for a ``directory`` that
    ExaBGP could not read back.
    """
    families = _families(profile)
    neighbors = (
        _neighbor(profile, neighbor, families, secrets.get(neighbor.address), port)
        for neighbor in profile.bgp.neighbors
    )
    run = " ".join(
        map(
            _word,
            (
                sys.executable,
                "-P",
                "-m",
                "anycastd.speaker.lease_process",
                f"{directory}/lease.json",
            ),
        )
    )
    process = f"process lease {{\n    run {run};\n    encoder json;\n}}\n"
    head = "# Written by `anycastd speaker` from its profile at each start; edit the profile.\n"
    return "\n".join((head + format_config_line(config_hash(profile)), process, *neighbors))


def _families(profile: Profile) -> tuple[str, ...]:
    """IPv6 only where a service needs it: some route servers close sessions that offer it."""
    ipv6 = any(service.vip.version == 6 for service in profile.services.values())  # noqa: PLR2004
    return ("ipv4 unicast", "ipv6 unicast") if ipv6 else ("ipv4 unicast",)


def _neighbor(
    profile: Profile,
    neighbor: Neighbor,
    families: tuple[str, ...],
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
        # Without the second word 4.2 guesses: it takes hexadecimal digits for Base64.
        plain = re.fullmatch(r"[\w()+./=-]+", password, re.ASCII) is not None
        written = password if plain else base64.b64encode(password.encode()).decode()
        lines.append(f"md5-password {written};")
        lines.append(f"md5-base64 {'false' if plain else 'true'};")
    lines += [
        "capability {",
        "    route-refresh enable;",  # without it a route server resets the session instead
        "    graceful-restart disable;",  # a stale anycast route is a black hole
        "}",
        "family {",
        *(f"    {family};" for family in families),
        "}",
        "api {",
        "    processes [ lease ];",
        "    neighbor-changes;",
        "}",
    ]
    body = "\n".join(f"    {line}" for line in lines)
    return f"neighbor {neighbor.address} {{\n{body}\n}}\n"


def _word(text: str) -> str:
    """Quote a word of the configuration where it needs it."""
    if re.fullmatch(r"[\w/.,:=@%+-]+", text, re.ASCII):
        return text
    if re.search(r"[\"\\\0\n]", text) or not text.isascii():
        raise ExitError(f"{text!r}: ExaBGP cannot read this path; use another", EX_CONFIG)
    return f'"{text}"'


def config_hash(profile: Profile) -> str:
    """Hash what the sessions are made of: where it differs, the speaker has to take others over.

    The profile's values, not the text of the template; no passwords, only where they are kept.
    """
    neighbors = [
        [
            str(neighbor.address),
            neighbor.peer_as,
            str(neighbor.local_address),
            neighbor.hold_time,
            neighbor.multihop,
            neighbor.md5_file,
        ]
        for neighbor in profile.bgp.neighbors
    ]
    values = [profile.bgp.local_as, str(profile.bgp.router_id), _families(profile), neighbors]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def vips_hash(profile: Profile) -> str:
    """Hash the VIPs that may be announced."""
    return hashlib.sha256(" ".join(vip_prefixes(profile)).encode()).hexdigest()[:16]


def vip_prefixes(profile: Profile) -> list[str]:
    return sorted({service.prefix for service in profile.services.values()})


# The words of a neighbor's block that come from the profile.  Only these count: what a newer
# release adds to the template is no reason to close a session.
_VALUES = re.compile(
    r"^\s*(?:(router-id|local-address|local-as|peer-as|hold-time|connect|outgoing-ttl"
    r"|md5-password|md5-base64)\s+([^;]+)|(ipv[46] unicast));$",
    re.MULTILINE,
)


_BLOCK = re.compile(r"^neighbor (\S+) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


def parse_neighbor_blocks(text: str) -> dict[str, str]:
    """Find the neighbors' blocks in the text of an exabgp.conf: address -> block."""
    return {found[1]: found[0] for found in _BLOCK.finditer(text)}


def parse_session_values(block: str) -> frozenset[tuple[str, str]]:
    """Find what a neighbor's block says of its session; two equal ones need no new session."""
    return frozenset((name or family, value) for name, value, family in _VALUES.findall(block))


def merge_config(
    before: str, after: str, config: str, reset: Collection[str]
) -> tuple[str, list[str]]:
    """Change the text ``before`` to ``after``, but close no sessions besides those to ``reset``.

    Gives the text, and the neighbors whose change was left out.  ``config`` is the hash that the
    text stands for once nothing is left out.
    """
    old = parse_neighbor_blocks(before)
    left: list[str] = []

    def chosen(found: re.Match[str]) -> str:
        address, block = found[1], found[0]
        there = old.get(address)
        if there is None or address in reset:
            return block
        if parse_session_values(there) != parse_session_values(block):
            left.append(address)
        return there

    text = _BLOCK.sub(chosen, after)
    if left:
        # Another name for each step: who starts in the middle must not take it for the end.
        line = format_config_line(config)
        text = text.replace(line, line.replace(config, f"{config}-{len(left)}", 1), 1)
    return text, left
