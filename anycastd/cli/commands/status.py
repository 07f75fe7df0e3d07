"""`anycastd status`: show what is announced, and why."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from anycastd.agent.control_client import MISMATCH, NO_ANSWER, ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory, add_colour
from anycastd.cli.no_agent import report_no_answer
from anycastd.cli.output import (
    clean_answer,
    print_error,
    print_json,
    print_lines,
    report_unknown_service,
    wants_colour,
)
from anycastd.cli.service_text import format_service
from anycastd.cli.status_text import format_origin, format_status, format_verdict
from anycastd.system.exit_codes import UNKNOWN, USAGE
from anycastd.views.severity import SEVERITIES, compute_severity
from anycastd.views.summary import summarize_status

CODES = """\
exit codes, fit for monitoring:
  0  every service is announced at its preferred path to every neighbor
  1  warning: a service is below preferred, a session is down, or something is
     not as wanted
  2  critical: a service is withdrawn and not drained, or no session carries it;
     also: there is no such service
  3  unknown: no agent answers
"""
"""The exit codes, for the help of the command."""
WATCH_INTERVAL = 2.0
"""Seconds between two looks of ``--watch``."""
MIN_INTERVAL = 0.2
"""Seconds between two looks at least."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CODES
    parser.add_argument(
        "service",
        nargs="?",
        metavar="SERVICE",
        help="show the details of this service (default: one line for each service)",
    )
    parser.add_argument(
        "--all", action="store_true", help="ask the agents of all `regions`: who announces what"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="the whole status as one JSON document")
    how.add_argument(
        "-q", "--quiet", action="store_true", help="one line: the verdict, for monitoring"
    )
    how.add_argument(
        "--watch",
        nargs="?",
        type=_parse_interval,
        const=WATCH_INTERVAL,
        metavar="SECONDS",
        help=f"show it again every SECONDS (default: {WATCH_INTERVAL:g}), until Ctrl-C",
    )
    add_colour(parser)
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Ask the agent, print its answer, and return a code for monitoring.

    The code is one of ``CODES``: 0 to 3, as monitoring plugins return them.
    """
    colour = wants_colour(args.color)
    if args.all and args.service is not None:
        print_error("anycastd: --all shows every service: leave out SERVICE, or --all")
        return USAGE
    if args.watch is not None:
        from anycastd.cli.watch import watch  # noqa: PLC0415 - few need it, and it costs time

        return watch(lambda: read_screen(args, colour=colour), args.watch)
    code, lines = read_screen(args, colour=colour)
    if lines is not None:
        print_lines(lines)
    return code


def read_screen(args: argparse.Namespace, *, colour: bool) -> tuple[int, list[str] | None]:
    """Ask the agent; return the exit code and the lines to print (None: it is printed already)."""
    try:
        status = ask_agent(args.directory, "regions" if args.all else "status")
    except ControlError as error:
        if args.watch is not None:
            return UNKNOWN, [f"UNKNOWN {line}" for line in str(error).split("\n")[:1]]
        report_no_answer(error, args.directory)
        return UNKNOWN, None
    try:
        if args.all:
            return _read_regions(args, status, colour=colour)
        return _read_status(args, status, colour=colour)
    except MISMATCH:
        print_error(f"anycastd: {args.directory}: {NO_ANSWER}")
        return UNKNOWN, None


def _read_status(
    args: argparse.Namespace, status: dict[str, Any], *, colour: bool
) -> tuple[int, list[str] | None]:
    severity = compute_severity(status)
    services = status["services"]
    if args.service is not None and args.service not in services:
        report_unknown_service(args.service, services)
        return USAGE, None
    shown = clean_answer(status)
    lines = list(_format(shown, args.service, colour=colour))
    if args.json:
        print_json(_complete(status, severity, args.service))
        return severity, None
    if args.quiet:
        # One line, however long: monitoring shows the first one.
        lines = [f"{SEVERITIES[severity].upper()} {summarize_status(shown)}"]
    return severity, lines


def _read_regions(
    args: argparse.Namespace, answer: dict[str, Any], *, colour: bool
) -> tuple[int, list[str] | None]:
    # Only --all compares paths, and what it imports takes time.
    from anycastd.cli.regions_text import (  # noqa: PLC0415
        compute_regions_severity,
        format_regions,
        summarize_regions,
    )

    severity, shown = compute_regions_severity(answer), clean_answer(answer)
    if args.json:
        print_json(answer)
        return severity, None
    if args.quiet:
        return severity, [f"{SEVERITIES[severity].upper()} {summarize_regions(shown)}"]
    return severity, list(format_regions(shown, colour=colour))


def _format(status: Mapping[str, Any], service: str | None, *, colour: bool) -> list[str]:
    if service is None:
        return list(format_status(status, colour=colour))
    its = status["services"][service]
    lines = [*format_verdict(status, colour=colour), ""]
    lines += format_service(service, its, status.get("at", ""), colour=colour)
    return [*lines, "", *format_origin(status)]


def _complete(status: dict[str, Any], severity: int, service: str | None) -> dict[str, Any]:
    """Add what the status of an older agent lacks, and leave out other services if one is asked."""
    status.setdefault("severity", SEVERITIES[severity])
    status.setdefault("verdict", summarize_status(status))
    if service is not None:
        status["services"] = {service: status["services"][service]}
    return status


def _parse_interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MIN_INTERVAL <= seconds <= 3600:  # noqa: PLR2004 - an hour; also without NaN
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds from {MIN_INTERVAL:g} to 3600; for one service "
            "write `anycastd status SERVICE --watch`"
        )
    return seconds
