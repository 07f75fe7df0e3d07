"""What several rules need of a Document: its sections, and the clouds' constants (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document
from anycastd.profile.yaml_reader import Path, Value

AZURE = "azure"


AWS = "aws"


CLOUDS = (AZURE, AWS)


AZURE_ROUTE_SERVER = 65515


IPV6 = 6


def get_platform(doc: Document) -> str | None:
    """Return the platform's word, None where it is invalid."""
    word: str | None = doc.get("platform")
    return word


def iter_neighbors(doc: Document) -> Iterator[tuple[Path, dict[str, Value]]]:
    """Yield each neighbor that can be looked at, with its path."""
    for index, neighbor in enumerate(doc.get("bgp", "neighbors") or ()):
        if neighbor is not None:
            yield ("bgp", "neighbors", index), neighbor


def iter_services(doc: Document) -> Iterator[tuple[Path, dict[str, Value]]]:
    """Yield each service that can be looked at, with its path."""
    for name, service in (doc.get("services") or {}).items():
        yield ("services", name), service
