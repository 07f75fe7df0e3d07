"""`anycastd return`: let a service that failed return now."""

from __future__ import annotations

import argparse

from anycastd.agent.control_client import ControlError, ask_agent
from anycastd.cli.arguments import add_agent_directory, find_user
from anycastd.cli.no_agent import report_no_answer
from anycastd.cli.output import print_error, print_line
from anycastd.system.exit_codes import DONE, REFUSED, USAGE

CODES = """\
exit codes:
  0   done; the service returns as soon as its rules and timers allow
  2   wrong usage; there is no such service
  4   nothing has changed: the service waits neither for a person nor for its hold-down
  69  no agent answers; nothing has changed
  75  the agent did not answer in time: it is not known whether the service may return
  77  this user may only read
"""
"""The exit codes, for the help of the command."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CODES
    parser.description = (
        "Let a service that failed, and that serves again, return now. This ends its\n"
        "hold-down, or the wait for a person (`return: manual`). It still has to serve\n"
        "for `rise`, and its route still does not change until `spacing` has passed\n"
        "since its last change."
    )
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="the service that may return (default: all)"
    )
    add_agent_directory(parser)


def main(args: argparse.Namespace) -> int:
    """Tell the agent, and print which services may return; return a code of ``CODES``."""
    try:
        arguments = {"service": args.service, "by": find_user()}
        answer = ask_agent(args.directory, "return", arguments=arguments)
    except ControlError as error:
        return report_no_answer(error, args.directory)
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return USAGE
    for name in answer["returned"]:
        print_line(f"{name} may return: `anycastd explain {name}` shows when it will")
    if answer["returned"]:
        return DONE
    others = answer.get("others", {})  # an agent of an earlier release has none
    if args.service and args.service in others:
        print_error(
            f"anycastd: {args.service} does not wait for this: it is {others[args.service]}"
        )
    else:
        which = f"{args.service} does not wait" if args.service else "no service waits"
        print_error(f"anycastd: {which} for this: see `anycastd explain`")
    return REFUSED
