"""A backend's own row of ``show stat``: what HAProxy says of all its servers together (pure).

HAProxy counts, for each backend, the active servers and the backups that it would use now (``act``
and ``bck``), and adds up their weights (management manual, section 9.1).  Whatever takes a server
out of use or puts it in changes one of these: a check, maintenance, a drain, weight 0, a name that
does not resolve.  Only a change of two servers in opposite directions leaves them as they were;
``brief_look`` has what follows from that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from anycastd.evidence.haproxy.check_results import Row, parse_seen


class BackendLine(NamedTuple):
    """What a backend's own row shows, or what rows of servers come to.

    ``active`` servers and ``backups`` that HAProxy would use, their ``weight``, and the requests
    ``queued`` in the backend's own queue.
    """

    active: int
    backups: int
    weight: int
    queued: int = 0

    def agrees(self, other: BackendLine, *, by_weight: bool) -> bool:
        """Return whether both count the same servers; ``by_weight``: with the same weight, too."""
        same = self.active == other.active and self.backups == other.backups
        return same and (not by_weight or self.weight == other.weight)

    def replace_rows(self, old: Iterable[Row], new: Iterable[Row]) -> BackendLine:
        """Return the line as it has to be where rows ``new`` stand in the place of ``old``."""
        out, into = add_rows(old), add_rows(new)
        return BackendLine(
            self.active - out.active + into.active,
            self.backups - out.backups + into.backups,
            self.weight - out.weight + into.weight,
        )


def read_line(head: Row) -> BackendLine:
    """Read a backend's own row."""
    return BackendLine(
        parse_seen(head.act),
        parse_seen(head.bck),
        parse_seen(head.weight),
        parse_seen(head.qcur),
    )


def add_rows(rows: Iterable[Row]) -> BackendLine:
    """Add up rows of servers: what the line of a backend with these servers alone has to be."""
    active = backups = weight = 0
    for row in rows:
        if not (row.status.startswith("UP") or row.status == "no check") or row.weight == "0":
            continue
        weight += parse_seen(row.weight)
        if row.bck == "1":
            backups += 1
        else:
            active += 1
    return BackendLine(active, backups, weight)
