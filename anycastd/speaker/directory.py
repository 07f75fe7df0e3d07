"""The speaker's directory: its lock, its files, the MD5 passwords (I/O)."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from anycastd.lease.settings import MIN_TTL_MAX, LeaseFile, LeaseStartError
from anycastd.profile.model import Address, Profile
from anycastd.speaker.exabgp.config import (
    build_config,
    config_hash,
    vip_prefixes,
)
from anycastd.speaker.permitted_routes import build_permitted_routes, vips_hash
from anycastd.system.atomic_file import remove_leftovers, write_atomic
from anycastd.system.exit_codes import EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, ExitError
from anycastd.system.passing_errors import may_pass

MAX_PASSWORD = 80  # octets, Linux's TCP_MD5SIG_MAXKEYLEN
MAX_PASSWORD_FILE = 4096  # bytes that are read of a password's file


@dataclass(frozen=True, slots=True)
class PreparedDirectory:
    """A locked directory with all files of a speaker.

    ``conf``, ``env`` and ``lease`` are the paths of exabgp.conf, exabgp.env and lease.json.
    ``lock`` is the open descriptor of the lock: the directory is locked until it is closed.
    """

    conf: Path
    env: Path
    lease: Path
    lock: int


def build_lease_file(
    profile: Profile, directory: str, config: str, path: str | None = None
) -> LeaseFile:
    """Build the content of lease.json for a profile.

    ``config`` is the hash of the configuration that ExaBGP will run.  ``path`` is the profile's: it
    is read again when an agent asks for a reconfiguration (None: there is none).
    """
    return LeaseFile(
        socket=f"{directory}/lease.sock",
        profile=path,
        prefixes=tuple(vip_prefixes(profile)),
        neighbors=tuple(str(neighbor.address) for neighbor in profile.bgp.neighbors),
        local_as=profile.bgp.local_as,
        ttl_max=max(MIN_TTL_MAX, 4 * profile.ttl),
        inherit=profile.ttl,
        config=config,
        vips=vips_hash(profile),
        routes=build_permitted_routes(profile),
    )


def keep_last_routes(file: LeaseFile, path: Path) -> LeaseFile:
    """Return ``file`` with the list of the profile before, which is in the lease.json at ``path``.

    An agent runs its profile until it is reloaded.  A speaker that starts after the profile was
    edited, but before that reload, must not refuse what the agent announces.
    """
    try:
        last = LeaseFile.load(path.read_text("utf-8"))
    except (OSError, ValueError, LeaseStartError):
        return file  # there is none, or none of this release
    kept = last.last_routes if last.vips == file.vips else last.routes
    return replace(file, last_routes=kept or ())


def lease_command(directory: str) -> list[str]:
    """Return the command line of the lease process of the speaker in ``directory``.

    ``-P`` keeps the current directory out of its imports.
    """
    module = "anycastd.speaker.lease_process"
    return [sys.executable, "-P", "-m", module, f"{directory}/lease.json"]


def prepare_directory(
    profile: Profile, directory: str, path: str | None = None, *, port: int = 179
) -> PreparedDirectory:
    """Lock the directory and write the files of ExaBGP and the lease process into it.

    ``path`` is the profile's, ``port`` the neighbors' TCP port.

    Raises ExitError: ExaBGP is missing, the directory cannot be used, or another speaker runs
    there (69); no permission (77); an MD5 file cannot be used, or ExaBGP cannot read the path of
    the directory or of Python (78).
    """
    if find_spec("exabgp") is None:
        raise ExitError(
            f"ExaBGP is not installed for {sys.executable}: "
            "apt install python3-exabgp, or pip install exabgp",
            EX_UNAVAILABLE,
        )
    where = Path(directory).absolute()
    text = build_config(profile, lease_command(str(where)), read_passwords(profile), port=port)
    lease_file = build_lease_file(profile, str(where), config_hash(profile), path)
    files = PreparedDirectory(where / "exabgp.conf", where / "exabgp.env", where / "lease.json", -1)
    try:
        where.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = _lock(where / "speaker.lock")
        for file in (files.env, files.lease, files.conf):
            remove_leftovers(file)
        write_atomic(files.env, "# Empty on purpose: ExaBGP's settings are in its environment.\n")
        write_atomic(files.lease, keep_last_routes(lease_file, files.lease).dump())
        write_atomic(files.conf, text, 0o600)
    except OSError as problem:
        code = EX_NOPERM if isinstance(problem, PermissionError) else EX_UNAVAILABLE
        raise ExitError(
            f"{problem.filename or where}: {problem.strerror}; "
            "make it writable for this user, or name another --directory",
            code,
        ) from None
    return replace(files, lock=lock)


def read_passwords(profile: Profile) -> dict[Address, str]:
    """Read the neighbors' MD5 passwords (RFC 2385), each the first line of its file.

    Returns address -> password, without the neighbors that have no ``md5_file``.

    Raises ExitError: 69 for an error that may pass; 78 where a file cannot be read, is no regular
    file, is readable by everybody, can be changed or replaced by others than root and this user, or
    holds no password that Linux takes.
    """
    return {
        neighbor.address: _password(Path(neighbor.md5_file), neighbor.address)
        for neighbor in profile.bgp.neighbors
        if neighbor.md5_file is not None
    }


def _password(file: Path, neighbor: Address) -> str:
    """Read a neighbor's MD5 password (RFC 2385): the first line of the file."""

    def refuse(problem: str) -> ExitError:
        return ExitError(f"{file}: the MD5 password of neighbor {neighbor} {problem}", EX_CONFIG)

    try:
        # A FIFO would wait for its writer otherwise.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            problem = _find_risk(os.fstat(descriptor), file)
            text = b"" if problem else os.read(descriptor, MAX_PASSWORD_FILE)
        finally:
            os.close(descriptor)
    except OSError as error:
        if may_pass(error):
            told = f"{file}: the MD5 password of neighbor {neighbor} cannot be read now"
            raise ExitError(f"{told}: {error.strerror}", EX_UNAVAILABLE) from None
        raise refuse(f"cannot be read: {error.strerror}") from None
    if problem:
        raise refuse(problem)
    try:
        password = text.split(b"\n")[0].rstrip(b"\r").decode("ascii")
    except UnicodeDecodeError:
        raise refuse("is not ASCII: write it with ASCII characters") from None
    if not password:
        raise refuse("is empty: write it into the first line")
    if len(password) > MAX_PASSWORD:
        raise refuse(f"is longer than the {MAX_PASSWORD} characters that Linux allows")
    return password


