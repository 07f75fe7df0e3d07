"""The comparison with others: one fault of two systems; tables, page and picture of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from compare.drawing import draw_picture
from compare.faults import FAULTS
from compare.report import (
    BEGIN,
    END,
    build_holds_text,
    build_page_part,
    build_text,
    insert_part,
)
from compare.systems import SETTINGS, SYSTEMS

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "compare" / "run.py"


def make_trial(seconds: float | None, moves: int = 1) -> dict[str, Any]:
    """Make a trial as the JSON has it."""
    return {"seconds": seconds, "failed": 0 if seconds == 0 else 6000, "moves": moves}


def make_figures() -> dict[str, Any]:
    """Make the figures of a run of all systems, with the widest values that there are."""
    trials = {
        system.name: {
            **{
                fault.name: [make_trial(0.0, 0)] * 3
                if fault.stays
                else [make_trial(0.004), make_trial(12.345), make_trial(None)]
                for fault in FAULTS
            },
            "return": [make_trial(171.2, 17)],
            "restless": [make_trial(40.0, 10)],
        }
        for system in SYSTEMS
    }
    row = {"noticed": [2.1, 2.9], "closed": {"1": 0, "10": 2}}
    return {
        "date": "2026-11-30",
        "machine": "2 cores, x86_64",
        "versions": {"Python": "3.11.2", "anycast-healthchecker": "0.9.10", "HAProxy": "2.6.12"},
        "left_out": [],
        "failures": [],
        "trials": trials,
        "costs": {
            system.name: {"cpu": 0.1234, "memory": 123.4, "processes": 3} for system in SYSTEMS
        },
        "noise": {"count": 9, "median": 0.0001, "p99": 0.001, "worst": 0.28},
        "load": 11.9,
        "holds": {"trials": 2, "pauses": [1.0, 10.0], "rows": {"hold 3 s": row}},
    }


def test_the_tables_fit_a_terminal() -> None:
    """No line is longer than 80 characters, whatever was measured."""
    figures = make_figures()
    lines = [*build_text(figures), *build_holds_text(figures["holds"])]
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for system in SYSTEMS:
        assert f"\n{system.title} " in text, "a row for each system"
    assert "stays" in text
    assert ">60" in text, "what never ended is shown as such"


def test_the_page_has_a_row_for_each_system_and_keeps_what_is_around_it() -> None:
    """Writing replaces what is between the markers, and nothing else."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    whole = insert_part(page, build_page_part(make_figures()))
    assert whole.startswith("before\n")
    assert whole.endswith("\nafter\n")
    assert "\nold\n" not in whole
    cells = sum(whole.count(f"12 (0 to >{limit})") for limit in (20, 60))
    assert cells == len(SYSTEMS) * sum(not each.stays for each in FAULTS)
    assert "- the return: " in whole, "who is best, whoever that is"
    assert insert_part(whole, build_page_part(make_figures())) == whole
    with pytest.raises(ValueError, match="the page has no"):
        insert_part("a page without markers", "")


def test_the_number_of_trials_is_that_of_the_faults() -> None:
    """Also where an interrupted run was continued for some systems."""
    figures = make_figures()
    assert "), 3 trials of each fault" in " ".join(build_page_part(figures).split())
    figures["trials"][SYSTEMS[0].name]["servers"] = [make_trial(0.1)]
    assert "), 1 to 3 trials of each fault" in " ".join(build_page_part(figures).split())


def test_the_shipped_page_has_the_markers() -> None:
    """`--write` finds its place."""
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    assert (text.count(BEGIN), text.count(END)) == (1, 1)


def test_the_picture_is_one_file_with_text_for_those_who_cannot_see_it() -> None:
    """It loads nothing, has both color schemes, and everything is inside of it."""
    picture = draw_picture(make_figures())
    root = ET.fromstring(picture)  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    assert {each.tag.removeprefix(space) for each in root.iter()} <= {
        *("svg", "title", "desc", "style", "text", "line", "circle")
    }
    assert "prefers-color-scheme: dark" in picture
    assert "href" not in picture
    assert "url(" not in picture
    circles = root.findall(f"{space}circle")
    assert len(circles) == len(SYSTEMS) * sum(not each.stays for each in FAULTS)
    width, height = (float(each) for each in root.attrib["viewBox"].split()[2:])
    assert all(0 <= float(each.attrib["cx"]) <= width for each in circles)
    assert all(0 <= float(each.attrib["cy"]) <= height for each in circles)


def test_every_file_of_settings_is_explained() -> None:
    """Somebody who knows a program has to find its settings."""
    text = (SETTINGS / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in SETTINGS.iterdir()} - {"README.md"}
    assert names
    assert not [name for name in sorted(names) if f"`{name}`" not in text]


def test_figures_that_are_none_are_refused(tmp_path: Path) -> None:
    """One message, and exit code 2."""
    file = tmp_path / "figures.json"
    file.write_text("[]", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, RUN, "--from", file], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 2
    assert "no figures of a run" in done.stderr


@pytest.mark.root
def test_one_fault_of_two_systems(tmp_path: Path) -> None:
    """`make compare` takes an hour; this much of it runs each time, so that it does not rot."""
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, RUN, "--quick", "--json", file],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert not figures["left_out"]
    assert set(figures["trials"]) == {"healthcheck-fast", "anycastd-fast"}
    for name, trials in figures["trials"].items():
        (trial,) = trials["servers"]
        assert trial["seconds"] is not None, f"{name}: the other region never answered"
