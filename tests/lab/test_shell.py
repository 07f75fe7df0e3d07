"""Tests of `anycastd lab --shell` and `--report`, and of what docs/lab.md says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from anycastd.lab.network.azure import AZURE, PICTURE
from anycastd.lab.network.outage import RequestResult
from anycastd.lab.stories import failover
from anycastd.lab.stories.html_report import build_report, draw_timeline
from anycastd.lab.stories.recording import LANES, Mark, Recording
from anycastd.lab.stories.report import StepReport, build_document
from anycastd.lab.stories.shell import build_help

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "anycastd", "lab")
DOCS = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")


def run_lab(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with a text as its input."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )


@pytest.mark.root
def test_the_prompt_shows_and_breaks_the_lab() -> None:
    """Its commands reach the agents, the far router and the client; errors are told."""
    commands = (
        "table",
        "client",
        "ne status --json",
        "in client ip -brief address",
        "in nowhere true",
        "dance",
        "kill dragons",
        "kill web1",
        "kill web1",
        "start web",
        "watch",
        "quit",
    )
    done = run_lab("--shell", text="\n".join(commands))
    assert done.returncode == 0, done.stderr
    told = done.stdout
    assert PICTURE in told
    assert build_help(AZURE) in told
    assert re.search(r"\* ne-gw\d  172\.16\.158\.1\d    65515 65010\n", told)
    assert '"region": "northeurope"' in told
    assert "198.51.100.10/24" in told
    for line in (
        "there is no node nowhere; there are: ne-vnet",
        "there is no command dance; `help` lists all",
        "dragons is not running, or there is no such program to kill",
        "killed: web1 of North Europe",
        "web1 is not running",
        "started: web of North Europe",
        "watch needs a terminal; use client and table",
    ):
        assert line in told, line
    assert "Traceback" not in done.stderr


@pytest.mark.root
def test_a_report_that_cannot_be_written_is_told_before_the_story() -> None:
    """Nobody waits for a story whose report is lost."""
    done = run_lab("--report", "/nonexistent/report.html")
    assert done.returncode == 2
    assert done.stderr == (
        "anycastd lab: /nonexistent/report.html: cannot write the report: "
        "No such file or directory\n"
    )


@pytest.mark.root
@pytest.mark.slow
def test_the_report_has_a_timeline_of_each_fault() -> None:
    """One file, without a resource of others: a lane for each stage, and what was measured."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "report.html"
        done = run_lab("--story", "circuits", "--json", "--report", str(file))
        page = file.read_text(encoding="utf-8")
    story = json.loads(done.stdout)
    assert len(story["steps"]) > 1, done.stderr
    assert "acted_at" not in story["steps"][1]
    drawn = [ET.fromstring(each) for each in re.findall(r"<svg .*?</svg>", page)]  # noqa: S314
    # Of a step that is not seen a story has no timeline: the tests of the story judge it.
    assert len(drawn) == len(story["steps"]) - 1
    texts = ["".join(each.itertext()) for each in drawn]
    assert all(lane in text for text in texts for lane in LANES)
    killed = texts[0]
    assert "HAProxy was asked" in killed
    assert "preferred -> withdrawn" in killed
    assert re.search(r"msee: via we-gw\d", killed)
    assert "the MSEE sends to West Europe" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("httpchk", "")


def request(at: float, region: str, *, ok: bool = True) -> RequestResult:
    """Return the result of a request that was sent at a time."""
    return RequestResult(0, at, at, at + 0.005, ok, region, "web1", "" if ok else "refused")


def test_a_timeline_is_bounded_and_escaped() -> None:
    """A client that changes with each request, and hostile words, make one small SVG."""
    step = StepReport("fault", '<script>"&', acted_at=100.0)
    regions = ("northeurope", "westeurope", "<b>")
    requests = tuple(request(100 + n / 100, regions[n % 3], ok=n % 7 > 0) for n in range(5000))
    marks = tuple(Mark(lane, n / 10, "<i>'\"&") for n in range(500) for lane in LANES)
    recording = Recording(step, marks, requests, 150.0)
    drawn = draw_timeline(recording, AZURE.sites)
    assert ET.fromstring(drawn).tag == "svg"  # noqa: S314 - our own
    assert len(drawn) < 200_000
    page = build_report(
        [recording], build_document([step], {"seconds": 1.0, "notes": {"<": "<"}}), AZURE
    )
    assert "<script>" not in page
    assert "<b>" not in page.replace('<b class="', "")


def test_the_docs_show_the_picture_the_prompt_and_the_steps() -> None:
    """docs/lab.md has the picture, the commands and the steps of the story as they are."""
    indented = "\n".join(line.removeprefix("    ") for line in DOCS.splitlines())
    assert PICTURE.strip("\n") in indented
    assert build_help(AZURE).strip("\n") in indented
    for step in failover.STORY.steps:
        assert step.title in DOCS


@pytest.mark.parametrize("option", ["--shell", "--report", "--keep", "--story", "--json", "--fast"])
def test_the_docs_have_every_option(option: str) -> None:
    """What the help offers is in the docs."""
    assert option in DOCS
