"""Say why no agent answers, as far as this user can see it, and what to type."""

from __future__ import annotations

import os
from collections.abc import Iterator

from anycastd.agent.control_client import ControlError
from anycastd.cli.output import print_error
from anycastd.system.exit_codes import EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE

UNIT = "anycastd.service"
DIRECTORY = "/run/anycastd"
"""Where the agent of the package has its socket."""
_CGROUPS = "/sys/fs/cgroup/system.slice"
_UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")


def report_no_answer(error: ControlError, directory: str = "") -> int:
    """Print why the agent gave no answer, and return the exit code: 69, 75 or 77.

    ``directory``: where its socket should be; empty: it is not looked at.
    """
    lines = str(error).split("\n")
    if error.unreachable and directory:
        lines += explain_no_agent(directory)
    print_error("\n".join(f"anycastd: {line}" for line in lines))
    if error.uncertain:
        return EX_TEMPFAIL
    return EX_NOPERM if error.denied else EX_UNAVAILABLE


def explain_no_agent(directory: str) -> Iterator[str]:
    """Yield sentences about the socket in ``directory``; none where there is nothing to add."""
    if denied := _find_denied(os.path.join(directory, "agent.sock")):
        yield denied
    elif os.path.realpath(directory) != DIRECTORY:
        if os.path.exists(os.path.join(DIRECTORY, "agent.sock")):
            yield f"an agent has its socket in {DIRECTORY}: leave out --directory to ask that one"
    elif os.path.isdir(os.path.join(_CGROUPS, UNIT)):
        yield (
            f"{UNIT} runs, but has no socket there yet: it starts, or has another --directory; "
            f"see `journalctl -u {UNIT} -n 20`"
        )
    elif any(os.path.exists(os.path.join(folder, UNIT)) for folder in _UNITS):
        yield (
            f"{UNIT} does not run: `systemctl status {UNIT}` says why, "
            f"`sudo systemctl start {UNIT}` starts it"
        )


def _find_denied(path: str) -> str:
    """Say which group may ask the agent, if this user may not; empty: that is not the reason."""
    for place in (path, os.path.dirname(path)):
        try:
            found = os.stat(place)
        except PermissionError:
            continue
        except OSError:
            return ""
        mode = os.W_OK if place == path else os.X_OK
        if os.access(place, mode):
            return ""
        return _describe_group(found.st_gid)
    return ""


def _describe_group(gid: int) -> str:
    import grp  # noqa: PLC0415 - only this error needs them
    import pwd  # noqa: PLC0415 - likewise

    try:
        group = grp.getgrgid(gid).gr_name
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"this user is not in the group {gid} of that socket: use sudo"
    return (
        f"{user} is not in the group {group}: use sudo, or run "
        f"`sudo adduser {user} {group}` and log in again"
    )
