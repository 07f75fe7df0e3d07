"""Format the details of one service for people: why, path, neighbors, drains, waits, rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.cli.grid import format_grid
from anycastd.cli.output import (
    NO_STEERING,
    SEVERITY_COLOURS,
    WIDTH,
    describe_path,
    fold,
    format_duration,
    format_session_count,
    paint,
)
from anycastd.cli.route_choice_text import iter_choices
from anycastd.views.severity import (
    NOT_ANNOUNCED,
    NOT_KNOWN,
    compute_service_severity,
    count_announced,
    find_state,
    is_carried,
)

MAX_SERVERS = 40
"""Servers of a rule that are listed, those that are not usable first."""
_HANGING = " " * 9


def format_service(
    name: str, service: Mapping[str, Any], at: str = "", *, colour: bool = False
) -> Iterator[str]:
    """Format one service of a status, as lines of 80 columns at most, unless a name is longer.

    ``at``: when the status was built, as in the status (empty: not known).
    """
    level = describe_level(service)
    since = format_duration(service["since"])
    began = compute_instant(at, service["since"])
    head, age = f"{name}  {service['vip']}", f"for {since}"
    stamp = f" (since {began})" if began else ""
    shown = paint(level, SEVERITY_COLOURS[compute_service_severity(service)]) if colour else level
    if len(f"{head}  {level} {age}") > WIDTH:
        yield head
        yield f"  level  {shown}"
        yield from _item("for", f"{since}{stamp}")
    elif len(f"{head}  {level} {age}{stamp}") > WIDTH:
        yield f"{head}  {shown} {age}"
        yield from _item("since", began)
    else:
        yield f"{head}  {shown} {age}{stamp}"
    reason = service["reason"]
    detail = f" ({reason['detail']})" if reason["detail"] else ""
    yield from _item("why", f"{reason['sentence']}{detail}")
    if reason["remedy"]:
        yield from _item("do", reason["remedy"])
    if held := service.get("held"):
        until = "" if held["until"] is None else f", for {format_duration(held['until'])} more"
        why = f" ({held['detail']})" if held["detail"] else ""
        yield from _item("held", f"its last known state counts{until}: {held['sentence']}{why}")
    wanted = find_state(service) in (NOT_ANNOUNCED, NOT_KNOWN)
    path = describe_path(service["as_path"], service["prepend"], service.get("local_pref"))
    yield from _item("path", f"wanted: {path}" if wanted else path)
    for key, text in iter_choices(service):
        yield from _item(key, text)
    if not service.get("prepends_steer", True):
        yield from fold(NO_STEERING, _HANGING)
    yield from _format_announcements(service["neighbors"])
    if service.get("drains"):  # an agent of release 0.1.0 has none
        yield from _format_drains(service)
    for wait in service["waits"]:
        if wait["until"] is not None:
            yield from _item("wait", f"{format_duration(wait['until'])} more: {wait['sentence']}")
    yield from _format_rules(service["rules"])


def describe_level(service: Mapping[str, Any]) -> str:
    """Describe the level of a service as it is in fact, in capitals where it is a level."""
    state = find_state(service)
    if state in (NOT_ANNOUNCED, NOT_KNOWN):
        return f"{state.upper()} (wanted: {service['level']})"
    to, of = count_announced(service)
    everywhere = state == "withdrawn" or to == of
    return state.upper() if everywhere else f"{state.upper()} to {to} of {of} neighbors"


def _item(key: str, text: str) -> Iterator[str]:
    yield from fold(text, f"  {key:<6} ", _HANGING)


def compute_instant(at: str, seconds: float) -> str:
    """Return when something began that is ``seconds`` old at ``at`` (UTC, as a status has it).

    It is empty where ``at`` is no time.  A fraction of a second in ``at`` counts.
    """
    import time  # noqa: PLC0415 - few commands need it
    from calendar import timegm  # noqa: PLC0415 - likewise

    try:
        whole, _, fraction = at.removesuffix("Z").partition(".")
        began = timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - seconds
        began += float(f"0.{fraction}") if fraction else 0.0
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(began))
    except (ValueError, OverflowError, OSError):
        return ""


def _format_announcements(neighbors: Mapping[str, Any]) -> Iterator[str]:
    for address, one in neighbors.items():
        if one["in_sync"]:
            continue
        if one["wanted"] is not None and not is_carried(one):
            why = "not announced: " + (
                "the session is up, but not for its address family"
                if one["session"] == "up"
                else f"the session is {one['session']}"
            )
        else:
            why = "does not have the wanted route yet"
            why += ": ExaBGP has another one" if one["rib"] == "differs" else ""
        yield from _item("to", f"{address}: {why}")


def _format_drains(service: Mapping[str, Any]) -> Iterator[str]:
    for drain in service["drains"]:
        since = format_duration(drain["since"])
        left = f", {format_duration(drain['left'])} more" if drain["left"] else ""
        ends = "" if drain["until"] is None else f", ends in {format_duration(drain['until'])}"
        by = f"; by {drain['by']}" if drain["by"] else ""
        yield from _item("drain", f"{drain['what']}, for {since}: {drain['phase']}{left}{ends}")
        yield from fold(f"{drain['reason']}{by}", _HANGING)
    safe = "; safe to reboot" if service["safe"] else ""
    yield from fold(f"{format_session_count(service['sessions'])} left{safe}", _HANGING)


def _format_rules(rules: list[Mapping[str, Any]]) -> Iterator[str]:
    printed: list[Any] = []
    for rule in rules:
        value = f": {rule['value']}" if rule["value"] else ""
        yield from _item("rule", f"{rule['rule']}: {rule['truth']}{value}")
        servers = rule["servers"]
        if not servers or servers in printed:  # two rules on one backend print its servers once
            continue
        printed.append(servers)
        shown = servers
        if len(servers) > MAX_SERVERS:
            shown = sorted(servers, key=lambda row: row["usable"] == "yes")[:MAX_SERVERS]
        rows = [(row["name"], row["status"], row["check"], row["why"]) for row in shown]
        yield from format_grid(("", "", "", ""), rows, indent=len(_HANGING))
        if len(servers) > len(shown):
            usable = sum(row["usable"] == "yes" for row in servers)
            more = len(servers) - len(shown)
            yield f"{_HANGING}and {more} more; {usable} of all {len(servers)} are usable"
