"""Build the page for people: the status of this region as one HTML document (pure).

It is read by somebody who was woken up: the verdict first, then what is not as wanted with the
remedy, who serves, why, what comes next, and what happened before.  It can change nothing, loads
nothing, and needs no script: without one the browser loads it again as a whole.  Its size is
bounded, however much there is to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anycastd.decision.region_report import RegionReport
from anycastd.profile.regions import format_agent_name
from anycastd.system.instants import format_day_and_time, format_duration, format_utc
from anycastd.views.events import Event, EventKind
from anycastd.views.page_parts import (
    MAX_WAITS,
    Cell,
    build_choices,
    build_rules,
    build_table,
    build_waits,
    escape,
    name_of,
    say_more,
    show_announced,
    show_level,
    show_path,
    show_reason,
    show_since,
)
from anycastd.views.page_style import REFRESH_INTERVAL, SCRIPT, STYLE
from anycastd.views.severity import (
    NOT_ANNOUNCED,
    NOT_KNOWN,
    compute_service_severity,
    compute_severity,
    find_state,
)
from anycastd.views.summary import name_state, summarize_status
from anycastd.views.timeline_svg import build_segments, choose_span, draw_key, draw_strip
from anycastd.views.troubles import list_troubles, split_why

MAX_SERVICES = 40
"""Services that are shown: first those that are not as wanted."""
MAX_OPEN, MAX_DETAILS = 5, 12
"""Services that are shown open, and that are shown with their rules."""
MAX_TROUBLES, MAX_NEIGHBORS, MAX_HAPROXY, MAX_REGIONS = 12, 24, 12, 8
"""Rows of each of these that are shown."""
MAX_STRIPS, MAX_EVENTS = 10, 40
"""Strips of the timeline and events below it."""
CONTENT_TYPE = "text/html; charset=utf-8"
"""The media type of the page."""

_WORDS = (("ok", "OK"), ("warn", "WARNING"), ("crit", "CRITICAL"))
_COLOURS = ("1a7f37", "bf8700", "cf222e")


def render_page(
    status: Mapping[str, Any],
    events: Sequence[Event],
    regions: Mapping[str, RegionReport] | None,
    now: float,
    links: Mapping[str, str] | None = None,
) -> str:
    """Return the page as HTML.

    ``status`` is the status as JSON (``Status.to_json``), ``events`` are the newest ones by time,
    the oldest first, ``regions`` the newest reports of the other regions (their ``asked_at`` as
    Unix time), ``now`` is Unix time (s), ``links`` are the URLs of their pages.
    Serve it with ``CONTENT_SECURITY_POLICY``.
    """
    severity = compute_severity(status)
    services = _order(status["services"])
    body = (
        *_verdict(status, services, severity, now),
        *_regions(status, services, regions or {}, now, links or {}),
        *_services(services, now),
        *_neighbors(status, now),
        *_haproxy(status),
        *_checks(status),
        *_timeline(services, events, now),
        *_end(status),
    )
    region = _name_agent(status)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_title(region, services, severity)}</title>"
        f'<noscript><meta http-equiv="refresh" content="{REFRESH_INTERVAL}"></noscript>'
        f'<link rel="icon" href="{_icon(severity)}">'
        f"<style>{STYLE}</style></head><body>"
        f'<p id="stale" role="alert" hidden>STALE: no answer for <span id="silence"></span> s. '
        f"The agent of {region}, its machine, or the way to it is gone. What is below is old. If "
        "the agent has ended, the speaker withdraws its routes as soon as its lease expires. "
        f"Look at the page of another region{_list_links(links or {})}.</p>"
        f"<main>{''.join(body)}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _order(services: Mapping[str, Any]) -> dict[str, Any]:
    """Put the services that are not as wanted first, the worst of them before the others."""
    ranks = {NOT_ANNOUNCED: 0, "withdrawn": 1, NOT_KNOWN: 2, "standby": 3, "degraded": 4}

    def rank(name: str) -> tuple[int, int]:
        service = services[name]
        return -compute_service_severity(service), ranks.get(find_state(service), 5)

    return {name: services[name] for name in sorted(services, key=rank)}


def _name_agent(status: Mapping[str, Any]) -> str:
    return name_of(format_agent_name(status["region"], status.get("appliance")))


def _is_as_wanted(service: Mapping[str, Any]) -> bool:
    return compute_service_severity(service) == 0


def _title(region: str, services: Mapping[str, Any], severity: int) -> str:
    wrong = [name for name, each in services.items() if not _is_as_wanted(each)]
    what = f" {name_of(wrong[0])} {name_state(services[wrong[0]])}" if wrong else ""
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{_WORDS[severity][1]}{what}{more} - {region}"


def _icon(severity: int) -> str:
    circle = f"%3Ccircle cx='8' cy='8' r='7' fill='%23{_COLOURS[severity]}'/%3E"
    head = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    return f"{head}{circle}%3C/svg%3E"


def _verdict(
    status: Mapping[str, Any], services: Mapping[str, Any], severity: int, now: float
) -> Iterator[str]:
    style, word = _WORDS[severity]
    yield f'<section class="verdict {style}" role="status"><h1><b class="{style}">{word}</b> '
    yield f"{escape(summarize_status(status))}</h1>"
    yield from _worst(services, now)
    yield from _troubles(status)
    yield (
        f'<p class="dim">As of <b class="num">{format_utc(now, "%Y-%m-%d %H:%M:%S")} UTC</b>. '
        '<span id="refreshed"></span> <span class="small">If this time stands still, the agent '
        "does not answer any more.</span></p></section>"
    )


def _worst(services: Mapping[str, Any], now: float) -> Iterator[str]:
    """Yield the worst service with since when, if one is not as wanted."""
    for name, service in services.items():
        if not _is_as_wanted(service):
            since = show_since(service, now)
            yield f"<p><b>{name_of(name)}</b> {show_level(service)} since {since}</p>"
        return


def _troubles(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as wanted, with the remedies, in the words of `anycastd status`."""
    troubles = list_troubles(status)
    if troubles:
        yield "<ul>"
        for trouble in troubles[:MAX_TROUBLES]:
            yield f"<li>{escape(trouble.text)}"
            if trouble.remedy:
                yield f'<div class="remedy">{escape(trouble.remedy)}</div>'
        yield f"</ul>{say_more(len(troubles) - MAX_TROUBLES, 'problems')}"


