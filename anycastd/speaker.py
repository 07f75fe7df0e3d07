"""Profile -> ExaBGP's configuration and environment, then exec: ``anycastd speaker``.

``prepare`` writes everything into one directory, ``become`` turns this process into ExaBGP (same
pid).  ExaBGP starts the lease process (``anycastd.keeper``) as its API child.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import pwd
import re
import site
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from anycastd.profile import Address, Neighbor, Profile

EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG = 69, 77, 78
LOWEST_TTL_MAX = 30.0  # seconds; see lease_settings
LONGEST_PASSWORD = 80  # octets, Linux's TCP_MD5SIG_MAXKEYLEN
OPEN_WAIT = 20  # seconds that a peer may take to answer a connection with its OPEN

# See docs of ExaBGP's `reactor.speed`: 1.0 means that it looks around every 10 ms at the latest.
REACTOR_SPEED = 1.0
ROWS_AT_ONCE = 10


class SpeakerError(Exception):
    """The speaker cannot run; the message says what to do, ``code`` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Prepared:
    """What ``prepare`` left: the files, and the lock's descriptor, which lives as long as we do."""

    conf: Path
    settings: Path
    lease: Path
    lock: int


# The configuration (pure) ------------------------------------------------------------------------


def configuration(
    profile: Profile, directory: str, secrets: Mapping[Address, str], *, port: int = 179
) -> str:
    """Write the text of exabgp.conf.

    ``secrets`` are the neighbors' MD5 passwords (RFC 2385), ``port`` is the neighbors' TCP port.
    No routes stand in it: they are the lease's to say.  SpeakerError for a ``directory`` that
    ExaBGP could not read back.
    """
    families = _families(profile)
    neighbors = (
        _neighbor(profile, neighbor, families, secrets.get(neighbor.address), port)
        for neighbor in profile.bgp.neighbors
    )
    run = " ".join(
        map(_word, (sys.executable, "-P", "-m", "anycastd.keeper", f"{directory}/lease.json"))
    )
    process = f"process lease {{\n    run {run};\n    encoder json;\n}}\n"
    head = "# Written by `anycastd speaker` from its profile at each start; edit the profile.\n"
    return "\n".join((head + config_line(config_hash(profile)), process, *neighbors))


def config_line(config: str) -> str:
    """Write the line of exabgp.conf by which the shim knows which sessions ExaBGP runs."""
    return f"# config {config}\n"


def _families(profile: Profile) -> tuple[str, ...]:
    """IPv6 only where a service needs it: some route servers close sessions that offer it."""
    ipv6 = any(service.vip.version == 6 for service in profile.services.values())  # noqa: PLR2004
    return ("ipv4 unicast", "ipv6 unicast") if ipv6 else ("ipv4 unicast",)


def _neighbor(
    profile: Profile,
    neighbor: Neighbor,
    families: tuple[str, ...],
    password: str | None,
    port: int,
) -> str:
    lines = [
        f"router-id {profile.bgp.router_id};",
        f"local-address {neighbor.local_address};",
        f"local-as {profile.bgp.local_as};",
        f"peer-as {neighbor.peer_as};",
        f"hold-time {neighbor.hold_time};",
        "adj-rib-in false;",
        "adj-rib-out true;",
    ]
    if port != 179:  # noqa: PLR2004 - BGP's own
        lines.append(f"connect {port};")
    if neighbor.multihop is not None:
        lines.append(f"outgoing-ttl {neighbor.multihop};")
    if password is not None:
        # Without the second word 4.2 guesses: it takes hexadecimal digits for Base64.
        plain = re.fullmatch(r"[\w()+./=-]+", password, re.ASCII) is not None
        written = password if plain else base64.b64encode(password.encode()).decode()
        lines.append(f"md5-password {written};")
        lines.append(f"md5-base64 {'false' if plain else 'true'};")
    lines += [
        "capability {",
        "    route-refresh enable;",  # without it a route server resets the session instead
        "    graceful-restart disable;",  # a stale anycast route is a black hole
        "}",
        "family {",
        *(f"    {family};" for family in families),
        "}",
        "api {",
        "    processes [ lease ];",
        "    neighbor-changes;",
        "}",
    ]
    body = "\n".join(f"    {line}" for line in lines)
    return f"neighbor {neighbor.address} {{\n{body}\n}}\n"


def _word(text: str) -> str:
    """Quote a word of the configuration where it needs it."""
    if re.fullmatch(r"[\w/.,:=@%+-]+", text, re.ASCII):
        return text
    if re.search(r"[\"\\\0\n]", text) or not text.isascii():
        raise SpeakerError(f"{text!r}: ExaBGP cannot read this path; use another", EX_CONFIG)
    return f'"{text}"'


def config_hash(profile: Profile) -> str:
    """Hash what the sessions are made of: where it differs, the speaker has to take others over.

    The profile's values, not the text of the template; no passwords, only where they are kept.
    """
    neighbors = [
        [
            str(neighbor.address),
            neighbor.peer_as,
            str(neighbor.local_address),
            neighbor.hold_time,
            neighbor.multihop,
            neighbor.md5_file,
        ]
        for neighbor in profile.bgp.neighbors
    ]
    values = [profile.bgp.local_as, str(profile.bgp.router_id), _families(profile), neighbors]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def vips_hash(profile: Profile) -> str:
    """Hash the VIPs that may be announced."""
    return hashlib.sha256(" ".join(_vips(profile)).encode()).hexdigest()[:16]


