"""The speaker's directory: its lock, its files, the MD5 passwords (I/O)."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from anycastd.lease.settings import MIN_TTL_MAX, LeaseFile
from anycastd.profile.model import Address, Profile
from anycastd.speaker.exabgp.config import (
    build_config,
    config_hash,
    vip_prefixes,
    vips_hash,
)
from anycastd.system.atomic_file import remove_leftovers, write_atomic
from anycastd.system.exit_codes import EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, ExitError

MAX_PASSWORD = 80  # octets, Linux's TCP_MD5SIG_MAXKEYLEN


@dataclass(frozen=True, slots=True)
class Prepared:
    """What ``prepare`` left: the files, and the lock's descriptor, which lives as long as we do."""

    conf: Path
    settings: Path
    lease: Path
    lock: int


def build_lease_file(
    profile: Profile, directory: str, config: str, path: str | None = None
) -> LeaseFile:
    """Build the content of lease.json for a profile.

    ``config`` is the hash of the configuration that ExaBGP is to run.  ``path`` is where the
    profile is read again when an agent asks for a reload (None: it cannot be).
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
    )


def prepare_directory(
    profile: Profile, directory: str, path: str | None = None, *, port: int = 179
) -> Prepared:
    """Take the directory and write ExaBGP's and the lease's files into it; ``path``: the profile's.

    Raises ExitError: ExaBGP or the directory is missing, or another speaker holds it (69), no
    permission (77), an MD5 file cannot be used (78).
    """
    if find_spec("exabgp") is None:
        raise ExitError(
            f"ExaBGP is not installed for {sys.executable}: "
            "apt install python3-exabgp, or pip install exabgp",
            EX_UNAVAILABLE,
        )
    where = Path(directory).absolute()
    text = build_config(profile, str(where), read_passwords(profile), port=port)
    lease_file = build_lease_file(profile, str(where), config_hash(profile), path)
    made = Prepared(where / "exabgp.conf", where / "exabgp.env", where / "lease.json", -1)
    try:
        where.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = _lock(where / "speaker.lock")
        for file in (made.settings, made.lease, made.conf):
            remove_leftovers(file)
        write_atomic(
            made.settings, "# Empty on purpose: what ExaBGP is told stands in its environment.\n"
        )
        write_atomic(made.lease, lease_file.dump())
        write_atomic(made.conf, text, 0o600)
    except OSError as problem:
        code = EX_NOPERM if isinstance(problem, PermissionError) else EX_UNAVAILABLE
        raise ExitError(
            f"{problem.filename or where}: {problem.strerror}; "
            "make it writable for this user, or name another --directory",
            code,
        ) from None
    return Prepared(made.conf, made.settings, made.lease, lock)


def read_passwords(profile: Profile) -> dict[Address, str]:
    """Read the neighbors' MD5 passwords; ExitError (78) where one cannot be used."""
    return {
        neighbor.address: _password(Path(neighbor.md5_file), neighbor.address)
        for neighbor in profile.bgp.neighbors
        if neighbor.md5_file is not None
    }


def _password(file: Path, neighbor: Address) -> str:
    """Read a neighbor's MD5 password: the file's first line, as RFC 2385 allows it."""

    def refuse(what: str) -> ExitError:
        return ExitError(f"{file}: the MD5 password of neighbor {neighbor} {what}", EX_CONFIG)

    try:
        with file.open(encoding="ascii") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            password = stream.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise refuse("is not ASCII: write it with ASCII characters") from None
    except OSError as problem:
        raise refuse(f"cannot be read: {problem.strerror}") from None
    if mode & stat.S_IRWXO:
        raise refuse(f"can be read by everybody: chmod 0640 {file}")
    if not password:
        raise refuse("is empty: write it into the first line")
    if len(password) > MAX_PASSWORD:
        raise refuse(f"is longer than the {MAX_PASSWORD} characters that Linux allows")
    return password


def _lock(file: Path) -> int:
    """Take the directory for as long as this process lives, also after exec."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise ExitError(
            f"{file.parent}: another speaker (pid {holder}) runs here; "
            "stop it, or name another --directory",
            EX_UNAVAILABLE,
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(lock, True)
    return lock
