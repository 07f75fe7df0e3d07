"""`anycastd reload`: let the agent take over the code and the profile on disk."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from anycastd.agent.control_client import VALIDATE_TIMEOUT, ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory, find_user
from anycastd.cli.no_agent import report_no_answer
from anycastd.cli.output import fold, print_error, print_line
from anycastd.system.exit_codes import DONE, EX_CONFIG, EX_UNAVAILABLE

START_TIMEOUT = 30.0
"""Seconds for the new agent to answer; usually it takes half a second."""
SPEAKER_TIMEOUT = 5.0
"""Seconds for the speaker to have compared its sessions; one that resets them takes longer."""
POLL_INTERVAL = 0.05
"""Seconds between two questions to the agent."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--plan",
        action="store_true",
        help="show which routes and sessions a reload would change, and change nothing",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="reload also where the new profile lowers a service",
    )
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Reload the agent, or print what that would change.

    Returns the exit code: 0; 69 where no agent answers; 75 where it is not known whether it
    reloads; 77 where this user may only read; 78 where the reload is refused.
    """
    try:
        running = ask_agent(args.directory, "running")
        if args.plan:
            from anycastd.cli.show_plan import show_plan  # noqa: PLC0415 - loads the schema

            return show_plan(running)
        return _reload(args.directory, running, force=args.force)
    except ControlError as error:
        return report_no_answer(error, args.directory)


def _reload(directory: str, running: Mapping[str, Any], *, force: bool) -> int:
    began_at, before = time.monotonic(), running["instance"]
    arguments = {"by": find_user()} | ({"force": True} if force else {})
    answer = ask_agent(directory, "reload", VALIDATE_TIMEOUT + 5, arguments)
    for line in (*answer.get("said", ()), *answer.get("refused", ())):
        text = str(line)
        indent = text[: len(text) - len(text.lstrip())]
        for part in fold(text, indent, f"{indent}  "):
            print_error(part)
    if "refused" in answer:
        print_error("anycastd: refused; the agent continues with what it has")
        return EX_CONFIG
    new = _wait_until(directory, START_TIMEOUT, lambda it: it["ready"] and it["instance"] != before)
    if new is None:
        print_error(
            f"anycastd: the new agent does not answer after {START_TIMEOUT:g} s: see its log; "
            "routes that it does not renew are withdrawn when the lease expires"
        )
        return EX_UNAVAILABLE
    if new.get("failed_reload"):  # an agent of another release does not say it
        print_error(f"anycastd: {new['failed_reload']}")
        return EX_UNAVAILABLE
    took = time.monotonic() - began_at
    new = _wait_until(directory, SPEAKER_TIMEOUT, lambda it: it["speaker"] != "busy") or new
    print_line(
        f"reloaded {new['profile']}: pid {new['pid']}, version {new['version']}, {took:.1f} s"
    )
    if new["speaker"] == "busy":
        print_line("the speaker is still changing sessions: see `anycastd status`")
    for problem in new["problems"]:
        print_error(f"anycastd: {problem}")
    return DONE


def _wait_until(
    directory: str, timeout: float, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    """Ask the agent until its answer meets ``condition``; None after ``timeout`` seconds."""
    ends_at = time.monotonic() + timeout
    while time.monotonic() < ends_at:
        with contextlib.suppress(ControlError):
            running = ask_agent(directory, "running")
            if condition(running):
                return running
        time.sleep(POLL_INTERVAL)
    return None
