"""`anycastd status` as a person, a monitor and a program see it."""

from __future__ import annotations

import copy
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from anycastd.bgp.session import Session
from anycastd.cli.regions_text import compute_regions_severity, format_regions
from anycastd.cli.service_text import format_service
from anycastd.cli.status_text import MAX_SERVICES, format_status
from anycastd.decision.levels import Level
from anycastd.evidence.haproxy.snapshot import Gone, Unreadable
from anycastd.views.severity import SEVERITIES
from support.processes import signal_pid
from support.snapshots import NO, YES
from support.status_schema import check_status
from support.statuses import look, status
from support.strange_agent import strange_agent

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = json.loads((ROOT / "docs/status.example.json").read_text(encoding="utf-8"))
DOWN = Session.DOWN
SHAPES = [
    status(look(YES, YES)),
    status(look(NO, NO)),
    status(look(NO, NO), held=0),
    status(look(YES, NO, NO), level=Level.DEGRADED, held=4),
    status(look(YES, YES), sessions=(DOWN, DOWN)),
    status(look(YES, YES), sessions=(Session.UP, DOWN), rib="differs"),
    status(look(YES, YES), sessions=(Session.UNKNOWN, Session.UNKNOWN)),
    status(Gone(100.0, "refused"), held=0),
    status(Unreadable(100.0, 99.0, 1, "no answer within 1 s")),
    EXAMPLE,
]


def command(*arguments: str, directory: Path) -> list[str]:
    """Give the command line of `anycastd status`."""
    return [sys.executable, "-m", "anycastd", "status", *arguments, "--directory", str(directory)]


