"""Parts that several rules share: access to a Document's sections, and constants of the clouds."""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document
from anycastd.profile.key_paths import Path, Value

AZURE = "azure"
"""Value of ``platform``: Azure Route Server."""
AWS = "aws"
"""Value of ``platform``: VPC Route Server."""
CLOUDS = (AZURE, AWS)
"""Values of ``platform`` that are clouds."""

AZURE_ROUTE_SERVER = 65515
"""The AS number of every Azure Route Server."""

AZURE_CHANGE_DELAY = 30
"""Seconds for which Azure may delay a second route change; the first one passes at once."""


def get_platform(doc: Document) -> str | None:
    """Return the value of ``platform``, or None if it is missing or invalid."""
    platform: str | None = doc.get("platform")
    return platform


def iter_neighbors(doc: Document) -> Iterator[tuple[Path, dict[str, Value]]]:
    """Yield (key path, block of keys) of each valid neighbor, in the order of the file."""
    for index, neighbor in enumerate(doc.get("bgp", "neighbors") or ()):
        if neighbor is not None:
            yield ("bgp", "neighbors", index), neighbor


def carries(neighbor: dict[str, Value], family: str) -> bool:
    """Return whether a neighbor's block takes routes of ``family`` (``ipv4`` or ``ipv6``)."""
    families = neighbor.get("families")
    return not families or family in families


def iter_services(doc: Document) -> Iterator[tuple[Path, dict[str, Value]]]:
    """Yield (key path, block of keys) of each valid service, in the order of the file."""
    for name, service in (doc.get("services") or {}).items():
        yield ("services", name), service
