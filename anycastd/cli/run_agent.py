"""Run the agent for `anycastd run`: all that it needs but does not need to check a profile."""

from __future__ import annotations

import argparse
import logging
import os

from anycastd.agent.control_client import ControlError
from anycastd.agent.daemon import Daemon
from anycastd.agent.endings import LostError, ReexecFailedError
from anycastd.agent.start_context import AgentPaths, StartContext
from anycastd.agent.supervisor import SpeakerEndedError, Supervisor
from anycastd.evidence.vip.loopback import NoPrivilegeError
from anycastd.profile.accepted import AcceptedProfile
from anycastd.system.exit_codes import (
    DONE,
    EX_NOPERM,
    EX_SOFTWARE,
    EX_UNAVAILABLE,
)
from anycastd.system.ticker import run_ticking

log = logging.getLogger(__name__)


def run_agent(
    args: argparse.Namespace, accepted: AcceptedProfile, text: str, context: StartContext
) -> int:
    """Run the agent with the arguments of `run`; ``text`` is that of the profile.

    Returns the exit code of `run`.
    """
    try:
        _run_agents(args, accepted, text, context)
    # Logged, not printed: nobody may read it, and then the agent must end nevertheless.
    except NoPrivilegeError as error:
        log.critical("%s", error.strerror)
        return EX_NOPERM
    except SpeakerEndedError as error:
        log.critical("%s", error)
        return error.code
    except (ControlError, LostError) as error:
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
    args: argparse.Namespace, accepted: AcceptedProfile, text: str, context: StartContext
) -> None:
    """Run an agent, and another one where a reload could not execute the new code."""
    below = os.path.join(args.directory, "speaker")
    arguments = ("--profile", args.profile, "--directory", below)
    lease = args.lease or os.path.join(below, "lease.sock")
    paths = AgentPaths(lease, args.directory, args.state)

    def describe() -> str:
        return accepted.text_without_secrets

    while True:
        speaker = None if args.lease else Supervisor(arguments, context.speaker_pid)
        try:
            agent = Daemon(accepted.profile, text, context, paths, speaker, describe)
            run_ticking(agent.run(), agent.clock)
        except ReexecFailedError as error:
            log.error("%s", error)  # noqa: TRY400 - the text says it all
            context = error.context
            os.environ.update(context.environment)  # systemd's variables, which each agent takes
        else:
            return
