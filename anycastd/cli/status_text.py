"""Format a status for people: the verdict, what is wrong, then one line for each thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.cli.grid import Cell, Row, format_grid
from anycastd.cli.output import (
    SEVERITY_COLOURS,
    YELLOW,
    fold,
    format_duration,
    format_short_duration,
    paint,
    shorten_path,
)
from anycastd.views.severity import (
    NOT_ANNOUNCED,
    NOT_KNOWN,
    SEVERITIES,
    compute_service_severity,
    compute_severity,
    count_announced,
    find_state,
)
from anycastd.views.summary import summarize_status
from anycastd.views.troubles import Trouble, list_troubles

MAX_SERVICES = 24
"""Services that are listed, those that are not as wanted first."""
MAX_NEIGHBORS = 20
"""Neighbors that are listed, those that are down first."""
MAX_CHECKS = 20
"""Checks that are listed, those that do not pass first."""
CHECK_STATES = {
    "passes": ("passes", 0),
    "fails": ("FAILS", 2),
    "unseen": ("CANNOT SEE", 1),
    "stale": ("NO RESULT", 2),
    "unproved": ("starting", 0),
}
"""State of a check -> what is shown, and its severity."""
MAX_TROUBLES = 12
"""Problems that are listed, the worst first."""


def format_status(status: Mapping[str, Any], *, colour: bool = False) -> Iterator[str]:
    """Format the status of all services, as lines of 80 columns at most, unless a name is longer.

    Raises KeyError where it is not a complete status.
    """
    yield from format_verdict(status, colour=colour)
    troubles = list_troubles(status)
    if troubles:
        yield ""
        yield "PROBLEMS"
        for trouble in troubles[:MAX_TROUBLES]:
            yield from _format_trouble(trouble, colour=colour)
        if len(troubles) > MAX_TROUBLES:
            yield f"  and {len(troubles) - MAX_TROUBLES} more; --json has all"
    yield ""
    yield from _format_services(status["services"], colour=colour)
    yield ""
    yield from _format_neighbors(status["neighbors"], colour=colour)
    if status["haproxy"]:
        yield ""
        yield from _format_haproxy(status["haproxy"], colour=colour)
    if checks := status.get("checks"):  # an agent of release 0.1.0 has none
        yield ""
        yield from _format_checks(checks, colour=colour)
    yield ""
    yield from format_origin(status)


def format_verdict(status: Mapping[str, Any], *, colour: bool = False) -> Iterator[str]:
    """Format the verdict: OK, WARNING or CRITICAL, and one sentence."""
    severity = compute_severity(status)
    word = SEVERITIES[severity].upper()
    first, *rest = fold(f"{word} {summarize_status(status)}", "", " " * (len(word) + 1))
    shown = paint(word, SEVERITY_COLOURS[severity]) if colour else word
    yield shown + first[len(word) :]
    yield from rest


def format_origin(status: Mapping[str, Any]) -> Iterator[str]:
    """Format which agent and speaker gave the status, and when."""
    lease = status["lease"]
    speaker = f"ExaBGP {lease['exabgp'] or '?'}" if lease["connected"] else "no speaker"
    if lease["repairs"]:
        speaker += f", routes repaired: {lease['repairs']}"
    at = status.get("at", "")  # an agent of release 0.1.0 does not say it
    when = f"; {at.replace('T', ' ')}" if at else ""
    yield from fold(f"anycastd {status['version']} (pid {status['pid']}), {speaker}{when}")


def _format_trouble(trouble: Trouble, *, colour: bool) -> Iterator[str]:
    first, *rest = fold(trouble.text, "  ", "    ")
    yield paint(first, SEVERITY_COLOURS[trouble.severity]) if colour else first
    yield from rest
    if trouble.remedy:
        yield from fold(f"-> {trouble.remedy}", "    ", "       ")


def _format_services(services: Mapping[str, Any], *, colour: bool) -> Iterator[str]:
    codes = {name: compute_service_severity(each) for name, each in services.items()}
    worst_first = sorted(services, key=lambda name: -codes[name])
    # All of them in the profile's order, unless there are too many.
    names = list(services) if len(services) <= MAX_SERVICES else worst_first[:MAX_SERVICES]
    rows = [_row(name, services[name], codes[name]) for name in names]
    headings = ("SERVICE", "VIP", "LEVEL", "FOR", "PATH", "TO", "WHY")
    yield from format_grid(headings, rows, names=2, colour=colour, cut=True)
    left = [codes[name] for name in services if name not in set(names)]
    wrong = sum(map(bool, left))
    if wrong:
        yield f"and {wrong} more that are not as wanted: see `anycastd status SERVICE`, or --json"
    if len(left) - wrong:
        yield f"and {len(left) - wrong} more as wanted"


def _row(name: str, service: Mapping[str, Any], severity: int) -> Row:
    to, of = count_announced(service)
    level = service["level"]
    partly = to != of if level != "withdrawn" else to > 0
    return (
        name,
        service["vip"].removesuffix("/32").removesuffix("/128"),
        Cell(find_state(service).upper(), SEVERITY_COLOURS[severity]),
        format_short_duration(service["since"]),
        shorten_path(service["as_path"], service.get("local_pref")),
        Cell(f"{to}/{of}", YELLOW if partly else None),
        _describe_shortly(service),
    )


def _describe_shortly(service: Mapping[str, Any]) -> str:
    """Say in some words why a service is not as wanted: the reason's name; empty if it is."""
    state, reason = find_state(service), service.get("held") or service["reason"]
    if state in (NOT_ANNOUNCED, NOT_KNOWN):
        return f"wanted: {service['level']}"
    if reason["name"] == "serving":
        return _name_other_hop(service)
    until = "" if reason["until"] is None else f" {format_duration(reason['until'])}"
    words: str = reason["name"].replace("_", " ")
    return words + until