def _vips(profile: Profile) -> list[str]:
    return sorted({service.prefix for service in profile.services.values()})


def lease_settings(
    profile: Profile, directory: str, config: str, path: str | None = None
) -> dict[str, object]:
    """Return the content of lease.json, the lease process's only argument.

    ``ttl_max`` (seconds) bounds the one long renewal that an agent sends before it re-executes
    itself; ``inherit`` (seconds) is how long routes outlive the lease process that held them
    when no agent renews them.  ``path`` is where the profile is read again when an agent asks for
    its sessions (None: it cannot).  Fields are only ever added: ExaBGP may start newer code with
    an older file.
    """
    return {
        "v": 1,
        "socket": f"{directory}/lease.sock",
        "profile": path,
        "prefixes": _vips(profile),
        "vips": vips_hash(profile),
        "neighbors": [str(neighbor.address) for neighbor in profile.bgp.neighbors],
        "local_as": profile.bgp.local_as,
        "ttl_max": max(LOWEST_TTL_MAX, 4 * profile.ttl),
        "inherit": profile.ttl,
        "config": config,
    }


def environment(directory: str, base: Mapping[str, str], user: str) -> dict[str, str]:
    """Return the environment to run the shim in: ``base`` without any word of it to ExaBGP.

    ExaBGP runs as ``user``, logs errors to stderr, opens no pipes and no port, and reads
    DIRECTORY/exabgp.env (which sets nothing) instead of /etc/exabgp/exabgp.env.
    """
    kept = {key: value for key, value in base.items() if not key.lower().startswith("exabgp")}
    # A checkout is not on the path of the processes that come; what is installed already is.
    ours = str(Path(__file__).resolve().parents[1])
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


def prepare(
    profile: Profile, directory: str, path: str | None = None, *, port: int = 179
) -> Prepared:
    """Take the directory and write ExaBGP's and the lease's files into it; ``path``: the profile's.

    Raises SpeakerError: ExaBGP or the directory is missing, or another speaker holds it (69), no
    permission (77), an MD5 file cannot be used (78).
    """
    if find_spec("exabgp") is None:
        raise SpeakerError(
            f"ExaBGP is not installed for {sys.executable}: "
            "apt install python3-exabgp, or pip install exabgp",
            EX_UNAVAILABLE,
        )
    where = Path(directory).absolute()
    text = configuration(profile, str(where), passwords(profile), port=port)
    settings = lease_settings(profile, str(where), config_hash(profile), path)
    made = Prepared(where / "exabgp.conf", where / "exabgp.env", where / "lease.json", -1)
    try:
        where.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = _lock(where / "speaker.lock")
        put(made.settings, "# Empty on purpose: what ExaBGP is told stands in its environment.\n")
        put(made.lease, json.dumps(settings, indent=1) + "\n")
        put(made.conf, text, 0o600)
    except OSError as problem:
        code = EX_NOPERM if isinstance(problem, PermissionError) else EX_UNAVAILABLE
        raise SpeakerError(
            f"{problem.filename or where}: {problem.strerror}; "
            "make it writable for this user, or name another --directory",
            code,
        ) from None
    return Prepared(made.conf, made.settings, made.lease, lock)


def passwords(profile: Profile) -> dict[Address, str]:
    """Read the neighbors' MD5 passwords; SpeakerError (78) where one cannot be used."""
    return {
        neighbor.address: _password(Path(neighbor.md5_file), neighbor.address)
        for neighbor in profile.bgp.neighbors
        if neighbor.md5_file is not None
    }


def _password(file: Path, neighbor: Address) -> str:
    """Read a neighbor's MD5 password: the file's first line, as RFC 2385 allows it."""

    def refuse(what: str) -> SpeakerError:
        return SpeakerError(f"{file}: the MD5 password of neighbor {neighbor} {what}", EX_CONFIG)

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
    if len(password) > LONGEST_PASSWORD:
        raise refuse(f"is longer than the {LONGEST_PASSWORD} characters that Linux allows")
    return password


def _lock(file: Path) -> int:
    """Take the directory for as long as this process lives, also after exec."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise SpeakerError(
            f"{file.parent}: another speaker (pid {holder}) runs here; "
            "stop it, or name another --directory",
            EX_UNAVAILABLE,
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(lock, True)
    return lock


def put(file: Path, text: str, mode: int = 0o640) -> None:
    """Put ``text`` in place at once: whoever reads sees the old file or the new one."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="ascii") as stream:
        os.fchmod(descriptor, mode)
        stream.write(text)
    new.replace(file)


def command(prepared: Prepared) -> list[str]:
    """Return the command line of ExaBGP; ``-P`` keeps the current directory out of its imports."""
    return [sys.executable, "-P", "-m", "anycastd.shim", str(prepared.conf)]


def become(profile: Profile, directory: str, path: str | None = None) -> None:
    """Prepare ``directory`` and turn this process into ExaBGP; returns only by SpeakerError.

    ``path`` is the profile's: from there other sessions can be taken over later.
    """
    prepared = prepare(profile, directory, None if path is None else str(Path(path).absolute()))
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = "root"  # must exist for ExaBGP's settings; a user without a name never changes
    settings = environment(str(prepared.conf.parent), os.environ, user)
    line = command(prepared)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(line[0], line, settings)  # noqa: S606 - that is the point
    except OSError as problem:
        raise SpeakerError(f"{line[0]}: {problem.strerror}", EX_UNAVAILABLE) from None
