"""`anycastd status`: show what is announced, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.agent.control_client import MISMATCH, NO_ANSWER, ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory
from anycastd.cli.output import (
    NO_STEERING,
    clean_answer,
    colour_level,
    describe_path,
    format_duration,
    format_session_count,
    format_table,
    print_error,
    print_json,
    print_lines,
)
from anycastd.system.exit_codes import UNKNOWN
from anycastd.views.severity import compute_severity

CODES = """\
exit codes, fit for monitoring:
  0  every service is announced at its preferred path to every neighbor
  1  warning: a service is below preferred, a session is down, or something is not as wanted
  2  critical: a service is withdrawn and not drained, or no session is up
  3  unknown: no agent answers
"""
"""The exit codes, for the help of the command."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CODES
    parser.add_argument("--json", action="store_true", help="the whole status as one JSON document")
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Ask the agent, print its answer, and return a code for monitoring.

    The code is one of ``CODES``: 0 to 3, as monitoring plugins return them.
    """
    try:
        status = ask_agent(args.directory, "status")
    except ControlError as error:
        print_error(f"anycastd: {error}")
        return UNKNOWN
    try:
        severity = compute_severity(status)
        lines = list(format_status(clean_answer(status), colour=sys.stdout.isatty()))
    except MISMATCH:
        print_error(f"anycastd: {args.directory}: {NO_ANSWER}")
        return UNKNOWN
    if args.json:
        print_json(status)
    else:
        print_lines(lines)
    return severity


def format_status(status: Mapping[str, Any], *, colour: bool = False) -> Iterator[str]:
    """Format the status as lines for a person: at most 100 columns, unless names are long."""
    lease = status["lease"]
    speaker = f"ExaBGP {lease['exabgp'] or '?'}" if lease["connected"] else "no speaker"
    if lease["repairs"]:
        speaker += f", routes repaired: {lease['repairs']}"
    yield f"{status['region']}: anycastd {status['version']} (pid {status['pid']}), {speaker}"
    for name, service in status["services"].items():
        yield ""
        yield from _service(name, service, colour=colour)
    yield ""
    yield "NEIGHBORS"
    yield from format_table(_neighbors(status["neighbors"]))
    yield ""
    yield "HAPROXY"
    yield from format_table(_haproxy(status["haproxy"]))
    if status["problems"]:
        yield ""
        yield "PROBLEMS"
        for problem in status["problems"]:
            yield f"  {problem}"


def _service(name: str, service: Mapping[str, Any], *, colour: bool) -> Iterator[str]:
    level = service["level"]
    shown = colour_level(level) if colour else level.upper()
    yield f"{name}  {service['vip']}  {shown} for {format_duration(service['since'])}"
    reason = service["reason"]
    detail = f" ({reason['detail']})" if reason["detail"] else ""
    yield f"  why    {reason['sentence']}{detail}"
    if reason["remedy"]:
        yield f"  do     {reason['remedy']}"
    yield f"  path   {describe_path(service['as_path'], service['prepend'])}"
    if not service.get("prepends_steer", True):
        yield f"         {NO_STEERING}"
    if service.get("drains"):  # an agent of release 0.1.0 has none
        yield from _drains(service)
    for wait in service["waits"]:
        if wait["until"] is not None:
            yield f"  wait   {format_duration(wait['until'])} more: {wait['sentence']}"
    printed: list[Any] = []
    for rule in service["rules"]:
        value = f": {rule['value']}" if rule["value"] else ""
        yield f"  rule   {rule['rule']}: {rule['truth']}{value}"
        if rule["servers"] not in printed:  # two rules on one backend print its servers once
            printed.append(rule["servers"])
            yield from format_table([_server(row) for row in rule["servers"]], indent=9)


def _drains(service: Mapping[str, Any]) -> Iterator[str]:
    for drain in service["drains"]:
        since = format_duration(drain["since"])
        left = f", {format_duration(drain['left'])} more" if drain["left"] else ""
        ends = "" if drain["until"] is None else f", ends in {format_duration(drain['until'])}"
        by = f"; by {drain['by']}" if drain["by"] else ""
        yield f"  drain  {drain['what']}, for {since}: {drain['phase']}{left}{ends}"
        yield f"         {drain['reason']}{by}"
    safe = "; safe to reboot" if service["safe"] else ""
    yield f"         {format_session_count(service['sessions'])} left{safe}"


def _server(row: Mapping[str, str]) -> tuple[str, ...]:
    return (row["name"], row["status"], row["check"], row["why"])


def _neighbors(neighbors: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for address, neighbor in neighbors.items():
        since = "" if neighbor["since"] is None else f"for {format_duration(neighbor['since'])}"
        announced = ", ".join(neighbor["announced"]) or "nothing"
        why = f"({neighbor['why']})" if neighbor["why"] else ""
        session = f"{neighbor['session']} {since}".strip()
        shown = (session, _negotiated(neighbor.get("negotiated")), f"announced {announced}", why)
        rows.append((address, f"AS {neighbor['peer_as']}", *shown))
    return rows


def _negotiated(agreed: Mapping[str, Any] | None) -> str:
    if agreed is None:  # no session, or an older agent or speaker
        return ""
    octets = "" if agreed["four_octet_as"] else ", 2-octet AS"
    return f"{' '.join(agreed['families']) or 'no family'}, hold {agreed['hold_time']} s{octets}"


def _haproxy(instances: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, one in instances.items():
        state = one["state"]
        if state == "answers":
            state = (
                f"answers ({one['version']}, pid {one['pid']}, up {format_duration(one['uptime'])})"
            )
        source = "events" if one["events"] else "polled"
        age = "never" if one["age"] is None else f"{one['age']:.1f} s ago"
        rows.append((name, one["socket"], state, source, f"looked at {age}", one["why"]))
    return rows
