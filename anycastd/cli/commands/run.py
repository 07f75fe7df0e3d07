"""`anycastd run`: run the agent."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import time
from dataclasses import replace

from anycastd.agent.start_context import (
    StartContext,
    pop_accepted_fd,
    read_running,
    read_start_context,
    write_descriptor,
)
from anycastd.cli.arguments import add_directory, add_profile, add_state
from anycastd.cli.log import FORMATS, log_to_stderr
from anycastd.cli.output import print_error
from anycastd.cli.profile_check import ProfileCheck, check_text
from anycastd.cli.profile_text import read_text
from anycastd.system.exit_codes import DONE, EX_CONFIG, ExitError
from anycastd.system.stop_signals import block_signals
from anycastd.system.without_openssl import import_without_openssl

log = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments.

    By default `--directory` and `--state` are systemd's RuntimeDirectory= and StateDirectory=
    (systemd.exec(5)).
    """
    add_profile(parser)
    parser.add_argument(
        "--lease",
        metavar="SOCKET",
        help="the lease socket of a speaker that already runs; without it, run starts a speaker",
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="check the profile and exit: 0 if the agent could start with it, else 78",
    )
    add_directory(parser, "/run/anycastd", "where to create the control socket")
    parser.add_argument(
        "--log",
        choices=FORMATS,
        default="auto",
        help="form of the log on standard error: text, json (one object a line), or auto: with "
        "fields where it is the journal, else text (default: auto)",
    )
    add_state(parser, "where to store drains, so that a restart keeps them")


def main(args: argparse.Namespace) -> int:
    """Run the agent until SIGTERM or SIGINT, or with ``--validate`` check its profile only.

    Returns the exit code: 0; 2 for an environment that no reload has set; 69 where the agent cannot
    start or go on; 77 where a privilege is missing; 78 for a profile that cannot be used; else that
    of a speaker that cannot start.
    """
    began_at = time.time_ns()
    if args.validate:
        gc.enable()
    else:
        block_signals()  # until the agent can act on them
    log_to_stderr(wait=args.validate, form=args.log)
    try:
        accepted_fd = pop_accepted_fd() if args.validate else None
        context = read_start_context(args.profile)
        running = read_running()
        text = context.profile_text if context.is_successor else read_text(args.profile)
    except ExitError as error:
        log.critical("%s", error)
        return error.code
    if text is None:
        return EX_CONFIG
    if not args.validate:
        return _run(args, text, context, began_at)
    if running is not None:
        from anycastd.cli.reload_guard import judge_reload  # noqa: PLC0415 - for a check alone

        return judge_reload(running, text, args.profile)
    checked = check_text(text, args.profile, began_at, print_error)
    if checked is None:
        return EX_CONFIG
    if accepted_fd is not None:
        with contextlib.suppress(OSError):  # the agent checks anew then
            write_descriptor(accepted_fd, checked.sealed.encode())
    return DONE


def _run(args: argparse.Namespace, text: str, context: StartContext, began_at: int) -> int:
    """Check the profile, and run the agent with it; return the exit code."""
    import_without_openssl("asyncio")
    check = ProfileCheck(args.profile, text, args.directory, context.accepted, began_at)
    # Now: where the profile is checked in a child, this takes no time.
    from anycastd.cli.run_agent import run_agent  # noqa: PLC0415

    checked = check.finish()
    if checked is None:
        return EX_CONFIG
    for warning in checked.accepted.warnings:
        log.warning("%s", warning)
    return run_agent(args, checked.accepted, text, replace(context, accepted=checked.sealed))
