"""What `anycastd check` prints: in 80 columns, the verdict last, the same as JSON, and fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anycastd.cli.folding import fold_line
from anycastd.profile.compare import compare_regions
from anycastd.profile.validate import validate_profile
from support.profiles import TEXT

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = [str(ROOT / "profiles" / f"{name}.yaml") for name in ("primary", "secondary")]


def check(*words: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `anycastd check` for 80 columns, in ``directory``."""
    return subprocess.run(
        [sys.executable, "-m", "anycastd", "check", *words],
        stdin=subprocess.DEVNULL,
        cwd=directory,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
    )


def write_regions(directory: Path, count: int, *, tie: bool = False) -> list[str]:
    """Write profiles of so many regions; ``tie``: all have the same paths."""
    files = []
    for number in range(count):
        text = TEXT.replace("region: northeurope", f"region: region-{number}")
        text = text.replace("192.0.2.10", f"10.0.{number}.10")
        if not tie:
            text = text.replace("    prepend: 0", f"    prepend: {number}")
            text = text.replace("{prepend: 3", f"{{prepend: {number + 10}")
            text = text.replace("{prepend: 6", f"{{prepend: {number + 20}")
        file = directory / f"r{number}.yaml"
        file.write_text(text, encoding="utf-8")
        files.append(str(file))
    return files


def long_lines(text: str) -> list[str]:
    """List the lines of more than 80 columns that could have been broken at a space."""
    return [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()[:80]]


def test_nothing_is_wider_than_80_columns(tmp_path: Path) -> None:
    """Problems and all else; the verdict is the last line, warnings are called so."""
    files = [Path(each).name for each in write_regions(tmp_path, 3, tie=True)]
    for words in ([*SHIPPED], [*SHIPPED, "--verbose"], [*files], [*files, "--verbose"]):
        done = check("--offline", *words)
        assert long_lines(done.stdout) == []
        places = [
            line for line in long_lines(done.stderr) if not line.startswith(("error", "warn"))
        ]
        assert places == []
    done = check("--offline", *SHIPPED)
    assert done.stdout.splitlines()[-1] == "2 profiles can be used; 4 warnings above"
    assert done.stderr.startswith("warning: ")
    done = check("--offline", *files, directory=tmp_path)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("anycastd: the profiles do not fit together: ")
    assert done.returncode == 78


def test_three_regions_are_one_order(tmp_path: Path) -> None:
    """The first that is announced wins: nine lines instead of 64."""
    done = check("--offline", *write_regions(tmp_path, 3))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = lines.index("web 203.0.113.10/32: the first of these that is announced wins")
    rows = [line.split() for line in lines[at + 1 : at + 10]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        (str(level * 3 + number + 1), name, f"region-{number}")
        for level, name in enumerate(("preferred", "degraded", "standby"))
        for number in range(3)
    ]
    assert "65010 x11" in lines[at + 4]
    assert "every combination" not in done.stdout


def test_eight_regions_cost_no_more_than_their_levels(tmp_path: Path) -> None:
    """No combination is listed unless asked for: 24 lines, also where the answer is JSON."""
    files = write_regions(tmp_path, 8)
    done = check("--offline", "--json", *files)
    order = json.loads(done.stdout)["winners"][0]["order"]
    assert len(order) == 24
    profiles = []
    for file in files:
        validation = validate_profile(Path(file).read_text(encoding="utf-8"), file)
        assert validation.profile is not None
        profiles.append((file, validation.profile))
    (ranking,) = compare_regions(profiles).rankings
    assert ranking.find_winners({"region-7": "preferred", "region-1": "degraded"}) == ("region-7",)
    assert ranking.find_winners({"region-0": "withdrawn"}) == ()


def test_the_json_says_the_same(tmp_path: Path) -> None:
    """The verdict, the code, each problem with its line, and who wins."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TEXT.replace("failed: withdraw", "failed: maybe"), encoding="utf-8")
    done = check("--offline", "--json", SHIPPED[0], str(wrong))
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exit_code"], answer["errors"]) == (78, 78, 1)
    assert answer["verdict"] == "1 of 2 profiles cannot be used: 1 error, 2 warnings"
    (error,) = [each for each in answer["problems"] if each["severity"] == "error"]
    assert error == {
        "severity": "error",
        "file": str(wrong),
        "line": 20,
        "key": "services.web.failed",
        "message": "maybe is not a valid value",
        "remedy": "write withdraw or standby",
    }
    assert [each["region"] for each in answer["profiles"]] == ["northeurope"]
    assert done.stderr == ""


def test_lines_as_shipped_and_networks_are_warned_of(tmp_path: Path) -> None:
    """A profile that nobody has edited, and a cloud without its networks."""
    text = Path(SHIPPED[0]).read_text(encoding="utf-8")
    file = tmp_path / "profile.yaml"
    file.write_text(text, encoding="utf-8")
    said = " ".join(check("--offline", str(file)).stderr.split())
    assert "14 lines are as shipped and marked EDIT" in said
    assert "203.0.113.10 is an address for documentation (RFC 5737)" in said
    lines = [line.split("# EDIT")[0].rstrip() for line in text.splitlines()]
    edited = "\n".join(line for line in lines if not line.startswith("networks"))
    file.write_text(edited.replace("203.0.113.10", "172.20.0.10"), encoding="utf-8")
    done = check("--offline", str(file))
    assert f"{file}:8: networks: is missing" in " ".join(done.stderr.split())
    assert done.stdout.splitlines()[-1] == "1 profile can be used; 1 warning above"
    assert "note: AS 65010 is private: ExpressRoute removes it" in done.stdout


@pytest.mark.parametrize(
    ("line", "folded"),
    [
        ("", [""]),
        ("  a b c", ["  a b", "    c"]),
        (" a  b", [" a  b"]),
        ("x" * 20, ["x" * 20]),
        ("a\u00a0b c d", ["a b c", "  d"]),
        ("\x1b", ["\\x1b"]),
    ],
)
def test_lines_are_broken_at_spaces(line: str, folded: list[str]) -> None:
    """A long word stays whole; a no-break space is none to break at."""
    assert fold_line(line, 5) == folded
