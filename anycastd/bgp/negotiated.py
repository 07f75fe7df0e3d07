"""What both ends of a session agreed on when it came up (stdlib only, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IPV4, IPV6 = "ipv4", "ipv6"
"""Names of the address families, all of them unicast (RFC 4760)."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both ends of a session agreed on in their OPEN messages.

    ``families``: those that both offered; routes of another one are not announced on the session
    (RFC 4760 section 8).  ``hold_time``: the lower of both offers, in seconds; 0: neither end finds
    out that the other one is dead (RFC 4271 section 4.2).  ``four_octet_as``: AS numbers have four
    octets (RFC 6793).
    """

    families: tuple[str, ...]
    hold_time: int
    four_octet_as: bool

    def dump(self) -> dict[str, object]:
        """Return it as values for json.dumps."""
        return {
            "families": list(self.families),
            "hold_time": self.hold_time,
            "four_octet_as": self.four_octet_as,
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Negotiated:
        """Build it from what ``dump`` returned.

        Raises KeyError, TypeError or ValueError where a field is missing or of another type.
        """
        return cls(
            families=tuple(str(family) for family in data["families"]),
            hold_time=int(data["hold_time"]),
            four_octet_as=bool(data["four_octet_as"]),
        )


def name_family(address: str) -> str:
    """Return the name of the family of an address or prefix in text: ``ipv4`` or ``ipv6``."""
    return IPV6 if ":" in address else IPV4
