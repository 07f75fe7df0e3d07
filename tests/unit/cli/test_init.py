"""`anycastd init`: five questions or options, and a pair of profiles that `check` accepts."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from anycastd.evidence.haproxy.config_names import parse_config_names
from anycastd.profile.validate import validate_profile
from support.processes import signal_pid

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
OPTIONS = {
    "--platform": "azure",
    "--vip": "172.20.0.10",
    "--region": "northeurope",
    "--other-region": "westeurope",
    "--local-address": "10.0.2.10",
    "--neighbors": "10.0.1.4,10.0.1.5",
    "--other-local-address": "10.1.2.10",
    "--other-neighbors": "10.1.1.4 10.1.1.5",
    "--local-as": "65010",
    "--networks": "10.0.0.0/15",
}
CONFIG = """\
global
    stats socket /run/haproxy/admin.sock level admin
    stats socket /run/haproxy/anycastd.sock mode 660 group haproxy level operator
    log ring@events format raw local0 notice
defaults
    mode http
frontend metrics
    bind :8405
frontend shop
    bind 172.20.0.10:443 ssl crt /etc/ssl/shop.pem
    default_backend shops
backend other
    server a 10.0.3.9:80 check
backend shops
    server a 10.0.3.10:80 check
"""


def run(
    directory: Path, changes: dict[str, str | None] | None = None, *more: str
) -> subprocess.CompletedProcess[str]:
    """Run `anycastd init` without a terminal; ``changes``: option -> its value, None: without."""
    options = {**OPTIONS, "--haproxy-config": os.devnull, **(changes or {})}
    if options["--haproxy-config"] == os.devnull:
        options["--haproxy-config"] = str(ROOT / "haproxy" / "haproxy.cfg")
    words = [word for name, value in options.items() if value is not None for word in (name, value)]
    return anycastd("init", "--directory", str(directory), *words, *more)


def anycastd(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal and without input."""
    return subprocess.run(
        [sys.executable, "-m", "anycastd", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=ENVIRONMENT,
    )


def list_files(directory: Path) -> list[str]:
    """List what is in a directory, hidden files too."""
    return sorted(each.name for each in directory.iterdir())


@pytest.mark.parametrize(
    ("platform", "changes"),
    [
        ("azure", {}),
        ("aws", {"--peer-as": "64512"}),
        ("plain", {"--peer-as": "64512", "--networks": None}),
    ],
)
def test_the_pair_is_accepted_by_check(
    tmp_path: Path, platform: str, changes: dict[str, str | None]
) -> None:
    """On each platform: no error, no warning, and the region where it was asked for wins."""
    done = run(tmp_path, {"--platform": platform, **changes})
    assert done.returncode == 0, done.stderr
    assert list_files(tmp_path) == ["profile-westeurope.yaml", "profile.yaml"]
    files = [str(tmp_path / name) for name in ("profile.yaml", "profile-westeurope.yaml")]
    for file in files:
        text = Path(file).read_text(encoding="utf-8")
        assert validate_profile(text, file).problems == ()
        assert max(map(len, text.splitlines())) <= 100
    checked = anycastd("check", "--offline", "--json", *files)
    assert checked.returncode == 0, checked.stdout
    answer = json.loads(checked.stdout)
    assert answer["problems"] == []
    first = answer["winners"][0]["order"][0][0]
    assert (first["region"], first["level"]) == ("northeurope", "preferred")


def test_names_of_an_existing_configuration(tmp_path: Path) -> None:
    """The frontend of the VIP with its backend, our own socket before the administrators', ring."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG, encoding="utf-8")
    done = run(tmp_path, {"--haproxy-config": str(config)})
    assert done.returncode == 0, done.stderr
    assert f"from {config}: frontend shop, backend shops" in done.stdout
    text = (tmp_path / "profile.yaml").read_text(encoding="utf-8")
    assert "serve: {all: [{backend: shops, usable: 1}, {frontend: shop}]}" in text
    assert "socket: /run/haproxy/anycastd.sock" in text
    assert "ring: events" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\xff",
        "frontend \x1b[2J\n bind :80\nbackend a,b\n server x y",
        "global\nstats socket\nlog\nfrontend\nbackend\nlisten",
        "global\n stats socket ipv4@127.0.0.1:9999\n stats socket fd@3",
        ".if defined(X)\nfrontend f\n bind :80\n.endif\n.endif\n.else",
        "backend b\n" * 5000 + " server a b",
        "frontend x\n" + " bind 172.20.0.10:80,[::]:80\n" * 1000,
    ],
)
def test_a_foreign_configuration_gives_names_or_nothing(text: str) -> None:
    """Whatever the file holds, only names that HAProxy accepts come out of it."""
    found = parse_config_names(text)
    names = [*found.backends, *(each.name for each in found.frontends)]
    assert all(re.fullmatch(r"[-A-Za-z0-9_.:]+", name) for name in names)
    assert found.socket is None
    found.choose("172.20.0.10")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--platform", "azur", '"azur" is no platform; did you mean azure?'),
        ("--vip", "172.20.0.0/24", '"172.20.0.0/24" is no single address; write 172.20.0.0'),
        ("--vip", "www.example.com", '"www.example.com" is no IP address; write one such as'),
        ("--local-address", "224.0.0.1", "224.0.0.1 is not the address of one host; write one"),
        ("--neighbors", "10.0.1.4,x", '"x" is no IP address'),
        ("--local-as", "sixty", '"sixty" is no AS number; write one such as 65010'),
        ("--region", "a\nb", '"a\\nb" cannot be a name'),
        ("--other-region", "northeurope", "it is this region; give each region its own name"),
        ("--haproxy-config", "/nowhere/haproxy.cfg", "No such file or directory"),
    ],
)
def test_a_wrong_option_is_said_with_the_right_form(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    """One message with the option, code 2, and nothing is written."""
    done = run(tmp_path, {option: value})
    assert done.returncode == 2
    line = " ".join(done.stderr.split())
    assert line.startswith(f"anycastd: {option}: ")
    assert said in line
    assert list_files(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--local-as": "12076"}, "bgp.local_as: AS 12076 belongs to ExpressRoute"),
        ({"--neighbors": "10.0.1.4"}, "Azure Route Server requires sessions to both instances"),
        ({"--vip": "10.0.3.1"}, "10.0.0.0/15"),
    ],
)
def test_answers_that_do_not_fit_write_nothing(
    tmp_path: Path, changes: dict[str, str | None], said: str
) -> None:
    """What `check` would refuse is refused here, with code 78."""
    done = run(tmp_path, changes)
    assert done.returncode == 78, done.stdout
    assert said in " ".join(done.stderr.split())
    assert list_files(tmp_path) == []


def test_what_is_missing_is_listed_at_once(tmp_path: Path) -> None:
    """Without a terminal nobody can be asked: one line names every option."""
    done = run(tmp_path, {"--vip": None, "--platform": None, "--neighbors": None})
    assert done.returncode == 2
    line = " ".join(done.stderr.split())
    assert line.endswith("these are missing: --platform, --vip, --neighbors, --peer-as")
    assert list_files(tmp_path) == []


def test_no_file_is_overwritten_without_force(tmp_path: Path) -> None:
    """Nor is only one of the two written."""
    own = tmp_path / "profile-westeurope.yaml"
    own.write_text("mine\n", encoding="utf-8")
    done = run(tmp_path)
    assert done.returncode == 4
    assert f"{own} exists; --force replaces it" in " ".join(done.stderr.split())
    assert list_files(tmp_path) == [own.name]
    assert own.read_text(encoding="utf-8") == "mine\n"
    assert run(tmp_path, None, "--force").returncode == 0
    assert "region: westeurope" in own.read_text(encoding="utf-8")
    assert list_files(tmp_path) == [own.name, "profile.yaml"]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """The reason, what to do, and no half of a pair."""
    done = run(tmp_path / "none")
    assert done.returncode == 69
    said = " ".join(done.stderr.split())
    assert "cannot be written: No such file or directory; name another one" in said


# On a terminal -----------------------------------------------------------------------------------


def talk(arguments: Sequence[str], answers: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Run `anycastd init` on a terminal; each answer is given when its prompt has been seen.

    Returns the exit code and what the terminal showed.
    """
    child, terminal = pty.fork()
    if child == 0:
        command = [sys.executable, "-m", "anycastd", "init", *arguments]
        os.execve(sys.executable, command, ENVIRONMENT)  # noqa: S606 - no shell is wanted
    shown, position, left = "", 0, list(answers)
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        while left and (at := shown.find(left[0][0], position)) >= 0:
            position = at + len(left[0][0])
            os.write(terminal, left.pop(0)[1].encode())
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux says so where the other end is closed
            break
        if not data:
            break
        shown += data.decode("utf-8", "replace")
    else:
        signal_pid(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert not left, f"no prompt {left[0][0]!r} in:\n{shown}"
    return os.waitstatus_to_exitcode(status), shown


QUESTIONS = [
    ("such as azure: ", "azur\n"),
    ("did you mean azure?", ""),
    ("such as azure: ", "azure\n"),
    ("such as 198.51.100.10: ", "172.20.0.10\n"),
    ("such as northeurope westeurope: ", "here there\n"),
    ("such as 10.0.2.10 10.0.1.4 10.0.1.5: ", "10.0.2.10\n"),
    ("the neighbors are missing", ""),
    ("such as 10.0.2.10 10.0.1.4 10.0.1.5: ", "10.0.2.10 10.0.1.4\n"),
    ("requires sessions to both instances", ""),
    ("such as 10.0.2.10 10.0.1.4 10.0.1.5: ", "10.0.2.10, 10.0.1.4, 10.0.1.5\n"),
    ("such as 65010 65515: ", "12076\n"),
    ("AS 12076 belongs to ExpressRoute", ""),
    ("such as 65010 65515: ", "65010\n"),
]


def test_five_questions_on_a_terminal(tmp_path: Path) -> None:
    """A bad answer is refused at once, with the right form, and asked for again."""
    arguments = [
        "--directory",
        str(tmp_path),
        "--haproxy-config",
        str(ROOT / "haproxy/haproxy.cfg"),
    ]
    code, shown = talk(arguments, [*QUESTIONS, ("[y/N] ", "y\n")])
    assert code == 0, shown
    assert "1/5  Which platform" in shown
    assert "5/5  Which AS numbers" in shown
    assert "change the lines marked EDIT in profile-there.yaml" in shown
    text = (tmp_path / "profile-there.yaml").read_text(encoding="utf-8")
    assert text.count("# EDIT: of this region's own appliance") == 4
    files = [str(tmp_path / name) for name in ("profile.yaml", "profile-there.yaml")]
    assert anycastd("check", "--offline", *files).returncode == 0


@pytest.mark.parametrize("answer", ["n\n", "\x04"])
def test_no_is_no(tmp_path: Path, answer: str) -> None:
    """Whoever says no, or closes the input, has nothing written."""
    arguments = [
        "--directory",
        str(tmp_path),
        "--haproxy-config",
        str(ROOT / "haproxy/haproxy.cfg"),
    ]
    words = [word for name, value in OPTIONS.items() for word in (name, value)]
    code, shown = talk([*arguments, *words], [("[y/N] ", answer)])
    assert code == 130, shown
    assert "nothing is written" in shown
    assert list_files(tmp_path) == []
