"""`anycastd drain`: take services out gently, and say when it is safe to reboot."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.agent.control_client import ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory, find_user
from anycastd.cli.no_agent import report_no_answer
from anycastd.cli.output import (
    format_duration,
    format_session_count,
    print_error,
    print_line,
)
from anycastd.system.exit_codes import (
    DONE,
    ENDED_EARLY,
    EX_UNAVAILABLE,
    NOT_STORED,
    REFUSED,
    USAGE,
)

CODES = """\
exit codes:
  0   done; with --wait: it is safe to reboot
  1   done, but not written to the disk: the drain is lost when the agent stops
  2   wrong usage; there is no such service
  4   refused, nothing has changed: no other region serves, or it is drained already
  5   --wait: the drain was ended before it was safe to reboot
  69  no agent answers; nothing has changed
  75  the agent did not answer in time: it is not known whether the drain began
  77  this user may only read
"""
"""The exit codes, for the help of the command."""
ASK_TIMEOUT = 15.0
"""Seconds for the agent to ask the other regions and to write to the disk."""
POLL_INTERVAL = 0.25
"""Seconds between two questions to the agent."""
NO_AGENT_TIMEOUT = 15.0
"""Seconds without an agent after which --wait gives up; a reload takes half a second."""
SYSTEMCTL_TIMEOUT = 5.0
"""Seconds for systemctl to answer."""
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CODES
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="the service; without it: all services"
    )
    parser.add_argument("--reason", metavar="TEXT", help="why; `anycastd status` shows it")
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=parse_duration,
        help="end the drain after this time (45s, 10m, 2h, 1d); without it, `undrain` ends it",
    )
    parser.add_argument(
        "--wait", action="store_true", help="show the progress until it is safe to reboot"
    )
    parser.add_argument(
        "--force", action="store_true", help="drain even if no other region is known to serve"
    )
    parser.add_argument(
        "--stopping",
        nargs="?",
        const="anycastd.service",
        metavar="UNIT",
        help="for ExecStop=: drain if systemd stops UNIT (default: anycastd.service) and does not "
        "restart it; for at most `drain.stop` of the profile, and not stored for the next agent",
    )
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Drain, and with ``--wait`` show the progress; return one of the exit codes of ``CODES``."""
    if args.stopping:
        return _stop(args.directory, args.stopping)
    if not args.reason or not args.reason.strip():
        print_error("anycastd: a drain needs a reason: --reason TEXT; `anycastd status` shows it")
        return USAGE
    arguments = {
        "service": args.service,
        "reason": args.reason,
        "by": find_user(),
        "force": args.force,
    }
    if args.seconds is not None:
        arguments["for"] = args.seconds
    code = send_command(args.directory, "drain", arguments)
    if code in (DONE, NOT_STORED) and args.wait:
        return follow_drain(args.directory, args.service) or code
    return code


def send_command(directory: str, name: str, arguments: Mapping[str, Any]) -> int:
    """Give the agent the command ``name``, print its answer, and return the exit code.

    The code is 0, 1 (not written to the disk), 2 (no such service), 4 (refused), 69 (no agent
    answers), 75 (it is not known whether it was done) or 77 (this user may only read).
    """
    try:
        answer = ask_agent(directory, name, ASK_TIMEOUT, arguments)
    except ControlError as error:
        return report_no_answer(error, directory)
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return USAGE if answer["code"] == "unknown" else REFUSED
    for line in answer["said"]:
        print_line(line, flush=True)
    for line in answer["warnings"]:
        print_error(f"anycastd: warning: {line}")
    return NOT_STORED if answer["warnings"] else DONE


