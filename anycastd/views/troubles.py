"""List what is not as wanted, worst first, each with its remedy once (pure).

It works on a status as JSON, also on that of an older agent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from anycastd.views.severity import (
    NOT_ANNOUNCED,
    NOT_KNOWN,
    compute_service_severity,
    find_state,
)

MAX_NAMES = 3
"""Services or neighbors that are named; the others are counted."""
_SPLIT = re.compile(r": (?:see|correct) |; |: it hangs")


class Trouble(NamedTuple):
    """Something that is not as wanted: ``severity`` 1 or 2, and what to do (may be empty)."""

    severity: int
    text: str
    remedy: str


def list_troubles(status: Mapping[str, Any]) -> list[Trouble]:
    """List what is not as wanted in ``status``, the worst first.

    Services and neighbors with the same trouble are one entry.  Raises KeyError where ``status``
    is not a complete status.
    """
    found = [
        *_find_services(status["services"]),
        *_find_neighbors(status["neighbors"]),
        *_find_other_problems(status),
    ]
    return sorted(found, key=lambda trouble: -trouble.severity)


def split_why(why: str) -> tuple[str, str]:
    """Split why a session is down into what is the case and what to do about it."""
    found = _SPLIT.search(why)
    return (why, "") if found is None else (why[: found.start()], why[found.start() + 2 :])


def name_some(names: Iterable[str], what: str = "") -> str:
    """Name the first ``MAX_NAMES`` of some names, and count the others."""
    listed = list(names)
    more = len(listed) - MAX_NAMES
    shown = ", ".join(listed[:MAX_NAMES])
    return f"{shown} and {more} more{what}" if more > 0 else shown


def _find_services(services: Mapping[str, Any]) -> Iterator[Trouble]:
    groups: dict[Trouble, list[str]] = {}
    for name, service in services.items():
        severity = compute_service_severity(service)
        # What a preferred service lacks is a neighbor's trouble.
        if severity and (find_state(service) != "preferred" or service.get("held")):
            groups.setdefault(_describe_service(service, severity), []).append(name)
    for trouble, names in groups.items():
        verb = "is" if len(names) == 1 else "are"
        yield trouble._replace(text=f"{name_some(names)} {verb} {trouble.text}")


def _describe_service(service: Mapping[str, Any], severity: int) -> Trouble:
    """Describe the trouble of a service, as the end of a sentence about it."""
    state, reason, held = find_state(service), service["reason"], service.get("held")
    if state in (NOT_ANNOUNCED, NOT_KNOWN):
        why = "no BGP session carries it" if state == NOT_ANNOUNCED else "the speaker is silent"
        return Trouble(severity, f"{state} (wanted: {service['level']}): {why}", "")
    if held:
        until = held["until"]
        left = "" if until is None else f"; in {until:.1f} s that no longer counts"
        text = f"{state}, but only for now: {held['sentence']}{left}"
        return Trouble(severity, text, held["remedy"])
    detail = f" ({reason['detail']})" if reason["detail"] else ""
    text = f"{state}: {reason['sentence']}{detail}"
    for drain in service.get("drains", ())[:1]:
        text += f"; {drain['reason']}" + (f"; by {drain['by']}" if drain["by"] else "")
    return Trouble(severity, text, reason["remedy"])


def _find_neighbors(neighbors: Mapping[str, Any]) -> Iterator[Trouble]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for address, neighbor in neighbors.items():
        if neighbor["session"] != "up":
            key = (neighbor["session"], *split_why(neighbor["why"]))
            groups.setdefault(key, []).append(address)
    lost = sum(map(len, groups.values())) == len(neighbors)
    for (session, why, remedy), addresses in groups.items():
        what, verb = ("neighbor", "is") if len(addresses) == 1 else ("neighbors", "are")
        text = f"{what} {name_some(addresses)} {verb} {session}" + (f": {why}" if why else "")
        yield Trouble(2 if lost else 1, text, remedy)


def _find_other_problems(status: Mapping[str, Any]) -> Iterator[Trouble]:
    """Yield the agent's other problems; those of sessions and routes stand above already."""
    down = [
        f"neighbor {address}: the session is {each['session']}"
        for address, each in status["neighbors"].items()
        if each["session"] != "up"
    ]
    waiting: dict[str, list[str]] = {}
    for problem in status["problems"]:
        if any(problem.startswith(each) for each in down):
            continue
        name, found, rest = problem.removeprefix("service ").partition(": neighbor ")
        if found and rest.endswith(" does not have the wanted route yet"):
            waiting.setdefault(rest, []).append(name)
            continue
        yield Trouble(1, *_split_problem(problem))
    for rest, names in waiting.items():
        yield Trouble(1, f"neighbor {rest}: {name_some(names)}", "")


def _split_problem(problem: str) -> tuple[str, str]:
    """Split a problem before the first remedy that it may have."""
    text, found, remedy = problem.partition("; ")
    return (text, remedy) if found else (problem, "")
