"""The speaker: its files, what it refuses, and that it becomes ExaBGP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from anycastd.bgp.route import Route
from anycastd.lease.commands import Announce
from anycastd.lease.settings import LeaseFile
from anycastd.speaker import directory, permitted_routes, start
from anycastd.speaker.exabgp import config as config_module
from anycastd.system.exit_codes import ExitError
from support.exabgp import CHECKOUT, FIRST, LOCAL, SECOND, ExaBGP, loopback_profile
from support.peer import Peer, wait_for

SECRET = f"{{address: {FIRST}, peer_as: 65515, md5_file: %s}}"
PLAIN = f"{{address: {FIRST}, peer_as: 65515}}"


def blocks(text: str) -> dict[str, list[str]]:
    """Return the top blocks of a configuration: name -> stripped lines."""
    found = re.findall(r"^(\w+ \S+) {\n(.*?)^}\n", text, re.MULTILINE | re.DOTALL)
    return {name: [line.strip() for line in body.splitlines()] for name, body in found}


# The configuration -------------------------------------------------------------------------------


def test_each_neighbor_gets_its_own_settings() -> None:
    """A neighbor's own settings are in its block only; the fixed settings are in every block."""
    other = f"{{address: {FIRST}, peer_as: 64600, hold_time: 30, multihop: 3}}"
    text = config_module.build_config(
        loopback_profile(9, (PLAIN, other)), directory.lease_command("/run/x"), {}
    )
    first, second = blocks(text)[f"neighbor {FIRST}"], blocks(text)[f"neighbor {SECOND}"]
    assert {"peer-as 64600;", "hold-time 30;", "outgoing-ttl 3;"} <= set(first)
    assert {"peer-as 65515;", "hold-time 9;"} <= set(second)
    assert not [line for line in second if "ttl" in line]
    for lines in (first, second):
        assert {
            f"router-id {LOCAL};",
            f"local-address {LOCAL};",
            "local-as 65010;",
            "adj-rib-out true;",
            "route-refresh enable;",
            "graceful-restart disable;",
            "processes [ lease ];",
            "neighbor-changes;",
        } <= set(lines)
        assert not [line for line in lines if re.match("md5|connect|receive|static", line)]
    assert blocks(text)["process lease"] == [
        f"run {sys.executable} -P -m anycastd.speaker.lease_process /run/x/lease.json;",
        "encoder json;",
    ]


def test_ipv6_is_offered_only_where_a_service_needs_it() -> None:
    """Some route servers have no IPv6, so it is not offered without a reason."""
    six = (
        ("203.0.113.10/32", "2001:db8::10/128"),
        ("prepend: 0", 'prepend: 0\n    next_hop: "2001:db8::1"'),
    )
    assert "ipv6" not in config_module.build_config(
        loopback_profile(), directory.lease_command("/run/x"), {}
    )
    text = config_module.build_config(
        loopback_profile(9, *six), directory.lease_command("/run/x"), {}
    )
    assert text.count("ipv4 unicast;") == text.count("ipv6 unicast;") == 2


def test_a_neighbor_may_have_families_of_its_own() -> None:
    """Only these are offered to it; naming the usual ones changes nothing."""
    own = (PLAIN, PLAIN.replace("}", ", families: [ipv6]}"))
    text = config_module.build_config(
        loopback_profile(9, own), directory.lease_command("/run/x"), {}
    )
    assert text.count("ipv4 unicast;") == text.count("ipv6 unicast;") == 1
    usual = (PLAIN, PLAIN.replace("}", ", families: [ipv4]}"))
    hashes = [config_module.config_hash(loopback_profile(9, *each)) for each in ((), (usual,))]
    assert hashes[0] == hashes[1] != config_module.config_hash(loopback_profile(9, own))
    # That of release 0.1.0 for the same profile.
    assert hashes[0] == "baf5da0bba76bc65"


def test_the_hash_changes_with_the_sessions_only() -> None:
    """A reload may change services freely; changed sessions need a reconfiguration."""
    same = config_module.config_hash(loopback_profile())
    services = (("203.0.113.10/32", "203.0.113.99/32"), ("prepend: 0", "prepend: 2"))
    assert config_module.config_hash(loopback_profile(9, *services)) == same
    changed = {
        config_module.config_hash(loopback_profile(*change))
        for change in (
            (30,),
            (9, ("local_as: 65010", "local_as: 65011")),
            (9, (PLAIN, f"{{address: {FIRST}, peer_as: 64600}}")),
            (9, (PLAIN, SECRET % "/etc/anycastd/md5")),
            (9, (f"    - {PLAIN}\n", "")),
        )
    }
    assert len(changed | {same}) == 6


