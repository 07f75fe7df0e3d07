"""The shipped profiles of the lab's two regions, with agents that ask each other."""

from __future__ import annotations

from pathlib import Path

from anycastd.lab.network.azure import REGIONS
from anycastd.lab.network.shipped_files import find_shipped

PEERED_AGENTS = """
web: {listen: "192.0.2.1:1"}
regions: []
"""


def write_peered_profiles(directory: Path) -> dict[str, Path]:
    """Write the profiles into a directory, and return region -> file; the lab fills them in."""
    profiles: dict[str, Path] = {}
    for region in REGIONS:
        profiles[region.name] = directory / region.profile
        text = find_shipped(f"profiles/{region.profile}").read_text(encoding="utf-8")
        profiles[region.name].write_text(f"{text.rstrip()}\n{PEERED_AGENTS}", encoding="utf-8")
    return profiles