def run(
    found: dict[str, Any], directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `anycastd status` against an agent that answers with ``found``."""
    with strange_agent(directory, json.dumps(found).encode() + b"\n"):
        return subprocess.run(
            command(*arguments, directory=directory),
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=60,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )


@pytest.mark.parametrize("found", SHAPES)
@pytest.mark.parametrize("vip", ["203.0.113.10/32", "2001:db8:1234:5678:9abc:def0:1234:5678/128"])
@pytest.mark.parametrize("name", ["web", "a-service-with-a-name-that-is-rather-long"])
def test_nothing_is_wider_than_80_columns(found: dict[str, Any], vip: str, name: str) -> None:
    """Only a single word that is longer; with colours and without, it is the same text."""
    shown = copy.deepcopy(check_status(found))
    shown["services"] = {
        name if key == "web" else key: each for key, each in shown["services"].items()
    }
    for service in shown["services"].values():
        service["vip"] = vip
    lines = [*format_status(shown)]
    lines += [
        line
        for key, service in shown["services"].items()
        for line in format_service(key, service, shown["at"])
    ]
    for line in lines:
        assert len(line) <= 80 or len(line.split()) <= 2, line
    coloured = "\n".join(format_status(shown, colour=True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == "\n".join(format_status(shown))


@pytest.mark.parametrize("count", [12, 1000])
def test_many_services_stay_readable(count: int) -> None:
    """Those that are not as wanted come first; the others are counted."""
    found = copy.deepcopy(SHAPES[0])
    web = found["services"]["web"]
    found["services"] = {f"web{number}": web for number in range(count)}
    found["services"][f"web{count - 1}"] = SHAPES[2]["services"]["web"]
    lines = list(format_status(found))
    assert len(lines) < 50
    assert f"{count - 1} of {count} services preferred, 1 withdrawn" in lines[0]
    assert sum(f"web{count - 1} " in line for line in lines) == 2
    if count > MAX_SERVICES:
        assert f"and {count - MAX_SERVICES} more as wanted" in lines


def test_the_page_has_what_the_code_prints() -> None:
    """docs/status.md shows docs/status.example.json, and so does README.md."""
    page = (ROOT / "docs/status.md").read_text(encoding="utf-8")
    shown = "\n".join(format_status(EXAMPLE))
    assert f"```text\n{shown}\n```" in page
    web = format_service("web", EXAMPLE["services"]["web"], EXAMPLE["at"])
    assert "```text\n" + "\n".join(web) + "\n```" in page
    assert shown in (ROOT / "README.md").read_text(encoding="utf-8")


def region(*vips: tuple[str, str, tuple[int, ...]], detail: str = "") -> dict[str, Any]:
    """Give what a region reports of VIPs: (prefix, level, path); without a path it serves not."""
    return {
        "agent": "192.0.2.10:9480",
        "detail": detail,
        "vips": {
            vip: {"serves": bool(path), "draining": False, "level": level, "path": list(path)}
            for vip, level, path in vips
        },
    }


A, B = "203.0.113.10/32", "2001:db8:1234:5678:9abc:def0:1234:5678/128"
NORTH = region((A, "preferred", (65010,)), (B, "withdrawn", ()))
WEST = region((A, "standby", (65010,) * 7), (B, "preferred", (65010,) * 3))


SILENT = region(detail="does not answer at 192.0.2.20:9480")


@pytest.mark.parametrize(
    ("west", "steers", "severity", "texts"),
    [
        (WEST, True, 1, ("preferred 65010 wins", "preferred 65010 x3 wins")),
        (WEST, False, 1, ("preferred 65010 wins", "standby 65010 x7 wins")),
        (SILENT, True, 2, ("preferred 65010 wins?", "no region is known to announce api")),
        (region((A, "preferred", (65010,))), True, 2, ("(this) preferred 65010 wins",)),
    ],
)
def test_all_regions_in_one_table(
    west: dict[str, Any], severity: int, texts: tuple[str, ...], *, steers: bool
) -> None:
    """Who announces what, with which path, and who wins; never wider than 80 columns."""
    services = {"web": {"vip": A, "steers": steers}, "api": {"vip": B, "steers": steers}}
    answer: dict[str, Any] = {"v": 1, "region": "northeurope", "at": "2026-11-30T03:01:20Z"}
    answer |= {"services": services, "regions": {"northeurope": NORTH, "westeurope": west}}
    lines = list(format_regions(answer))
    assert compute_regions_severity(answer) == severity
    assert lines[0].startswith(f"{SEVERITIES[severity].upper()} all regions: ")
    assert all(len(line) <= 80 for line in lines)
    text = " ".join(" ".join(lines).split())
    for each in texts:
        assert f" {each} " in text
    del answer["services"]["api"]
    (row,) = [line for line in format_regions(answer) if line.startswith("web ")]
    assert row.split()[1:4] == [A.removesuffix("/32"), "northeurope", "(this)"]


def test_all_is_for_all_services(tmp_path: Path) -> None:
    """--all with a service, or to an agent that does not know it, ends with what to do."""
    assert run(EXAMPLE, tmp_path, "--all", "web").returncode == 2
    (tmp_path / "agent.sock").unlink()
    older = run({"v": 1, "error": "unknown question 'regions'"}, tmp_path, "--all")
    assert (older.returncode, older.stdout) == (3, "")


def test_one_line_for_monitoring(tmp_path: Path) -> None:
    """-q: the severity and the verdict, and the exit code."""
    done = run(EXAMPLE, tmp_path, "-q")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == f"CRITICAL {EXAMPLE['verdict']}\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "coloured"),
    [
        ((), {}, False),
        (("--color", "always"), {}, True),
        (("--color=always",), {"NO_COLOR": "1"}, True),
        (("--color", "never"), {}, False),
    ],
)
def test_colour_into_a_pipe(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], *, coloured: bool
) -> None:
    """Only where it was asked for."""
    done = run(EXAMPLE, tmp_path, *arguments, **environment)
    assert done.returncode == 2
    assert ("\033[1;31mCRITICAL\033[0m" in done.stdout) is coloured
    assert ("\033" in done.stdout) is coloured


def test_details_of_one_service(tmp_path: Path) -> None:
    """The verdict, then everything about this service, and nothing about another one."""
    done = run(EXAMPLE, tmp_path, "api")
    assert done.returncode == 2
    assert "rule   backend api has at least 1 usable: true: 2 of 2 usable" in done.stdout
    assert "web1" not in done.stdout


def test_an_unknown_service_lists_those_there_are(tmp_path: Path) -> None:
    """With the one that was probably meant."""
    done = run(EXAMPLE, tmp_path, "wbe")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "anycastd: there is no service wbe; did you mean web?; the profile has: web, api\n"
    )


def test_json_of_an_older_agent_has_the_new_keys(tmp_path: Path) -> None:
    """Those that the command can compute."""
    old = copy.deepcopy(EXAMPLE)
    for key in ("verdict", "severity", "at"):
        del old[key]
    done = run(old, tmp_path, "--json")
    assert check_status(json.loads(done.stdout))["verdict"] == EXAMPLE["verdict"]


def read_until(terminal: int, end: bytes) -> bytes:
    """Read from a terminal until a text has come; AssertionError after 60 s."""
    data, ends_at = b"", time.monotonic() + 60
    while end not in data:
        assert time.monotonic() < ends_at, data[-300:]
        if select.select([terminal], [], [], 0.1)[0]:
            data += os.read(terminal, 65536)
    return data


def test_watch_restores_the_terminal(tmp_path: Path) -> None:
    """It draws in place; Ctrl-C and SIGTERM leave the terminal as it was."""
    with strange_agent(tmp_path, json.dumps(EXAMPLE).encode() + b"\n"):
        for number in (signal.SIGINT, signal.SIGTERM):
            master, slave = pty.openpty()
            process = subprocess.Popen(
                ["env", "--default-signal", *command("--watch=0.2", directory=tmp_path)],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
            )
            os.close(slave)
            try:
                assert b"\033[?1049h" in read_until(master, b"CRITICAL")
                read_until(master, b"CRITICAL")
                signal_pid(process.pid, number)
                assert read_until(master, b"\033[?1049l").endswith(b"\033[?25h\033[?1049l")
                assert process.wait(30) == 130
            finally:
                process.kill()
                process.wait()
                os.close(master)


def test_watch_into_a_pipe_has_no_escape_sequences(tmp_path: Path) -> None:
    """One status after the other."""
    with strange_agent(tmp_path, json.dumps(EXAMPLE).encode() + b"\n"):
        process = subprocess.Popen(
            ["env", "--default-signal", *command("--watch=0.2", directory=tmp_path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        try:
            shown = b""
            while shown.count(b"CRITICAL") < 2:
                shown += process.stdout.readline()
            assert b"\033" not in shown
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.mark.parametrize("interval", ["0", "nan", "web", "-1", "99999"])
def test_a_strange_interval_is_refused(tmp_path: Path, interval: str) -> None:
    """With what to write."""
    done = run(EXAMPLE, tmp_path, f"--watch={interval}")
    assert done.returncode == 2
    assert "is no number of seconds" in done.stderr


def test_the_page_has_the_table_of_all_regions() -> None:
    """docs/status.md shows what the code prints."""
    third = region(detail="does not answer at 192.0.2.30:9480")
    answer: dict[str, Any] = {"v": 1, "region": "northeurope", "at": "2026-11-30T03:01:20Z"}
    answer |= {"services": {"web": {"vip": A, "steers": True}}}
    answer |= {"regions": {"northeurope": NORTH, "westeurope": WEST, "eastus": third}}
    *shown, blank, _ = format_regions(answer)
    assert not blank
    page = (ROOT / "docs/status.md").read_text(encoding="utf-8")
    assert "```text\n" + "\n".join(shown) + "\n```" in page
