"""`anycastd check` on the appliance: what of its HAProxy cannot work, in one line each."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from anycastd.evidence.machine.permissions import explain_denied
from support.checked import BODY, VIP, Checked, a_machine, change, check, write_profile
from support.haproxy import HEAD, Web, run_haproxy, until

pytestmark = pytest.mark.root


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Give the profile of the machine."""
    return write_profile(tmp_path)


# FC-MASTER (haproxy issues 481, 1626 and 1512)
def test_the_socket_of_the_master(profile: Path, tmp_path: Path) -> None:
    """The master's socket in the profile cannot work, and that is said with code 78."""
    web = Web()
    with a_machine(), run_haproxy(tmp_path, BODY.replace("PORT", str(web.port))):
        master = tmp_path / "master.sock"
        process = subprocess.Popen(
            ["haproxy", "-W", "-S", str(master), "-f", str(write_config(tmp_path, web))],
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"},
            stderr=subprocess.DEVNULL,
        )
        try:
            change(profile, str(tmp_path / "stats.sock"), str(master))
            until(lambda: process.poll() is not None or listens(master), 30)
            assert process.poll() is None
            checked = Checked(str(profile))
        finally:
            process.terminate()
            process.wait(10)
    assert checked.code == 78, checked
    assert checked.lines[0] == (
        f"haproxy.main.socket: {master} is the socket of HAProxy's master (`haproxy -S`), which "
        "knows no servers; write the path of the `stats socket` line in haproxy.cfg"
    )


def listens(path: Path) -> bool:
    """Return whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def write_config(directory: Path, web: Web) -> Path:
    """Write a configuration for a second HAProxy, which needs no VIP."""
    other = directory / "other"
    other.mkdir()
    config = other / "haproxy.cfg"
    body = BODY.replace("PORT", str(web.port)).replace(f"{VIP}:80", "127.0.0.1:8099")
    config.write_text(HEAD.replace("{dir}", str(other)) + body, encoding="utf-8")
    return config


# FC-NOSERVERS (Linuxfabrik monitoring-plugins issue 835, haproxy issue 1047)
def test_backends_without_servers_and_proxies_that_are_disabled(
    profile: Path, tmp_path: Path
) -> None:
    """A rule on a backend that answers by itself never holds; a disabled frontend is not listed."""
    body = f"""\
frontend web
    bind {VIP}:80
    disabled
    default_backend sorry
frontend other
    bind {VIP}:81
    default_backend legacy
backend sorry
    http-request return status 200
backend legacy
    dispatch 127.0.0.1:9
"""
    change(profile, "{backend: web}", "{backend: sorry}, {backend: legacy}")
    with a_machine(), run_haproxy(tmp_path, body):
        checked = Checked(str(profile))
    remedy = "use {frontend: NAME} with the frontend that leads to it"
    assert checked.lines == [
        f"backend {name}: it has no servers: HAProxy calls it UP, a rule on its servers never "
        f"holds; {remedy}"
        for name in ("sorry", "legacy")
    ]
    assert checked.code == 78
    (line,) = [each for each in checked.problems if each.startswith("error: ")]
    assert line == (
        f"error: {profile}:14: services.web.serve.all[2].frontend: HAProxy main has no frontend "
        "web; it has other; one that is `disabled` in haproxy.cfg is not listed"
    )


# FC-SLOTS (litmus_paper issue 51, haproxy-ingress issue 409)
def test_empty_slots_and_numbers_that_are_too_high(profile: Path, tmp_path: Path) -> None:
    """Slots of a template are counted for people; a number above all servers is a warning."""
    web = Web()
    body = BODY.replace("PORT", str(web.port))
    body += f"    server-template t 1-7 127.0.0.1:{web.port} check disabled\n"
    change(profile, "{backend: web}", "{backend: web, usable: 9}")
    with a_machine(), run_haproxy(tmp_path, body):
        checked = Checked(str(profile))
    (line,) = checked.lines
    assert line == (
        "backend web: a rule wants 9 usable servers, and it has 8; write usable: 8 or less, or a "
        "share such as 50%"
    )
    assert "backend web: 7 of 8 servers are empty slots, which no share counts" in checked.words


# Attack M4 of the security review
def test_nothing_of_others_reaches_the_terminal_raw(profile: Path, tmp_path: Path) -> None:
    """A program that calls itself exabgp, and a file's name, cannot send escape sequences."""
    evil = "\x1b[2J\nanycastd: all profiles can be used\n"
    odd = profile.rename(tmp_path / "\x1b[31m.yaml")
    with a_machine():
        command = ["exabgp", "30", evil]
        with subprocess.Popen(command, executable="/bin/sleep", stderr=subprocess.DEVNULL) as other:
            checked = Checked(str(odd))
            other.kill()
    assert "\x1b" not in checked.output + checked.errors
    assert "\\x1b[31m.yaml:" in checked.output
    assert "anycastd: all profiles can be used" not in checked.output.splitlines()


