"""The configuration of the BIRD that speaks BFD: complete, and BFD only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from anycastd.profile.validate import validate_profile
from anycastd.speaker.bird_bfd import build_bird_config
from support.bird import find_bird
from support.profiles import TEXT, profile

ROOT = Path(__file__).resolve().parents[3]
WITH = ("  neighbors:\n", "  bfd: {interval: 0.3, multiplier: 5}\n  neighbors:\n")
FAR = ("{address: 192.0.2.5, peer_as: 65515}", "{address: 192.0.2.5, peer_as: 65515, multihop: 4}")


def test_every_neighbor_is_in_it_and_bird_accepts_it(tmp_path: Path) -> None:
    """Single-hop or multihop as in the profile; no BGP and no kernel routes."""
    made = profile(WITH, FAR)
    assert made.bgp.bfd is not None
    text = build_bird_config(made, made.bgp.bfd)
    assert "neighbor 192.0.2.4 local 192.0.2.10;" in text
    assert "neighbor 192.0.2.5 local 192.0.2.10 multihop on;" in text
    assert text.count("interval 300 ms; multiplier 5;") == 2
    assert "bgp" not in text
    assert "kernel" not in text
    bird = find_bird()
    assert bird, "BIRD is not installed (apt install bird2)"
    file = tmp_path / "bird.conf"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [bird, "-p", "-c", file], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_is_off_unless_the_profile_has_it(tmp_path: Path) -> None:
    """The command prints what to add to the profile, and ends with 78."""
    assert profile().bgp.bfd is None
    file = tmp_path / "profile.yaml"
    file.write_text(TEXT, encoding="utf-8")
    line = [sys.executable, "-m", "anycastd", "bfd", "--profile", str(file)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 78
    assert "bfd: {interval: 1, multiplier: 3}" in done.stderr


def test_azure_has_none() -> None:
    """Azure's route server does not speak BFD."""
    text = TEXT.replace(*WITH).replace("platform: plain", "platform: azure")
    found = [
        problem for problem in validate_profile(text, "p.yaml").problems if "BFD" in str(problem)
    ]
    assert [problem.warning for problem in found] == [False]
