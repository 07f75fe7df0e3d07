"""The surfaces of the product: where text enters that somebody else may have written.

Each ``feed`` lets through no exception that the reader of that text expects, and checks what must
hold for any text.  What is left is a fault of ours.
"""

from __future__ import annotations

from fuzz.agent_surfaces import AGENT_SURFACES
from fuzz.check_surfaces import CHECK_SURFACES
from fuzz.engine import Surface
from fuzz.haproxy_surfaces import HAPROXY_SURFACES
from fuzz.import_surfaces import IMPORT_SURFACES
from fuzz.kept_surfaces import KEPT_SURFACES
from fuzz.lease_surfaces import LEASE_SURFACES

SURFACES: tuple[Surface, ...] = (
    *HAPROXY_SURFACES,
    *LEASE_SURFACES,
    *AGENT_SURFACES,
    *CHECK_SURFACES,
    *IMPORT_SURFACES,
    *KEPT_SURFACES,
)
"""Every surface, in the order of the table in docs/security.md."""
