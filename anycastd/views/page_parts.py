"""The pieces of which the page is made: escaped text, tables, and the rows of a service (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from anycastd.system.instants import format_day_and_time, format_duration, format_utc
from anycastd.system.printable import make_printable
from anycastd.views.severity import NOT_ANNOUNCED, NOT_KNOWN, count_announced
from anycastd.views.summary import name_state

MAX_NAME, MAX_TEXT = 80, 400
"""Characters of a name and of a sentence at most."""
MAX_SERVERS = 8
"""Servers of a rule that are shown: first those that are not usable."""
MAX_RULES, MAX_WAITS = 12, 6
"""Rules and waits of a service that are shown."""

_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}  # HTML, section 13.3
)
Cell = tuple[str, str]
"""A cell of a table: its class, and its HTML."""


def escape(text: object, max_length: int = MAX_TEXT) -> str:
    r"""Escape a text for HTML, cut; what is not printable is shown as in Python (``\x1b``)."""
    return make_printable(str(text), max_length).translate(_ENTITIES)


def name_of(text: object) -> str:
    """Escape a name."""
    return escape(text, MAX_NAME)


def build_table(
    heads: Sequence[str], rows: Iterable[Sequence[Cell]], kind: str = ""
) -> Iterator[str]:
    """Yield a table; on a narrow screen its rows become blocks, with the heads as labels."""
    yield f'<table class="{kind}"><thead><tr>' if kind else "<table><thead><tr>"
    yield "".join(f"<th>{head}" for head in heads)
    yield "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>"
        for head, (style, text) in zip(heads, row, strict=True):
            label = f' data-label="{head}"' if head and text else ""
            look = f' class="{style}"' if style else ""
            yield f"<td{look}{label}>{text}"
        yield "</tr>"
    yield "</tbody></table>"


def show_level(service: Mapping[str, Any]) -> str:
    """Show the state of a service; where it differs from its level, the level is what is wanted."""
    state = name_state(service)
    more = ""
    if state in (NOT_ANNOUNCED, NOT_KNOWN):
        more = f' <span class="small dim">wanted: {name_of(service["level"])}</span>'
    elif not service["in_sync"]:
        have, wanted = count_announced(service)
        more = f' <span class="small warn"><b>to {have} of {wanted}</b></span>'
    elif service.get("held"):
        more = ' <span class="small warn"><b>for now</b></span>'
    style = {NOT_ANNOUNCED: "withdrawn", NOT_KNOWN: "standby", "drained": "standby"}
    look = style.get(state, name_of(state))
    return f'<span class="level {look}">{name_of(state).upper()}</span>{more}'


def show_since(service: Mapping[str, Any], now: float) -> str:
    """Show since when a service has its level, and for how long; ``now`` is Unix time."""
    at = format_day_and_time(now - service["since"], now)
    span = format_duration(service["since"])
    return f'<span class="num">{at}</span> <span class="dim">({span})</span>'


def show_reason(reason: Mapping[str, Any]) -> str:
    """Show a reason with its evidence."""
    return f"{escape(reason['sentence'])}{_detail(reason)}"


def show_path(service: Mapping[str, Any]) -> str:
    """Show the AS path of a service, the repeated AS number once."""
    path = service["as_path"]
    if path is None:
        return ""
    if not path:
        return f"local preference {int(service['local_pref'])}"
    times = f" &times;{len(path)}" if len(path) > 1 and len(set(path)) == 1 else ""
    numbers = path[:1] if times else path
    return f"<code>{' '.join(str(int(number)) for number in numbers)}{times}</code>"


def show_announced(service: Mapping[str, Any]) -> str:
    """Tell how many of the neighbors that should have the route have it."""
    have, wanted = count_announced(service)
    if service["level"] == "withdrawn":
        left = f'<span class="warn">still at <b>{have}</b> neighbors</span>'
        return left if have else "announced to no neighbor"
    style = "" if have == wanted else "warn" if have else "crit"
    return f'<span class="{style}">announced to <b>{have} of {wanted}</b> neighbors</span>'


def build_choices(service: Mapping[str, Any]) -> Iterator[str]:
    """Yield the next hops of a service that has several, and its MED by a check."""
    hops = service.get("next_hops") or ()
    if hops:
        yield "<p>Next hops:</p><ul>"
        for hop in hops:
            state = {True: "serves", False: "does not serve"}.get(hop["serves"], "is not known")
            mark = "<b>chosen</b>, " if hop["chosen"] else ""
            yield f"<li>{name_of(hop['address'])}: {mark}{state} ({escape(hop['detail'])})"
            yield from (f"; {escape(wait['sentence'])}" for wait in hop["waits"])
        yield "</ul>"
    if med := service.get("med"):
        later = "" if med["wanted"] == med["med"] else f"; {int(med['wanted'])} comes next"
        yield f"<p>MED {int(med['med'])}{later} ({escape(med['detail'])}).</p>"


def build_waits(service: Mapping[str, Any], now: float) -> Iterator[str]:
    """Yield what keeps a service at its level, beside its reason, and until when."""
    reason = service["reason"]
    waits = [
        each
        for each in service["waits"]
        if each["until"] is not None or each["name"] != reason["name"]
    ]
    if not waits:
        return
    yield "<p>What comes next:</p><ul>"
    for each in sorted(waits, key=_left)[:MAX_WAITS]:
        left = each["until"]
        when = "time alone does not end it"
        if left is not None:
            when = f"ends at {format_utc(now + left)} UTC, in {format_duration(left)}"
        yield f"<li>{escape(each['sentence'])}{_detail(each)}: <b>{when}</b>"
    yield f"</ul>{say_more(len(waits) - MAX_WAITS, 'waits')}"


def _left(wait: Mapping[str, Any]) -> float:
    return float("inf") if wait["until"] is None else float(wait["until"])


def _detail(reason: Mapping[str, Any]) -> str:
    return f" ({escape(reason['detail'])})" if reason["detail"] else ""


def build_rules(service: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rules of a service, with the servers behind them."""
    truths = {"true": ("ok", "yes"), "false": ("crit", "NO"), "unknown": ("warn", "unknown")}
    rules = sorted(service["rules"], key=lambda rule: rule["truth"] == "true")
    rows = [
        (
            ("", escape(rule["rule"])),
            ("", escape(rule.get("needed", ""))),
            ("", escape(rule["value"])),
            (truths.get(rule["truth"], ("", ""))[0], truths.get(rule["truth"], ("", "?"))[1]),
            ("small", show_servers(rule["servers"])),
        )
        for rule in rules[:MAX_RULES]
    ]
    yield from build_table(("rule", "needs", "has", "true", "servers"), rows)
    yield say_more(len(rules) - MAX_RULES, "rules")


def show_servers(servers: Sequence[Mapping[str, Any]]) -> str:
    """Show the servers of a rule, those that are not usable first, and how many more there are."""
    ordered = sorted(servers, key=lambda server: server["usable"] == "yes")
    shown = []
    for server in ordered[:MAX_SERVERS]:
        style = {"yes": "ok", "no": "crit"}.get(server["usable"], "warn")
        state = f"{name_of(server['status'])} {name_of(server['check'])}"
        why = f" ({escape(server['why'], MAX_NAME)})" if server["usable"] != "yes" else ""
        shown.append(f'<span class="{style}"><b>{name_of(server["name"])}</b></span> {state}{why}')
    more = len(ordered) - MAX_SERVERS
    return ", ".join([*shown, *([f"and {more} more"] if more > 0 else [])])


def say_more(number: int, what: str) -> str:
    """Say how many more there are than are shown; empty for none."""
    return f'<p class="dim">and {number} more {what}</p>' if number > 0 else ""
