"""`anycastd explain`: show why each service has its level, and what comes next."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.agent.control_client import MISMATCH, NO_ANSWER, ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory
from anycastd.cli.no_agent import report_no_answer
from anycastd.cli.output import (
    NO_STEERING,
    clean_answer,
    describe_path,
    format_duration,
    format_table,
    print_error,
    print_json,
    print_lines,
    report_unknown_service,
)
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
        lines = list(_format_all(clean_answer(services)))
    except MISMATCH:
        print_error(f"anycastd: {args.directory}: {NO_ANSWER}")
        return EX_UNAVAILABLE
    if args.json:
        print_json(answer)
    else:
        print_lines(lines)
    return DONE


def _format_all(services: Mapping[str, Any]) -> Iterator[str]:
    for index, (name, each) in enumerate(services.items()):
        if index:
            yield ""
        yield from format_explanation(name, each)


def format_explanation(name: str, it: Mapping[str, Any]) -> Iterator[str]:
    """Format one service's explanation, a part of the agent's answer, as lines for a person."""
    yield f"{name}  {it['vip']}  {it['level'].upper()} for {format_duration(it['since'])}"
    yield f"  because {_reason(it['reason'])}"
    if it["reason"]["remedy"]:
        yield f"  do      {it['reason']['remedy']}"
    yield f"  path    {describe_path(it['as_path'], it['prepend'])}"
    if not it["prepends_steer"]:
        yield f"          {NO_STEERING}"
    yield "  rules"
    yield from format_table([_rule(rule) for rule in it["rules"]], indent=4)
    yield "  caps (the lowest one is the level)"
    yield from format_table([_cap(cap) for cap in it["caps"]] or [("none",)], indent=4)
    if it["failures"]:
        times = "once" if it["failures"] == 1 else f"{it['failures']} times in a row"
        yield f"    it failed {times}: its hold-down is {format_duration(it['hold_down'])}"
    yield "  next, if nothing changes"
    yield from format_table([_next(each) for each in it["next"]] or [("no change",)], indent=4)
    if it["changes"]:
        yield "  last changes"
        yield from format_table([_change(each) for each in it["changes"]], indent=4)


def _reason(reason: Mapping[str, str]) -> str:
    return reason["sentence"] + (f" ({reason['detail']})" if reason["detail"] else "")


def _rule(rule: Mapping[str, Any]) -> tuple[str, ...]:
    needs = f"needs {rule['needed']}" if rule["needed"] else ""
    return (" and ".join(rule["of"]), rule["truth"], rule["rule"], rule["value"], needs)


def _cap(cap: Mapping[str, Any]) -> tuple[str, ...]:
    ends = "" if cap["ends"] is None else f"{format_duration(cap['ends'])} more"
    return (cap["level"], cap["source"], cap["kind"], ends, _reason(cap["reason"]))


def _next(each: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"in {format_duration(each['after'])}", each["level"], _reason(each["reason"]))


def _change(each: Mapping[str, Any]) -> tuple[str, ...]:
    stages = [
        "" if each[stage] is None else f"{stage} +{1000 * each[stage]:.1f} ms"
        for stage in ("decided", "sent", "acknowledged")
    ]
    ago, change = f"{format_duration(each['ago'])} ago", f"{each['old']} -> {each['new']}"
    return (ago, change, *stages, _reason(each["reason"]))
