"""Format what a route has by choice for people: next hops, and a MED by a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.cli.output import format_duration

_SERVES = {True: "serves", False: "does not serve", None: "is not known yet"}


def iter_choices(service: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) of each next hop and of the MED; nothing where there is no choice.

    ``service`` is a part of a status or of an explanation.
    """
    for hop in service.get("next_hops") or ():
        mark = "announced; " if hop["chosen"] and service["level"] != "withdrawn" else ""
        waits = [
            wait["sentence"]
            + ("" if wait["until"] is None else f", {format_duration(wait['until'])} more")
            for wait in hop["waits"]
        ]
        text = f"{hop['address']} {mark}{_SERVES[hop['serves']]}"
        rest = f" ({hop['detail']})" if hop["detail"] else ""
        yield "via", "; ".join([text + rest, *waits])
    if med := service.get("med"):
        text = f"{med['med']} ({med['detail']})"
        if med["wanted"] != med["med"]:
            later = "" if med["until"] is None else f" in {format_duration(med['until'])}"
            text += f"; {med['wanted']}{later}"
        yield "med", text