def _regions(
    status: Mapping[str, Any],
    services: Mapping[str, Any],
    regions: Mapping[str, RegionReport],
    now: float,
    links: Mapping[str, str],
) -> Iterator[str]:
    """Yield who serves which VIP: one row a service, one column a region."""
    if not regions:
        return
    names = list(regions)[:MAX_REGIONS]
    yield "<section><h2>Regions</h2>"
    heads = ("service", "VIP", f"{_name_agent(status)} (this)", *map(name_of, names))
    rows = [
        (
            ("", f"<b>{name_of(name)}</b>"),
            ("mono", name_of(service["vip"])),
            ("", f"{show_level(service)} {show_path(service)}"),
            *(_show_report(regions[each], str(service["vip"])) for each in names),
        )
        for name, service in list(services.items())[:MAX_SERVICES]
    ]
    yield from build_table(heads, rows)
    for name in names:
        report = regions[name]
        if report.detail:
            yield f'<p class="warn"><b>{name_of(name)}</b> {escape(report.detail)}</p>'
    oldest = max(now - regions[name].asked_at for name in names)
    yield f'<p class="dim small">The other regions were asked {format_duration(oldest)} '
    yield f"ago{_list_links(links)}.</p>"
    yield "</section>"


def _list_links(links: Mapping[str, str]) -> str:
    """Return the links to the other regions' pages, after a colon; empty without one."""
    shown = (
        f'<a href="{escape(url)}" rel="noreferrer">{name_of(name)}</a>'
        for name, url in list(links.items())[:MAX_REGIONS]
    )
    return f": {', '.join(shown)}" if links else ""


