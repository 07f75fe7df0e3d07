"""What `anycastd check` says of the profile's checks, each of which ran once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anycastd.cli.check_result import Found
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.profile.key_paths import Path, find_line, format_key
from anycastd.profile.model import Profile

_KINDS = ("tcp", "http", "command", "file", "load")


def find_blind_checks(
    file: str,
    profile: Profile,
    lines: Mapping[Path, int],
    observations: Mapping[str, CheckObservation],
) -> Iterator[Found]:
    """Yield an error for each check that cannot see what it asks, at the line of what it asks."""
    for name, seen in observations.items():
        if seen.unseen and name in profile.checks:
            at: Path = ("checks", name)
            at = next(((*at, kind) for kind in _KINDS if (*at, kind) in lines), at)
            message = f"it cannot see what it asks: {seen.unseen}"
            remedy = "correct it; until then nothing is announced that rests on it alone"
            yield Found(file, find_line(lines, at), format_key(at), message, remedy, warning=False)


def describe_checks(
    profile: Profile, observations: Mapping[str, CheckObservation]
) -> Iterator[tuple[str, str]]:
    """Yield (check, what it asks and what it found)."""
    for name, seen in observations.items():
        state = "cannot see" if seen.unseen else "passes" if seen.passed else "fails"
        found = seen.unseen or seen.detail
        yield f"check {name}", f"{state}: {profile.checks[name].asks.what} ({found})"