# FC-SELF (exabgp-helpers issue 14)
def test_a_server_that_is_the_vip(profile: Path, tmp_path: Path) -> None:
    """A backup server with the address of the VIP is called a loop."""
    web = Web()
    body = BODY.replace("PORT", str(web.port)) + f"    server elsewhere {VIP}:80 check backup\n"
    body += "    server here 127.0.0.1:80 check backup\n"
    with a_machine(), run_haproxy(tmp_path, body):
        first, second = check(profile)
    assert first.startswith(f"server web/elsewhere: a loop: {VIP}:80 is a VIP of this machine")
    assert second.startswith("server web/here: a loop: 127.0.0.1:80 is this machine, at the port")


# FC-STORM (haproxy-ingress issue 869): rules that are told of a dead server late
def test_checks_that_are_slower_than_every_deadline(profile: Path, tmp_path: Path) -> None:
    """A backend whose checks take half a minute to notice a dead server is named."""
    web = Web()
    head = HEAD.replace("    mode http", "    mode http\n    default-server inter 10s")
    body = BODY.replace("PORT", str(web.port)).replace(" inter 50ms", "")
    with a_machine(), run_haproxy(tmp_path, body, head) as haproxy:
        (line,) = check(profile)
        assert line == (
            "backend web: HAProxy notices a dead server after up to 30 s (server s1: inter 10s, "
            "fall 3), and the route stays as long; write `inter 2s fastinter 500ms` on its "
            "default-server line"
        )
        haproxy.configure(body, head.replace("inter 10s", "inter 10s fastinter 1s"))
        haproxy.reload()
        assert check(profile) == []


@pytest.mark.parametrize(
    ("mode", "group", "directory", "denied"),
    [
        (0o660, "root", 0o755, "may not connect to"),
        (0o660, "nogroup", 0o755, ""),
        (0o666, "root", 0o755, ""),
        (0o666, "root", 0o750, "may not enter"),
        (0o606, "nogroup", 0o755, "may not connect to"),
    ],
)
def test_the_agents_user_may_not_use_the_socket(
    mode: int, group: str, directory: int, denied: str
) -> None:
    """What is said of another user's rights is what that user meets."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        path = Path(place, "stats.sock")
        listener.bind(str(path))
        listener.listen()
        path.chmod(mode)
        shutil.chown(path, group=group)
        Path(place).chmod(directory)
        found = explain_denied(str(path), os.W_OK, "nobody") or ""
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--init-groups"]
        done = subprocess.run(
            [*as_nobody, "/usr/bin/python3", "-c", code], capture_output=True, check=False
        )
    assert bool(found) == (b"PermissionError" in done.stderr) == bool(denied), (found, done.stderr)
    assert denied in found


def test_a_password_that_everybody_can_read(profile: Path, tmp_path: Path) -> None:
    """The speaker would end with code 78 for it; check says so before."""
    secret = tmp_path / "md5"
    secret.write_text("password\n", encoding="ascii")
    secret.chmod(0o644)
    change(profile, "{address: 10.0.1.4,", f"{{address: 10.0.1.4, md5_file: {secret},")
    with a_machine():
        (line,) = check(profile)
    assert line.startswith(f"{secret}: the MD5 password of neighbor 10.0.1.4 can be read by every")
    secret.unlink()
    change(profile, "haproxy:", f"web: {{listen: 10.0.2.10:9480, token_file: {secret}}}\nhaproxy:")
    with a_machine():
        assert check(profile) == [f"secret {secret}: there is no such file; write it, or remove it"]


def test_nothing_listens_on_the_vip(profile: Path, tmp_path: Path) -> None:
    """HAProxy runs, but no `bind` has the VIP, or not the port that the self-test asks."""
    web = Web()
    body = BODY.replace("PORT", str(web.port)).replace(f"{VIP}:80", "127.0.0.1:8080")
    with a_machine(), run_haproxy(tmp_path, body) as haproxy:
        (line,) = check(profile)
        assert line.startswith(f"nothing in this network namespace listens on VIP {VIP}, though")
        haproxy.configure(body.replace("127.0.0.1:8080", "*:8080"))
        haproxy.reload()
        assert check(profile) == []
        change(profile, "    failed:", "    self_test: {tcp: 80}\n    failed:")
        (line,) = check(profile)
        assert line.startswith(f"nothing listens on port 80 of VIP {VIP}, which the self-test")