def test_the_lease_file_has_what_may_be_announced() -> None:
    """The lease process reads nothing but this file."""
    config = config_module.config_hash(loopback_profile())
    file = directory.build_lease_file(loopback_profile(), "/run/x", config, "/etc/x.yaml")
    assert json.loads(file.dump()) == {
        "v": 1,
        "socket": "/run/x/lease.sock",
        "profile": "/etc/x.yaml",
        "vips": permitted_routes.vips_hash(loopback_profile()),
        "prefixes": ["203.0.113.10/32"],
        "neighbors": [FIRST, SECOND],
        "local_as": 65010,
        "ttl_max": 30.0,
        "inherit": 2.0,
        "config": config,
        "routes": [
            {
                "neighbor": neighbor,
                "next_hop": LOCAL,
                "prefixes": ["203.0.113.10/32"],
                "attributes": [{"shortest": 1, "longest": 7, "med": None, "communities": []}],
            }
            for neighbor in (FIRST, SECOND)
        ],
    }
    assert LeaseFile.load(file.dump()) == file


def test_exabgp_gets_nothing_from_the_environment() -> None:
    """A variable for another ExaBGP must not reach this one, however it is written."""
    base = {
        "PATH": "/usr/bin",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "exabgp_cli_pipe": "/run/exabgp/",
        "exabgp.daemon.user": "nobody",
        "EXABGP_ENVFILE": "/etc/exabgp/exabgp.env",
        "exabgp_tcp_port": "1790",
    }
    made = start.build_environment("/run/x", base, "anycastd")
    assert made["PATH"] == "/usr/bin"
    assert made["NOTIFY_SOCKET"] == "/run/systemd/notify"
    assert made["EXABGP_ENVFILE"] == "/run/x/exabgp.env"
    assert made["exabgp_daemon_user"] == "anycastd"
    assert not {"exabgp_cli_pipe", "exabgp.daemon.user", "exabgp_tcp_port"} & made.keys()


def test_a_directory_that_exabgp_cannot_read_is_refused() -> None:
    """ExaBGP could not start the lease process from there."""
    with pytest.raises(ExitError, match="cannot read this path") as refused:
        config_module.build_config(loopback_profile(), directory.lease_command('/run/"x'), {})
    assert refused.value.code == 78


# With ExaBGP -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password", ["p4ss/word", "abcdef012345", "a\"b'c;d#e{f}\\g h", "x" * 80], ids=str
)
def test_md5_passwords_are_what_the_peer_has(
    exabgp_python: str, tmp_path: Path, password: str
) -> None:
    """The kernel drops segments with another signature, so a session proves the same password."""
    where = tmp_path / "a b"  # ExaBGP reads a path with a space, too
    where.mkdir()
    passwords = {ip_address(FIRST): password}
    with (
        Peer(FIRST, md5=(LOCAL, password)) as peer,
        ExaBGP(exabgp_python, where, peer.port, passwords=passwords) as exabgp,
    ):
        peer.wait_up()
        exabgp.ask(Announce(Route(FIRST, "203.0.113.10/32", LOCAL, (65010,))))
        peer.wait(lambda _: peer.table)


# The directory -----------------------------------------------------------------------------------


def test_only_the_group_may_read_the_files_without_passwords(tmp_path: Path) -> None:
    """exabgp.conf may contain passwords; the group may read the other files."""
    secret = tmp_path / "md5"
    secret.write_text("p4ssword\nnotes\n", encoding="utf-8")
    secret.chmod(0o640)
    given = loopback_profile(9, (PLAIN, SECRET % secret))
    prepared = directory.prepare_directory(given, str(tmp_path / "run" / "speaker"))
    try:
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (prepared.conf, prepared.env, prepared.lease)
        }
        assert modes == {"exabgp.conf": 0o600, "exabgp.env": 0o640, "lease.json": 0o640}
        assert "md5-password p4ssword;" in prepared.conf.read_text(encoding="utf-8")
        assert json.loads(prepared.lease.read_text(encoding="utf-8"))["v"] == 1
        assert {path.name for path in prepared.conf.parent.iterdir()} == {*modes, "speaker.lock"}
    finally:
        os.close(prepared.lock)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, "No such file"),
        (b"", 0o600, "is empty"),
        (b"\np4ssword\n", 0o600, "is empty"),
        (b"p4ssword\n", 0o644, "can be read by everybody: chmod 0640"),
        (b"p\xc3\xa4ssword\n", 0o600, "is not ASCII"),
        (b"x" * 81, 0o600, "longer than the 80 characters"),
    ],
)
def test_an_md5_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, mode: int, message: str
) -> None:
    """The message names file, neighbor and remedy; nothing is written before."""
    secret = tmp_path / "md5"
    if content is not None:
        secret.write_bytes(content)
        secret.chmod(mode)
    where = tmp_path / "run"
    with pytest.raises(ExitError, match=message) as refused:
        directory.prepare_directory(loopback_profile(9, (PLAIN, SECRET % secret)), str(where))
    assert refused.value.code == 78
    assert str(secret) in str(refused.value)
    assert FIRST in str(refused.value)
    assert not where.exists()