def _show_report(report: RegionReport, vip: str) -> Cell:
    found = report.vips.get(vip)
    if report.detail:
        return "warn", "no answer"
    if found is None:
        return "dim", "does not have it"
    if found.draining:
        return "warn", "draining" if found.serves else "drained"
    return ("ok", "serves") if found.serves else ("crit", "does not serve")


def _services(services: Mapping[str, Any], now: float) -> Iterator[str]:
    yield "<section><h2>Services</h2>"
    for number, (name, service) in enumerate(list(services.items())[:MAX_SERVICES]):
        good = _is_as_wanted(service)
        state = "closed" if good or number >= MAX_OPEN else "open"
        opened = " open" if state == "open" else ""
        why = f"<span>{escape(service['reason']['sentence'])}</span>" if good else ""
        yield f'<details id="service-{name_of(name)}" data-begin="{state}"{opened}>'
        yield f"<summary><b>{name_of(name)}</b> <code>{name_of(service['vip'])}</code> "
        yield f"{show_level(service)} <span>since {show_since(service, now)}</span> "
        yield f"{show_path(service)} {why}</summary>"
        yield from _details(service, now, with_rules=number < MAX_DETAILS)
        yield "</details>"
    rest = list(services.values())[MAX_SERVICES:]
    wrong = sum(not _is_as_wanted(service) for service in rest)
    what = f"{wrong} of them not as wanted" if wrong else "all as wanted"
    yield f"{say_more(len(rest), f'services, {what}')}</section>"


def _details(service: Mapping[str, Any], now: float, *, with_rules: bool) -> Iterator[str]:
    yield f"<p>Why: {show_reason(service['reason'])}</p>"
    yield from build_waits(service, now)
    yield from build_choices(service)
    for drain in service["drains"][:MAX_WAITS]:
        reboot = "; <b>it is safe to reboot</b>" if service["safe"] else ""
        yield f"<p>Drained by {name_of(drain['by'])} ({escape(drain['phase'])}): "
        yield f"{escape(drain['reason'])}{reboot}</p>"
    sessions = "" if service["sessions"] is None else f", {int(service['sessions'])} open sessions"
    yield f"<p>It is {show_announced(service)}{sessions}.</p>"
    if with_rules:
        yield from build_rules(service)


def _neighbors(status: Mapping[str, Any], now: float) -> Iterator[str]:
    neighbors = sorted(status["neighbors"].items(), key=lambda item: item[1]["session"] == "up")
    yield "<section><h2>Neighbors</h2>"
    rows = []
    for address, neighbor in neighbors[:MAX_NEIGHBORS]:
        up = neighbor["session"] == "up"
        since = neighbor["since"]
        span = "" if since is None else f" for {format_duration(since)}"
        at = "" if since is None else f", since {format_day_and_time(now - since, now)}"
        wanted = [
            each["in_sync"]
            for each in (
                service["neighbors"].get(address) for service in status["services"].values()
            )
            if each is not None and each["wanted"] is not None
        ]
        have = sum(wanted)
        rows.append(
            (
                ("mono", name_of(address)),
                ("num", f"AS {int(neighbor['peer_as'])}"),
                ("ok" if up else "crit", f"{name_of(neighbor['session'])}{span}{at}"),
                ("" if have == len(wanted) else "warn", f"{have} of {len(wanted)}"),
                ("small", escape(split_why(neighbor["why"])[0])),
            )
        )
    yield from build_table(("neighbor", "AS", "session", "has routes", "why"), rows)
    yield say_more(len(neighbors) - MAX_NEIGHBORS, "neighbors")
    yield "</section>"


def _haproxy(status: Mapping[str, Any]) -> Iterator[str]:
    if not status["haproxy"]:
        return
    instances = sorted(status["haproxy"].items(), key=lambda item: item[1]["state"] == "answers")
    yield "<section><h2>HAProxy</h2>"
    rows = []
    for name, each in instances[:MAX_HAPROXY]:
        good = each["state"] == "answers"
        age = "no look" if each["age"] is None else f"{format_duration(each['age'])} ago"
        up = "" if each["uptime"] is None else f", up {format_duration(each['uptime'])}"
        rows.append(
            (
                ("", f"<b>{name_of(name)}</b>"),
                ("ok" if good else "crit", f"{name_of(each['state'])}{up}"),
                ("num", age),
                ("" if each["events"] else "warn", "heard" if each["events"] else "polled"),
                ("small", escape(each["why"] or (each["version"] or ""))),
            )
        )
    yield from build_table(("instance", "state", "looked at", "events", "detail"), rows)
    yield say_more(len(instances) - MAX_HAPROXY, "instances")
    yield "</section>"


