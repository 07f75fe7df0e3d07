"""Profile -> ExaBGP's configuration and environment, then exec: ``anycastd speaker``.

``prepare`` writes everything into one directory, ``become`` turns this process into ExaBGP (same
pid).  ExaBGP starts the lease process (``anycastd.speaker.lease_process``) as its API child.
"""

from __future__ import annotations

import os
import pwd
import site
import sys
from collections.abc import Mapping
from pathlib import Path

from anycastd.profile.model import Profile
from anycastd.speaker.directory import Prepared, prepare_directory
from anycastd.speaker.exabgp.config import OPEN_WAIT
from anycastd.system.exit_codes import EX_UNAVAILABLE, ExitError

# See docs of ExaBGP's `reactor.speed`: 1.0 means that it looks around every 10 ms at the latest.
REACTOR_SPEED = 1.0
ROWS_AT_ONCE = 10


# The configuration (pure) ------------------------------------------------------------------------


def build_environment(directory: str, base: Mapping[str, str], user: str) -> dict[str, str]:
    """Return the environment to run the shim in: ``base`` without any word of it to ExaBGP.

    ExaBGP runs as ``user``, logs errors to stderr, opens no pipes and no port, and reads
    DIRECTORY/exabgp.env (which sets nothing) instead of /etc/exabgp/exabgp.env.
    """
    kept = {key: value for key, value in base.items() if not key.lower().startswith("exabgp")}
    # A checkout is not on the path of the processes that come; what is installed already is.
    ours = str(Path(__file__).resolve().parents[2])
    if ours not in site.getsitepackages():
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, kept.get("PYTHONPATH"))))
    return kept | {
        "EXABGP_ENVFILE": f"{directory}/exabgp.env",
        "exabgp_api_ack": "true",
        "exabgp_api_chunk": str(ROWS_AT_ONCE),
        "exabgp_api_cli": "false",
        "exabgp_api_respawn": "true",
        "exabgp_api_terminate": "false",
        "exabgp_bgp_openwait": str(OPEN_WAIT),
        "exabgp_daemon_daemonize": "false",
        "exabgp_daemon_umask": "0007",
        "exabgp_daemon_user": user,
        "exabgp_log_destination": "stderr",
        "exabgp_log_enable": "true",
        "exabgp_log_level": "ERROR",  # lower, 5.0 writes lines at each attempt to connect
        "exabgp_reactor_speed": str(REACTOR_SPEED),
        "exabgp_tcp_bind": "",
    }


# What touches the machine ------------------------------------------------------------------------


def build_command(prepared: Prepared) -> list[str]:
    """Return the command line of ExaBGP; ``-P`` keeps the current directory out of its imports."""
    return [sys.executable, "-P", "-m", "anycastd.speaker.exabgp.shim", str(prepared.conf)]


def exec_exabgp(profile: Profile, directory: str, path: str | None = None) -> None:
    """Prepare ``directory`` and turn this process into ExaBGP; returns only by ExitError.

    ``path`` is the profile's: from there other sessions can be taken over later.
    """
    prepared = prepare_directory(
        profile, directory, None if path is None else str(Path(path).absolute())
    )
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = "root"  # must exist for ExaBGP's settings; a user without a name never changes
    settings = build_environment(str(prepared.conf.parent), os.environ, user)
    line = build_command(prepared)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(line[0], line, settings)  # noqa: S606 - that is the point
    except OSError as problem:
        raise ExitError(f"{line[0]}: {problem.strerror}", EX_UNAVAILABLE) from None
