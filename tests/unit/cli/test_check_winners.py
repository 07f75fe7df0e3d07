"""`anycastd check` of many profiles says who wins in the cases that matter, on few lines."""

from __future__ import annotations

import pytest

from anycastd.cli.check_winners import describe_winners
from anycastd.profile.compare import compare_regions
from support.profiles import profile


def describe(*prepends: tuple[int, int, int], ecmp: bool = False) -> list[str]:
    """Describe who wins between regions with these prepends, named r0 and so on."""
    profiles = []
    for number, (best, degraded, standby) in enumerate(prepends):
        changed = profile(
            ("region: northeurope", f"region: r{number}"),
            ("    prepend: 0\n", f"    prepend: {best}\n" + "    ecmp: true\n" * ecmp),
            ("degraded: {prepend: 3", f"degraded: {{prepend: {degraded}"),
            ("standby: {prepend: 6", f"standby: {{prepend: {standby}"),
        )
        profiles.append((f"r{number}.yaml", changed))
    (ranking,) = compare_regions(profiles).rankings
    return [" ".join(line.split()) for line in describe_winners(ranking, 80)]


def test_eight_that_share_are_nine_lines() -> None:
    """All tie at each level: each level is named once, and so is each case."""
    assert describe(*[(0, 3, 6)] * 8, ecmp=True) == [
        "web 203.0.113.10/32: the first of these that is announced wins",
        "1 preferred 65010 all 8 (ties: split)",
        "2 degraded 65010 x4 all 8 (ties: split)",
        "3 standby 65010 x7 all 8 (ties: split)",
        "who has the traffic, where all others are preferred",
        "nobody fails all 8 share it",
        "any one fails all 7 that are left share it",
        "any two fail all 6 that are left share it",
        "all are degraded all 8 share it",
        "all are at standby all 8 share it",
        "",
    ]


def test_three_in_an_order() -> None:
    """Each failure that moves the traffic is named, and where it goes."""
    lines = describe((0, 3, 6), (1, 4, 7), (2, 5, 8))
    assert lines[10:] == [
        "who has the traffic, where all others are preferred",
        "nobody fails r0",
        "r0 fails r1",
        "another one fails r0",
        "r0 and r1 fail r2",
        "r0 and r2 fail r1",
        "r1 and r2 fail r0",
        "all are degraded r0",
        "all are at standby r0",
        "",
    ]


def test_pairs_behind_a_first_one() -> None:
    """What ends in the same way is one line, and a tie is no tie with somebody who is gone."""
    lines = describe((0, 3, 6), (1, 4, 7), (1, 4, 7), (2, 5, 8), (2, 5, 8), ecmp=True)
    assert lines[10:19] == [
        "who has the traffic, where all others are preferred",
        "nobody fails r0",
        "r0 fails r1 and r2 share it",
        "another one fails r0",
        "r0 and r1 fail r2",
        "r0 and r2 fail r1",
        "r0 and r3 or r4 fail r1 and r2 share it",
        "two others fail r0",
        "all are degraded r0",
    ]


@pytest.mark.parametrize("count", [8, 30])
def test_many_regions_are_few_lines(count: int) -> None:
    """A first one and many that share behind it: names are bounded, and so are the lines."""
    lines = describe((0, 2, 4), *[(1, 3, 5)] * (count - 1), ecmp=True)
    assert len(lines) < 20
    assert max(map(len, lines)) < 90
    assert f"r0 fails all {count - 1} that are left share it" in lines
