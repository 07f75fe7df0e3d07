"""`anycastd run`: run the agent."""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import logging
import os

from anycastd.agent import daemon, reload
from anycastd.agent.control_client import ControlError
from anycastd.agent.start_context import AgentPaths, StartContext, read_running, read_start_context
from anycastd.agent.supervisor import SpeakerEndedError, Supervisor
from anycastd.cli.arguments import add_directory, add_profile, add_state
from anycastd.cli.log import FORMATS, log_to_stderr
from anycastd.cli.output import print_error
from anycastd.cli.profile_file import read_text, validate_text
from anycastd.evidence.vip.loopback import NoPrivilegeError
from anycastd.profile.model import Profile
from anycastd.profile.without_secrets import remove_secrets
from anycastd.system.exit_codes import (
    DONE,
    EX_CONFIG,
    EX_NOPERM,
    EX_SOFTWARE,
    EX_UNAVAILABLE,
    ExitError,
)

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
    if not args.validate:
        reload.block_signals()  # until the agent can act on them
    log_to_stderr(wait=args.validate, form=args.log)
    try:
        context = read_start_context(args.profile)
        running = read_running()
    except ExitError as error:
        log.critical("%s", error)
        return error.code
    text = context.profile_text if context.is_successor else read_text(args.profile)
    if args.validate and running is not None and text is not None:
        from anycastd.cli.reload_guard import judge_reload  # noqa: PLC0415 - for a check alone

        return judge_reload(running, text, args.profile)
    tell_warning = print_error if args.validate else log.warning
    profile = None if text is None else validate_text(text, args.profile, tell_warning)
    if text is None or profile is None:
        return EX_CONFIG
    return DONE if args.validate else _run(args, profile, text, context)


def _run(args: argparse.Namespace, profile: Profile, text: str, context: StartContext) -> int:
    # Code and profile are never freed, so the garbage collector need not look at them in a pass.
    gc.collect()
    gc.freeze()
    try:
        _run_agents(args, profile, text, context)
    # Logged, not printed: nobody may read it, and then the agent must end nevertheless.
    except NoPrivilegeError as error:
        log.critical("%s", error.strerror)
        return EX_NOPERM
    except SpeakerEndedError as error:
        log.critical("%s", error)
        return error.code
    except (ControlError, daemon.LostError) as error:
        log.critical("%s", error)
        return EX_UNAVAILABLE
    except OSError as error:
        text = "%s: %s; choose a writable --directory"
        log.critical(text, args.directory, error.strerror)
        return EX_NOPERM if isinstance(error, PermissionError) else EX_UNAVAILABLE
    except Exception:
        log.critical("a bug in anycastd; please report it with these lines", exc_info=True)
        return EX_SOFTWARE
    return DONE


def _run_agents(
    args: argparse.Namespace, profile: Profile, text: str, context: StartContext
) -> None:
    """Run an agent, and another one where a reload could not execute the new code."""
    below = os.path.join(args.directory, "speaker")
    arguments = ("--profile", args.profile, "--directory", below)
    lease = args.lease or os.path.join(below, "lease.sock")
    paths = AgentPaths(lease, args.directory, args.state)
    describe = functools.partial(remove_secrets, text)
    while True:
        speaker = None if args.lease else Supervisor(arguments, context.speaker_pid)
        try:
            asyncio.run(daemon.Daemon(profile, text, context, paths, speaker, describe).run())
        except daemon.ReexecFailedError as error:
            log.error("%s", error)  # noqa: TRY400 - the text says it all
            context = error.context
            os.environ.update(context.environment)  # systemd's variables, which each agent takes
        else:
            return
