"""`anycastd return`: let a service that failed come back now."""

from __future__ import annotations

import argparse

from anycastd.agent.control_client import ControlError, ask_agent
from anycastd.cli.arguments import add_directory
from anycastd.cli.output import print_error
from anycastd.system.exit_codes import EX_UNAVAILABLE, USAGE


def configure(parser: argparse.ArgumentParser) -> None:
    """Say the arguments."""
    parser.description = (
        "Let a service that failed, and serves again, come back now: it ends `return: manual`'s "
        "wait or the hold-down. It still has to be well for `rise`, and its route is not changed "
        "within `spacing` of its last change."
    )
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE", help="only this one (default: all)"
    )
    add_directory(parser, "/run/anycastd", "where the agent's control socket is")


def main(args: argparse.Namespace) -> int:
    """Tell the agent, and say which services it concerned."""
    try:
        answer = ask_agent(args.directory, "return", arguments={"service": args.service})
    except ControlError as error:
        print_error(f"anycastd: {error}")
        return EX_UNAVAILABLE
    if "refused" in answer:
        print_error(f"anycastd: {answer['refused']}")
        return USAGE
    if not answer["returned"]:
        whom = args.service or "no service"
        not_ = "does not wait" if args.service else "waits"
        print(f"{whom} {not_} for that: see `anycastd explain`")
    for name in answer["returned"]:
        print(f"{name} may return: `anycastd explain {name}` says when it will")
    return 0