def _checks(status: Mapping[str, Any]) -> Iterator[str]:
    checks = sorted(status.get("checks", {}).items(), key=lambda item: item[1]["state"] == "passes")
    if not checks:
        return
    yield "<section><h2>Checks</h2>"
    rows = []
    for name, each in checks[:MAX_HAPROXY]:
        marks = {"passes": "ok", "fails": "crit", "stale": "crit"}
        since = "" if each["since"] is None else f" for {format_duration(each['since'])}"
        rows.append(
            (
                ("", f"<b>{name_of(name)}</b>"),
                (marks.get(each["state"], "warn"), f"{name_of(each['state'])}{since}"),
                ("small", escape(each["asks"])),
                ("small", escape(each["why"])),
            )
        )
    yield from build_table(("check", "state", "asks", "found"), rows)
    yield say_more(len(checks) - MAX_HAPROXY, "checks")
    yield "</section>"


_MARKS = (EventKind.SESSION_LOST, EventKind.HAPROXY_GONE, EventKind.RELOAD_DONE)


def _timeline(services: Mapping[str, Any], events: Sequence[Event], now: float) -> Iterator[str]:
    span = choose_span(events, now)
    marks = {each.at: each.text for each in events if each.kind in _MARKS}
    yield f"<section><h2>Timeline: the last {format_duration(span)}</h2>"
    changed = {each.service for each in events}
    shown = sorted(services, key=lambda name: name not in changed)
    for name in shown[:MAX_STRIPS]:
        service = services[name]
        began_at = now - service["since"]
        segments = build_segments(events, name, service["level"], began_at, now)
        strip = draw_strip(segments, marks, now - span, now, f"levels of {name}")
        yield f'<div class="strip"><b>{name_of(name)}</b>{strip}</div>'
    yield f'<div class="strip"><span></span><div class="scale">{_scale(now, span)}</div></div>'
    yield draw_key()
    yield say_more(len(shown) - MAX_STRIPS, "services without a change in this time")
    newest = list(reversed(events[-MAX_EVENTS:]))
    if newest:
        heads = ("UTC", "about", "what happened")
        yield from build_table(heads, (_event_row(each, now) for each in newest), "events")
    else:
        yield '<p class="dim">Nothing has happened since the agent started.</p>'
    yield "</section>"


def _scale(now: float, span: float) -> str:
    marks = (f"<span>{format_utc(now - span * part / 4, '%H:%M')}</span>" for part in (4, 3, 2, 1))
    return f"{''.join(marks)}<span>now</span>"


def _event_row(event: Event, now: float) -> tuple[Cell, ...]:
    about = event.service or event.neighbor or (event.haproxy and f"haproxy {event.haproxy}")
    style = {3: "crit", 4: "warn"}.get(event.priority, "")
    return (
        ("num", format_day_and_time(event.at, now)),
        ("", name_of(about)),
        (style, escape(event.text)),
    )


def _end(status: Mapping[str, Any]) -> Iterator[str]:
    lease = status["lease"]
    left = lease["expires_in"]
    held = "nothing leased" if left is None else f"lease renewed, {format_duration(left)} left"
    if not lease["connected"]:
        held = "no speaker"
    yield (
        f'<p class="dim small"><a href="status">status</a>, <a href="history">history</a>, '
        f'<a href="metrics">metrics</a>. anycastd '
        f"{name_of(status['version'])}, pid {int(status['pid'])}; ExaBGP "
        f"{name_of(lease['exabgp'] or '?')}; {held}; {int(lease['repairs'])} repairs. "
        "This page changes nothing.</p>"
    )