def follow_drain(directory: str, service: str | None, timeout: float | None = None) -> int:
    """Print the progress of a drain until it is safe to reboot; return the exit code.

    ``service`` None: all services.  After ``timeout`` seconds it stops, which is not an error.  The
    code is 0, 5 (the drain was ended before) or 69 (no agent answers for ``NO_AGENT_TIMEOUT`` s).
    """
    began_at = answered_at = time.monotonic()
    printed: dict[str, str] = {}
    while timeout is None or time.monotonic() - began_at < timeout:
        try:
            status = ask_agent(directory, "status")
        except ControlError as error:
            if time.monotonic() - answered_at > NO_AGENT_TIMEOUT:
                print_error(f"anycastd: {error}")
                return EX_UNAVAILABLE
            time.sleep(POLL_INTERVAL)
            continue
        answered_at = time.monotonic()
        services = {
            name: each
            for name, each in status["services"].items()
            if service in (None, name) and (each["drains"] or service is not None)
        }
        for name, each in services.items():
            line = describe_progress(each)
            if printed.get(name) != line:
                printed[name] = line
                print_line(f"{time.strftime('%H:%M:%S')} {name}: {line}", flush=True)
        if not all(each["drains"] for each in services.values()) or not services:
            print_error("anycastd: the drain was ended before it was safe to reboot")
            return ENDED_EARLY
        if all(each["safe"] for each in services.values()):
            print_line("; ".join(("safe to reboot", *_describe_sessions(services))), flush=True)
            return DONE
        time.sleep(POLL_INTERVAL)
    return DONE


def describe_progress(service: Mapping[str, Any]) -> str:
    """Describe in one line how far the drain of a service has got; ``service`` as in the status."""
    if not service["drains"]:
        return "not drained"
    drain = service["drains"][0]
    if drain["phase"] == "longer path":
        if service["level"] == "withdrawn":
            return f"withdrawn: {service['reason']['sentence']}"
        return "at the longest path, so that the other regions take over"
    if drain["phase"] == "waiting":
        return f"waiting: {service['reason']['sentence']} ({service['reason']['detail']})"
    if not service["in_sync"]:
        return "withdrawing: not confirmed for every neighbor yet"
    sessions = service["sessions"]
    left = (
        "sessions cannot be counted"
        if sessions is None
        else f"{format_session_count(sessions)} left"
    )
    return f"withdrawn, {left}"


def _describe_sessions(services: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Describe the sessions that a reboot would cut."""
    for name, each in services.items():
        sessions = each["sessions"]
        if sessions is None:
            yield f"{name}: its sessions cannot be counted, because no rule names a frontend"
        elif sessions:
            yield f"{name}: {format_session_count(sessions)} still open, which a reboot cuts"


def parse_duration(text: str) -> float:
    """Parse a duration such as 45s, 10m, 2h, 1h30m or 1d; returns seconds.

    Raises ArgumentTypeError for another text, and for a duration of zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", text)
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*(min|[smhd])|\s", "", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time; write for example 45s, 10m or 2h"
        )
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is too short; write for example 45s, 10m or 2h")
    return total


def _stop(directory: str, unit: str) -> int:
    """Drain because systemd stops ``unit``; return 0 in any case, so that the stop continues."""
    job = _find_job(unit)
    if job != "stop":
        print_line(
            f"{unit}: systemd's job is {job or 'none'}, not stop: nothing is drained", flush=True
        )
        return DONE
    began_at = time.monotonic()
    arguments = {"service": None, "stopping": True, "reason": f"{unit} is being stopped"}
    try:
        answer = ask_agent(directory, "drain", ASK_TIMEOUT, arguments | {"by": "systemd"})
    except ControlError as error:
        print_error(f"anycastd: {error}")
        return DONE  # without an agent there is nothing to drain
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return DONE
    follow_drain(directory, None, answer["stop"] - (time.monotonic() - began_at))
    took = format_duration(time.monotonic() - began_at)
    print_line(f"the drain before the stop took {took}", flush=True)
    return DONE


def _find_job(unit: str) -> str:
    """Ask systemd for the job of ``unit``: stop, restart, ... or "" for none.

    Returns stop if systemd does not answer: a needless drain costs no request, a missing one may.
    """
    import subprocess  # noqa: PLC0415 - only a stop by systemd needs it

    try:
        done = subprocess.run(
            ["systemctl", "list-jobs", "--no-legend", "--plain", unit],  # noqa: S607 - by PATH
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=SYSTEMCTL_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print_error(
            f"anycastd: cannot ask systemd for its jobs, so it drains as for a stop: {error}"
        )
        return "stop"
    if done.returncode:
        detail = done.stderr.strip()
        print_error(f"anycastd: systemd lists no jobs, so it drains as for a stop: {detail}")
        return "stop"
    rows = (line.split() for line in done.stdout.splitlines())
    return next((row[2] for row in rows if len(row) > 2 and row[1] == unit), "")  # noqa: PLR2004