def _name_other_hop(service: Mapping[str, Any]) -> str:
    """Name the next hop that is announced where it is not the first of several."""
    hops = list(service.get("next_hops") or ())
    chosen = next((hop["address"] for hop in hops if hop["chosen"]), None)
    return "" if chosen is None or hops[0]["chosen"] else f"via {chosen}"


def _format_neighbors(neighbors: Mapping[str, Any], *, colour: bool) -> Iterator[str]:
    names = sorted(neighbors, key=lambda address: neighbors[address]["session"] == "up")
    names = list(neighbors) if len(neighbors) <= MAX_NEIGHBORS else names[:MAX_NEIGHBORS]
    rows = [_neighbor(address, neighbors[address]) for address in names]
    headings = ("NEIGHBOR", "AS", "SESSION", "FOR", "ROUTES", "AGREED ON")
    yield from format_grid(headings, rows, colour=colour)
    if len(neighbors) > len(names):
        yield f"and {len(neighbors) - len(names)} more"


def _neighbor(address: str, neighbor: Mapping[str, Any]) -> Row:
    session = neighbor["session"]
    since = neighbor["since"]
    return (
        address,
        str(neighbor["peer_as"]),
        session if session == "up" else Cell(session.upper(), SEVERITY_COLOURS[2]),
        "" if since is None else format_short_duration(since),
        str(len(neighbor["announced"])),
        describe_agreement(neighbor.get("negotiated")),
    )


def describe_agreement(agreed: Mapping[str, Any] | None) -> str:
    """Describe what both ends of a session agreed on; None: no session, or not reported."""
    if agreed is None:
        return ""
    octets = "" if agreed["four_octet_as"] else ", 2-octet AS"
    return f"{' '.join(agreed['families']) or 'no family'}, hold {agreed['hold_time']} s{octets}"


def _format_haproxy(instances: Mapping[str, Any], *, colour: bool) -> Iterator[str]:
    rows: list[Row] = []
    for name, one in instances.items():
        state = one["state"]
        if state == "answers":
            up = format_duration(one["uptime"])
            state = f"answers ({one['version']}, pid {one['pid']}, up {up})"
        source = "events" if one["events"] else Cell("polled", YELLOW)
        looked = "never" if one["age"] is None else f"{one['age']:.1f} s ago"
        severity = None if one["state"] == "answers" else SEVERITY_COLOURS[2]
        rows.append((name, Cell(state, severity), source, looked))
    yield from format_grid(("HAPROXY", "STATE", "NEWS BY", "LOOKED AT"), rows, colour=colour)


def _format_checks(checks: Mapping[str, Any], *, colour: bool) -> Iterator[str]:
    worst_first = sorted(checks, key=lambda name: checks[name]["state"] == "passes")
    names = list(checks) if len(checks) <= MAX_CHECKS else worst_first[:MAX_CHECKS]
    rows: list[Row] = []
    for name in names:
        one = checks[name]
        state, severity = CHECK_STATES.get(one["state"], (one["state"], 1))
        if one["step"] is not None:
            state += f", step {one['step']}"
        since = "" if one["since"] is None else format_short_duration(one["since"])
        cell = Cell(state, SEVERITY_COLOURS[severity] if severity else None)
        rows.append((name, cell, since, one["why"]))
    yield from format_grid(("CHECK", "STATE", "FOR", "FOUND"), rows, colour=colour, cut=True)
    if len(checks) > len(names):
        yield f"and {len(checks) - len(names)} more; --json has all"