def _find_risk(found: os.stat_result, file: Path) -> str:
    """Return why a password file cannot be trusted or kept secret, empty where it can.

    Who may write to the file, or replace it in its directory, chooses the password; only root and
    our own user may.  Raises OSError where the directory cannot be looked at.
    """
    if not stat.S_ISREG(found.st_mode):
        return "is not in a regular file"
    if found.st_mode & stat.S_IRWXO:
        return f"can be read by everybody: chmod 0640 {file}"
    if found.st_mode & stat.S_IWGRP:
        return f"can be changed by its group: chmod 0640 {file}"
    if not _is_trusted(found.st_uid):
        return f"belongs to user {found.st_uid}: chown root {file}"
    folders = {file.absolute().parent, file.resolve().parent}
    return next(filter(None, map(_find_folder_risk, folders)), "")


def _find_folder_risk(folder: Path) -> str:
    found = folder.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        return f"can be replaced by others than its owner: chmod go-w {folder}"
    if not _is_trusted(found.st_uid):
        return f"can be replaced by user {found.st_uid}: chown root {folder}"
    return ""


def _is_trusted(uid: int) -> bool:
    """Return whether a user may own a password; root, who checks for another user, trusts all."""
    return uid in {0, os.geteuid()} or os.geteuid() == 0


def _lock(file: Path) -> int:
    """Lock the directory until this process ends; the lock stays over an exec."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise ExitError(
            f"{file.parent}: another speaker (pid {pid}) runs here; "
            "stop it, or name another --directory",
            EX_UNAVAILABLE,
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(lock, True)
    return lock
