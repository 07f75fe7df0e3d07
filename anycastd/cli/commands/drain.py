"""`anycastd drain`: leave gently, and say when it is safe to reboot."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.agent.control_client import ControlError, ask_agent
from anycastd.cli.arguments import add_directory
from anycastd.cli.output import format_duration, print_error
from anycastd.system.exit_codes import DONE, ENDED_EARLY, EX_UNAVAILABLE, NOT_STORED, REFUSED, USAGE

CODES = """\
exit codes:
  0   done; with --wait: it is safe to reboot
  1   done, but the drain could not be written to the disk: it ends with this agent
  2   wrong usage; there is no such service
  4   refused, nothing has changed: no other region serves, or it is drained already
  5   --wait: the drain was ended before it was safe to reboot
  69  no agent answers
"""
ASK_TIMEOUT = 15.0
"""Seconds for the agent to have asked the other regions, and to have written to the disk."""
POLL_INTERVAL = 0.25
GONE_FOR = 15.0
"""Seconds without an agent after which --wait gives up; a reload takes half a second."""
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def configure(parser: argparse.ArgumentParser) -> None:
    """Say the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CODES
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="without it: all services")
    parser.add_argument("--reason", metavar="TEXT", help="why, for whoever looks at the status")
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=parse_duration,
        help="end it by itself after so long (45s, 10m, 2h, 1d); without it, `undrain` ends it",
    )
    parser.add_argument(
        "--wait", action="store_true", help="follow it until it is safe to reboot, line by line"
    )
    parser.add_argument(
        "--force", action="store_true", help="also where no other region is known to serve"
    )
    parser.add_argument(
        "--stopping",
        nargs="?",
        const="anycastd.service",
        metavar="UNIT",
        help="for ExecStop=: unless systemd is restarting UNIT (anycastd.service), drain for as "
        "long as `drain.stop` in the profile allows, and forget it",
    )
    add_directory(parser, "/run/anycastd", "where the agent's control socket is")


def main(args: argparse.Namespace) -> int:
    """Ask the agent for a drain, and follow it if that is wanted."""
    if args.stopping:
        return _stop(args.directory, args.stopping)
    if not args.reason or not args.reason.strip():
        print_error("anycastd: say why: --reason TEXT; others will see it in `anycastd status`")
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
    """Give the agent a command and show its answer."""
    try:
        answer = ask_agent(directory, name, ASK_TIMEOUT, arguments)
    except ControlError as error:
        print_error(f"anycastd: {error}")
        return EX_UNAVAILABLE
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return USAGE if answer["code"] == "unknown" else REFUSED
    for line in answer["said"]:
        print(line, flush=True)
    for line in answer["warnings"]:
        print_error(f"anycastd: warning: {line}")
    return NOT_STORED if answer["warnings"] else DONE


def follow_drain(directory: str, service: str | None, within: float | None = None) -> int:
    """Say how the drain gets on, until it is safe to reboot: 0, or why it will not be.

    ``within``: give up after so many seconds, which is no failure.
    """
    began = seen = time.monotonic()
    shown: dict[str, str] = {}
    while within is None or time.monotonic() - began < within:
        try:
            status = ask_agent(directory, "status")
        except ControlError as error:
            if time.monotonic() - seen > GONE_FOR:
                print_error(f"anycastd: {error}")
                return EX_UNAVAILABLE
            time.sleep(POLL_INTERVAL)
            continue
        seen = time.monotonic()
        services = {
            name: each
            for name, each in status["services"].items()
            if service in (None, name) and (each["drains"] or service is not None)
        }
        for name, each in services.items():
            line = describe_progress(each)
            if shown.get(name) != line:
                shown[name] = line
                print(f"{time.strftime('%H:%M:%S')} {name}: {line}", flush=True)
        if not all(each["drains"] for each in services.values()) or not services:
            print_error("anycastd: the drain was ended before it was safe to reboot")
            return ENDED_EARLY
        if all(each["safe"] for each in services.values()):
            print("; ".join(("safe to reboot", *_left(services))), flush=True)
            return 0
        time.sleep(POLL_INTERVAL)
    return 0


def describe_progress(service: Mapping[str, Any]) -> str:
    """Say in a line where a service's drain is; only what an operator wants to see move."""
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
        return "withdrawing: not every neighbor has confirmed it"
    sessions = service["sessions"]
    left = "sessions cannot be counted" if sessions is None else f"{sessions} sessions left"
    return f"withdrawn, {left}"


def _left(services: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say what is still connected."""
    for name, each in services.items():
        sessions = each["sessions"]
        if sessions is None:
            yield f"{name}: no rule names a frontend whose sessions could be counted"
        elif sessions:
            yield f"{name}: {sessions} sessions are still connected, and will be cut"


def parse_duration(text: str) -> float:
    """Read a time such as 45s, 10m, 2h, 1h30m or 1d; raises ArgumentTypeError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", text)
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*(min|[smhd])|\s", "", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write one such as 45s, 10m or 2h")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait")
    return total


def find_user() -> str:
    """Name the person: who became root, if somebody did."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _stop(directory: str, unit: str) -> int:
    """Drain because systemd stops ``unit``; whatever goes wrong, the stop goes on."""
    job = _job(unit)
    if job != "stop":
        print(f"{unit}: {job or 'no job'}, not a stop: nothing is drained", flush=True)
        return 0
    began = time.monotonic()
    arguments = {"service": None, "stopping": True, "reason": f"{unit} is being stopped"}
    try:
        answer = ask_agent(directory, "drain", ASK_TIMEOUT, arguments | {"by": "systemd"})
    except ControlError as error:
        print_error(f"anycastd: {error}")
        return 0  # without an agent there is nothing to drain
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return 0
    span_left = answer["stop"] - (time.monotonic() - began)
    follow_drain(directory, None, span_left)
    print(f"drained for the stop within {format_duration(time.monotonic() - began)}", flush=True)
    return 0


def _job(unit: str) -> str:
    """Ask systemd which job it has for ``unit``: stop, restart, none; stop where it cannot tell.

    A restart that drains costs nobody a request, a stop that does not may.
    """
    try:
        done = subprocess.run(
            ["systemctl", "list-jobs", "--no-legend", "--plain", unit],  # noqa: S607 - by PATH
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print_error(
            f"anycastd: cannot ask systemd for its jobs, so this is taken as a stop: {error}"
        )
        return "stop"
    if done.returncode:
        why = done.stderr.strip()
        print_error(f"anycastd: systemd does not tell its jobs, so this is taken as a stop: {why}")
        return "stop"
    rows = (line.split() for line in done.stdout.splitlines())
    return next((row[2] for row in rows if len(row) > 2 and row[1] == unit), "")  # noqa: PLR2004
