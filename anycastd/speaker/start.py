"""Turn this process into ExaBGP: ``anycastd speaker``.

``prepare_directory`` writes all files into one directory; then this process executes the shim,
with the same pid.  ExaBGP starts the lease process (``anycastd.speaker.lease_process``) as its API
child.
"""

from __future__ import annotations

import os
import pwd
import site
import sys
from collections.abc import Mapping
from pathlib import Path

from anycastd.profile.model import Profile
from anycastd.speaker.directory import PreparedDirectory, prepare_directory
from anycastd.speaker.exabgp.config import OPEN_WAIT
from anycastd.system.exit_codes import EX_UNAVAILABLE, ExitError

REACTOR_SPEED = 1.0
"""ExaBGP's `reactor.speed`: with 1.0 its loop sleeps for 10 ms at most, but see `patches/loop`."""
API_CHUNK = 10
"""Rows of an answer that ExaBGP writes to the API child in one turn of its loop."""


def build_environment(directory: str, base: Mapping[str, str], user: str) -> dict[str, str]:
    """Return the shim's environment: ``base`` without its settings for another ExaBGP.

    ExaBGP runs as ``user``, logs errors to stderr, opens no pipes and no port, and reads
    DIRECTORY/exabgp.env (which sets nothing) instead of /etc/exabgp/exabgp.env.  The names are
    those of ExaBGP's own settings, which it reads as ``exabgp_SECTION_OPTION``.
    """
    kept = {key: value for key, value in base.items() if not key.lower().startswith("exabgp")}
    # Child processes find an installed package by themselves, a checkout only by PYTHONPATH.
    ours = str(Path(__file__).resolve().parents[2])
    if ours not in site.getsitepackages():
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, kept.get("PYTHONPATH"))))
    return kept | {
        "EXABGP_ENVFILE": f"{directory}/exabgp.env",
        "exabgp_api_ack": "true",
        "exabgp_api_chunk": str(API_CHUNK),
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


def build_command(prepared: PreparedDirectory) -> list[str]:
    """Return the command line of ExaBGP; ``-P`` keeps the current directory out of its imports."""
    return [sys.executable, "-P", "-m", "anycastd.speaker.exabgp.shim", str(prepared.conf)]


def exec_exabgp(profile: Profile, directory: str, path: str | None = None) -> None:
    """Prepare ``directory`` and turn this process into ExaBGP; never returns.

    ``path`` is the profile's: the speaker reads it again for a reconfiguration.

    Raises ExitError: ExaBGP is missing or cannot be executed, the directory cannot be used, or
    another speaker runs there (69); no permission (77); an MD5 file or a path cannot be used (78).
    """
    prepared = prepare_directory(
        profile, directory, None if path is None else str(Path(path).absolute())
    )
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = "root"  # a name that exists: ExaBGP wants one, and does not change to it
    settings = build_environment(str(prepared.conf.parent), os.environ, user)
    line = build_command(prepared)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(line[0], line, settings)  # noqa: S606 - that is the point
    except OSError as problem:
        raise ExitError(f"{line[0]}: {problem.strerror}", EX_UNAVAILABLE) from None
