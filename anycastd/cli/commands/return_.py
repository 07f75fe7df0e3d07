"""`anycastd return`: let a service that failed return now."""

from __future__ import annotations

import argparse

from anycastd.agent.control_client import ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory, find_user
from anycastd.cli.output import print_error, print_line, report_no_answer
from anycastd.system.exit_codes import DONE, USAGE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Let a service that failed, and that serves again, return now. This ends its hold-down, or "
        "the wait for a person (`return: manual`). It still has to serve for `rise`, and its route "
        "still does not change until `spacing` has passed since its last change."
    )
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="the service that may return (default: all)"
    )
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Tell the agent, and print which services may return.

    Returns the exit code: 0, 2 (no such service), 69 (no agent answers) or 77 (this user may only
    read).
    """
    try:
        arguments = {"service": args.service, "by": find_user()}
        answer = ask_agent(args.directory, "return", arguments=arguments)
    except ControlError as error:
        return report_no_answer(error)
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return USAGE
    if not answer["returned"]:
        if args.service:
            print_line(
                f"{args.service} does not wait for this: see `anycastd explain {args.service}`"
            )
        else:
            print_line("no service waits for this: see `anycastd explain`")
    for name in answer["returned"]:
        print_line(f"{name} may return: `anycastd explain {name}` shows when it will")
    return DONE