def test_a_place_that_is_no_directory_is_named(tmp_path: Path) -> None:
    """The message names the path."""
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(ExitError, match=str(file)) as refused:
        directory.prepare_directory(loopback_profile(), str(file))
    assert refused.value.code == 69


def test_a_missing_exabgp_is_reported_before_anything_is_written(tmp_path: Path) -> None:
    """Without ExaBGP, the message names the package to install, and the code is 69."""
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'exabgp' else real(name)\n"
        "from anycastd.speaker import directory\n"
        "from anycastd.system.exit_codes import ExitError\n"
        "from support.exabgp import loopback_profile\n"
        "try: directory.prepare_directory(loopback_profile(), sys.argv[1])\n"
        "except ExitError as error: print(error); sys.exit(error.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=environment(),
    )
    assert done.returncode == 69, done.stderr
    assert "apt install python3-exabgp" in done.stdout
    assert not (tmp_path / "run").exists()


def environment() -> dict[str, str]:
    """Return an environment in which the checkout and the tests' helpers can be imported."""
    path = os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "tests")))
    return dict(os.environ, PYTHONPATH=path)


# What it becomes ---------------------------------------------------------------------------------

BECOME = """\
import sys
from anycastd.speaker import start
from anycastd.system.exit_codes import ExitError
from support.exabgp import loopback_profile
try:
    start.exec_exabgp(loopback_profile(), sys.argv[1])
except ExitError as error:
    print(error)
    sys.exit(error.code)
"""


def test_it_becomes_exabgp_and_keeps_its_directory_locked(tmp_path: Path) -> None:
    """Same pid, with a lease process as child; no second speaker until the first has ended."""
    command = [sys.executable, "-c", BECOME, str(tmp_path)]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        first = subprocess.Popen(command, env=environment(), stdout=stream, stderr=stream)
    try:
        socket_file = tmp_path / "lease.sock"
        wait_for(socket_file.exists, 15, "the lease's socket")
        line = Path(f"/proc/{first.pid}/cmdline").read_bytes().split(b"\0")
        assert b"anycastd.speaker.exabgp.shim" in line
        assert os.readlink(f"/proc/{first.pid}/cwd") == "/"
        with socket.socket(socket.AF_UNIX) as agent:  # the file is there before it listens
            wait_for(lambda: agent.connect_ex(str(socket_file)) == 0, 5, "the lease")
        second = subprocess.run(
            command,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=30,
        )
        assert second.returncode == 69
        assert f"another speaker (pid {first.pid}) runs here" in second.stdout
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        os.close(directory.prepare_directory(loopback_profile(), str(tmp_path)).lock)
    finally:
        first.kill()
        first.wait(10)
    assert log.read_bytes() == b""


def test_the_list_of_the_profile_before_is_kept(tmp_path: Path) -> None:
    """The agent may still run that profile; a file that cannot be read adds nothing."""
    path, config = tmp_path / "lease.json", "0123456789abcdef"
    file = directory.build_lease_file(loopback_profile(), "/run/x", config)
    assert directory.keep_last_routes(file, path).last_routes == ()
    path.write_text("{", encoding="utf-8")
    assert directory.keep_last_routes(file, path).last_routes == ()
    older = replace(file, vips="older", routes=(file.routes or ())[:1])
    path.write_text(older.dump(), encoding="utf-8")
    kept = directory.keep_last_routes(file, path)
    assert kept.last_routes == older.routes
    path.write_text(kept.dump(), encoding="utf-8")
    assert directory.keep_last_routes(file, path) == kept, "the same profile once more"
