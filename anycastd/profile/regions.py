"""The values of a profile about other regions and HTTP: who asks whom, and with which secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple


class Endpoint(NamedTuple):
    """An IP address and a TCP port; ``str()`` puts an IPv6 address in brackets."""

    address: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        """Return ``ADDRESS:PORT`` as it is written in a profile."""
        whole = f"[{self.address}]" if isinstance(self.address, IPv6Address) else self.address
        return f"{whole}:{self.port}"


@dataclass(frozen=True, slots=True)
class RegionAgent:
    """An agent of a region, and the endpoint at which it answers by HTTP.

    ``appliance`` names its appliance where the region has several (None: it is the only one).
    ``token_file`` is the path of a file with the token that this agent wants (None: none).
    ``path`` is its key path in the profile.
    """

    region: str
    agent: Endpoint
    token_file: str | None = None
    appliance: str | None = None
    path: tuple[str | int, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """Return the name that no other agent has, such as ``northeurope/ne-1``."""
        return format_agent_name(self.region, self.appliance)


def format_agent_name(region: str, appliance: str | None) -> str:
    """Return ``REGION/APPLIANCE``, or the region where it has only one appliance."""
    return region if appliance is None else f"{region}/{appliance}"


@dataclass(frozen=True, slots=True)
class Web:
    """Where the agent answers by HTTP, and whom.

    ``token_file`` is the path of a file with the token that clients must send (None: none).
    ``allow``: networks of clients, besides the other regions (None: every client).
    """

    listen: Endpoint
    token_file: str | None = None
    allow: tuple[IPv4Network | IPv6Network, ...] | None = None
