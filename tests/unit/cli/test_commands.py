"""What a person gets who types something wrong: one message, a documented code, nothing left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anycastd.cli.main import COMMANDS
from support.appliance import Appliance, own_network
from support.haproxy import without_capability
from support.profiles import TEXT

ROOT = Path(__file__).resolve().parents[3]


def anycastd(
    *arguments: str, before: tuple[str, ...] = (), within: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would."""
    return subprocess.run(
        [*before, sys.executable, "-m", "anycastd", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=within,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Give a sound profile's file."""
    path = tmp_path / "profile.yaml"
    path.write_text(
        TEXT.replace("/run/haproxy/anycastd.sock", str(tmp_path / "none.sock")), encoding="utf-8"
    )
    return path


def test_help_names_every_command() -> None:
    """And each command has its own help."""
    shown = anycastd("--help")
    assert shown.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command} ", shown.stdout, re.MULTILINE), command
        assert anycastd(command, "--help").returncode == 0


@pytest.mark.parametrize("arguments", [(), ("run",), ("status", "--loud")])
def test_wrong_usage_is_code_2(arguments: tuple[str, ...]) -> None:
    """Argparse's message, and nothing done."""
    done = anycastd(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")


@pytest.mark.parametrize(
    ("command", "hint"), [("stauts", "did you mean status? "), ("x\033[2J", ""), ("Ω", "")]
)
def test_an_unknown_command_is_said_in_one_line(command: str, hint: str) -> None:
    """With the one that was probably meant, and nothing unprintable."""
    done = anycastd(command)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert line.endswith(f"; {hint}`anycastd --help` lists them all")


@pytest.mark.parametrize("command", ["run", "speaker", "check"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("region: [", r"profile\.yaml:\d+: "),
        ("region: a\nregion: b\n", r"profile\.yaml:2: region: "),
        (TEXT.replace("failed: withdraw", "failed: maybe"), r"profile\.yaml:\d+: .*failed: "),
        (TEXT.replace("peer_as: 65515", "peer_as: 0"), r"profile\.yaml:\d+: .*peer_as: "),
        ("\ufeff\0", r"profile\.yaml:1: "),
    ],
)
def test_a_wrong_profile_is_said_with_file_line_and_key(
    tmp_path: Path, command: str, text: str, message: str
) -> None:
    """Code 78 from every command that reads one, and nothing is left behind."""
    path = tmp_path / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    where = [str(path)] if command == "check" else ["--profile", str(path)]
    if command != "check":
        where += ["--directory", str(tmp_path / "run")]
    done = anycastd(command, *where)
    assert done.returncode == 78
    assert re.search(message, done.stderr.replace("\n", " ")), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["run", "speaker", "check"])
def test_a_profile_that_cannot_be_read(tmp_path: Path, command: str) -> None:
    """Missing, a folder, or no text: one line each, code 78."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, binary):
        where = [str(path)] if command == "check" else ["--profile", str(path)]
        done = anycastd(command, *where)
        assert done.returncode == 78
        assert str(path) in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "speaker", "bfd", "loopback", "check"])
def test_a_profile_that_cannot_be_read_now(command: str) -> None:
    """An error of the disk has code 69, with which systemd starts a unit again."""
    path = "/proc/self/mem"  # it can be opened; its first byte cannot be read
    more = {"check": [path], "loopback": ["add", "--profile", path]}
    done = anycastd(command, *more.get(command, ["--profile", path]))
    assert done.returncode == 69
    assert f"{path}: cannot be read now: Input/output error" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_without_an_agent_is_code_3(tmp_path: Path) -> None:
    """Unknown, for a monitor; with what to do, for a person."""
    done = anycastd("status", "--directory", str(tmp_path))
    assert done.returncode == 3
    assert "no agent answers there; start it" in done.stderr


@pytest.mark.root
def test_no_privilege_for_the_loopback_is_code_77(profile: Path, tmp_path: Path) -> None:
    """The agent says which capability it needs, before it announces anything."""
    with own_network():
        done = anycastd(
            *("run", "--profile", str(profile), "--directory", str(tmp_path / "run")),
            *("--lease", str(tmp_path / "lease.sock")),
            before=without_capability("net_admin"),
        )
    assert done.returncode == 77, done.stderr
    assert "CAP_NET_ADMIN" in done.stderr
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.root
def test_a_directory_that_cannot_be_written_is_said(profile: Path) -> None:
    """No traceback, and what to do instead."""
    done = anycastd("run", "--profile", str(profile), "--directory", "/proc/nowhere")
    assert done.returncode in (69, 77)
    assert "/proc/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_tells_what_run_would_do(profile: Path) -> None:
    """Without a HAProxy: it says so, and shows the decision; ExaBGP's configuration if asked."""
    done = anycastd("check", "--here", str(profile))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert f"HAProxy main: is not running ({profile.parent}/none.sock: No such file" in said
    assert "web 203.0.113.10/32 would be at first WITHDRAWN: HAProxy is not running" in said
    assert "203.0.113.10/32 would be withdrawn: HAProxy is not" in " ".join(done.stderr.split())
    assert "neighbor 192.0.2.4 {" not in done.stdout
    assert "1 profile can be used" in done.stdout.splitlines()[-1]
    assert "neighbor 192.0.2.4 {" in anycastd("check", "--show-config", str(profile)).stdout


def test_output_needs_no_letter_that_a_terminal_lacks(tmp_path: Path) -> None:
    """A letter that the locale cannot show is shown by its code, and the command goes on."""
    path = tmp_path / "pr\u00f6fil.yaml"
    path.write_text(TEXT, encoding="utf-8")
    done = anycastd("check", str(path), before=("env", "PYTHONIOENCODING=ascii"))
    assert "pr\\xf6fil.yaml:" in done.stdout
    assert "Traceback" not in done.stderr


MATRIX = """\
web 203.0.113.10/32: who wins (rows: northeurope, columns: westeurope)
               preferred 4  degraded 6   standby 9    withdrawn
  preferred 2  northeurope  northeurope  northeurope  northeurope
  degraded 5   westeurope   northeurope  northeurope  northeurope
  standby 8    westeurope   westeurope   northeurope  northeurope
  withdrawn    westeurope   westeurope   westeurope   nobody
"""


def test_check_compares_the_shipped_regions() -> None:
    """Who wins, for each pair of levels; the shipped profiles have no tie."""
    files = [str(ROOT / "profiles" / f"{name}.yaml") for name in ("primary", "secondary")]
    done = anycastd("check", *files)
    assert done.returncode == 0, done.stderr
    assert MATRIX in done.stdout
    more = " ".join(anycastd("check", "--verbose", *files).stdout.split())
    assert (
        "northeurope wins with 65515 65010 before westeurope with 65515 65010 65010 65010" in more
    )
    assert "ECMP" not in more


def test_check_refuses_regions_that_tie(tmp_path: Path) -> None:
    """Equal paths split the traffic between the regions, which nobody has said is meant."""
    text = (ROOT / "profiles" / "primary.yaml").read_text(encoding="utf-8")
    twin = tmp_path / "twin.yaml"
    twin.write_text(text.replace("region: northeurope", "region: westeurope"), encoding="utf-8")
    done = anycastd("check", str(ROOT / "profiles" / "primary.yaml"), str(twin))
    assert done.returncode == 78
    said = " ".join(done.stderr.split())
    assert "preferred in westeurope ties with preferred in northeurope" in said
    assert "the profiles do not fit together" in done.stderr


def test_check_says_that_prepends_do_not_steer(profile: Path) -> None:
    """And what that makes of degrading and draining."""
    text = profile.read_text(encoding="utf-8")
    profile.write_text(text.replace("bgp:\n", "bgp:\n  prepends_steer: false\n"), encoding="utf-8")
    done = anycastd("check", str(profile))
    assert done.returncode == 0, done.stderr
    assert "prepends do not steer here: degraded and drained services are withdrawn" in done.stdout


@pytest.mark.root
def test_check_lists_names_that_differ(tmp_path: Path) -> None:
    """What the profile names and HAProxy lacks, and the reverse; and what run would do."""
    with own_network(), Appliance(tmp_path) as one:
        text = one.profile.read_text(encoding="utf-8").replace("{frontend: web}", "{frontend: www}")
        text = text.replace(
            "    failed:", "    maintenance: {map: /none.map, key: web}\n    failed:"
        )
        one.profile.write_text(text, encoding="utf-8")
        done = anycastd("check", str(one.profile))
        offline = anycastd("check", "--offline", str(one.profile))
    assert done.returncode == 78, done.stderr
    wrong, said = " ".join(done.stderr.split()), " ".join(done.stdout.split())
    assert "HAProxy main has no frontend www -> it has web; one that is `disabled`" in wrong
    assert "HAProxy main has no map /none.map -> write its path as haproxy.cfg" in wrong
    assert "anycastd: this cannot work on this machine: 2 errors" in done.stderr
    assert "no rule names its frontend web" in said
    assert "would be at first WITHDRAWN: a rule names a frontend" in said
    assert offline.returncode == 0, "the files alone are sound"
