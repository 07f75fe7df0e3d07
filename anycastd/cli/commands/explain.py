"""`anycastd explain`: show why each service has its level, and what comes next."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anycastd.agent.control_client import MISMATCH, NO_ANSWER, ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory
from anycastd.cli.no_agent import report_no_answer
from anycastd.cli.output import (
    NO_STEERING,
    WIDTH,
    clean_answer,
    describe_path,
    fold,
    format_duration,
    print_error,
    print_json,
    print_lines,
    report_unknown_service,
)
from anycastd.cli.route_choice_text import iter_choices
from anycastd.cli.service_text import compute_instant
from anycastd.system.exit_codes import DONE, EX_UNAVAILABLE, USAGE

TIMEOUT = 30.0
"""Seconds for the answer; a thousand services take a few seconds."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="the service to explain (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="the whole answer as one JSON document")
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Ask the agent and print its answer.

    Returns the exit code: 0, 2 (no such service) or 69 (no agent answers).
    """
    try:
        answer = ask_agent(args.directory, "explain", TIMEOUT)
    except ControlError as error:
        return report_no_answer(error, args.directory)
    try:
        services = answer["services"]
        if args.service is not None and args.service not in services:
            report_unknown_service(args.service, services)
            return USAGE
        if args.service is not None:
            services = answer["services"] = {args.service: services[args.service]}
        lines = list(_format_all(clean_answer(services), str(answer.get("at", ""))))
    except MISMATCH:
        print_error(f"anycastd: {args.directory}: {NO_ANSWER}")
        return EX_UNAVAILABLE
    if args.json:
        print_json(answer)
    else:
        print_lines(lines)
    return DONE


def _format_all(services: Mapping[str, Any], at: str) -> Iterator[str]:
    for index, (name, each) in enumerate(services.items()):
        if index:
            yield ""
        yield from format_explanation(name, each, at)


def format_explanation(name: str, it: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Format one service's explanation, a part of the agent's answer, as lines for a person.

    They have 80 columns at most, unless a name is longer.  ``at``: when the agent answered (UTC;
    empty: not known).
    """
    level = it["level"].upper()
    if any(cap["reason"]["name"] == "no_session" for cap in it["caps"]):
        level = f"NOT ANNOUNCED (wanted: {it['level']})"
    head, tail = f"{name}  {it['vip']}", f"{level} for {format_duration(it['since'])}"
    yield from [f"{head}  {tail}"] if len(f"{head}  {tail}") <= WIDTH else [head, f"  {tail}"]
    yield from _item("because", _reason(it["reason"]))
    if it["reason"]["remedy"]:
        yield from _item("do", it["reason"]["remedy"])
    yield from _item("path", describe_path(it["as_path"], it["prepend"], it.get("local_pref")))
    for key, text in iter_choices(it):
        yield from _item(key, text)
    if not it["prepends_steer"]:
        yield from _item("", NO_STEERING)
    yield "  held by (the lowest level counts)"
    yield from _list([_cap(cap) for cap in it["caps"]] or [("nothing", "")])
    if it["failures"]:
        times = "once" if it["failures"] == 1 else f"{it['failures']} times in a row"
        ago = it.get("failed_ago")  # an agent of an earlier release does not say it
        last = "" if ago is None else f", last {format_duration(ago)} ago"
        text = f"it failed {times}{last}: its hold-down is {format_duration(it['hold_down'])}"
        yield from fold(text, "    ", "      ")
    yield "  next, if nothing changes"
    yield from _list([_next(each) for each in it["next"]] or [("no change", "")])
    yield "  rules"
    for rule in it["rules"]:
        yield from _rule(rule)
    if it["changes"]:
        yield "  last changes (`anycastd history` has more)"
        yield from _list([_change(each, at) for each in it["changes"]])


def _item(key: str, text: str) -> Iterator[str]:
    yield from fold(text, f"  {key:<8} ", " " * 11)


def _list(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Format (heading, text) with the texts aligned, each folded."""
    width = max(len(heading) for heading, _ in rows)
    for heading, text in rows:
        yield from fold(text, f"    {heading:<{width}}  ", " " * (width + 6))


def _reason(reason: Mapping[str, str]) -> str:
    return reason["sentence"] + (f" ({reason['detail']})" if reason["detail"] else "")


def _rule(rule: Mapping[str, Any]) -> Iterator[str]:
    value = f": {rule['value']}" if rule["value"] else ""
    needs = f", needs {rule['needed']}" if rule["needed"] else ""
    of = " and ".join(rule["of"])
    yield from fold(f"{rule['rule']}{value}{needs}", f"    {of} {rule['truth']}: ", " " * 6)


def _cap(cap: Mapping[str, Any]) -> tuple[str, str]:
    ends = "" if cap["ends"] is None else f", {format_duration(cap['ends'])} more"
    return cap["level"], f"{cap['source']} ({cap['kind']}{ends}): {_reason(cap['reason'])}"


def _next(each: Mapping[str, Any]) -> tuple[str, str]:
    return f"in {format_duration(each['after'])}", f"{each['level']}: {_reason(each['reason'])}"


_RISING = ("withdrawn", "standby", "degraded", "preferred")


def _change(each: Mapping[str, Any], at: str) -> tuple[str, str]:
    # A step up comes when a wait ends: how old the evidence was then says nothing.
    ranks = [_RISING.index(each[key]) if each[key] in _RISING else 0 for key in ("old", "new")]
    decided = () if ranks[0] < ranks[1] else (("decided", "decided"),)
    stages = [
        f"{name} +{1000 * each[stage]:.1f} ms"
        for name, stage in (*decided, ("sent", "sent"), ("confirmed", "acknowledged"))
        if each[stage] is not None
    ]
    began = compute_instant(at, each["ago"])
    when = began or f"{format_duration(each['ago'])} ago"
    moved = each["old"] != each["new"]
    change = f"{each['old']} -> {each['new']}" if moved else f"stays {each['new']}"
    return when, f"{change}: {_reason(each['reason'])}; {', '.join(stages)}"
