"""The routes of a router's table, in one form for every make of router."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class TableRow:
    """One route of a router's table; ``path`` is the AS path as the router has it.

    ``best``: the router uses it.  ``node`` is the name of the node that has the next hop, empty
    where that is unknown.  ``weight`` is that of Azure's tables; ``med`` is None for a route
    without one.
    """

    network: str
    next_hop: str
    path: tuple[int, ...]
    best: bool
    weight: int = 0
    node: str = ""
    med: int | None = None

    def __str__(self) -> str:
        hop = f"{self.next_hop}{'*' if self.best else ''}"
        return f"{self.network:<19}{hop:<20}{self.weight:<10}{' '.join(map(str, self.path))}"

    def describe(self) -> str:
        """Describe the route for people, with its node and repeated AS numbers once."""
        mark = "*" if self.best else " "
        weight = f"  weight {self.weight}" if self.weight else ""
        med = f"  med {self.med}" if self.med else ""
        path = " ".join(
            f"{number} x{count}" if count > 1 else str(number)
            for number, count in ((number, len(tuple(same))) for number, same in groupby(self.path))
        )
        return f"{mark} {self.node:<8}{self.next_hop:<17}{path}{weight}{med}"


def paths_by_next_hop(rows: Iterable[TableRow]) -> dict[str, tuple[int, ...]]:
    """Return next hop -> AS path for the rows of a table."""
    return {row.next_hop: row.path for row in rows}
