"""The comparison of regions: the matrix, ties, worse levels that win, names and VIPs."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycastd.profile.compare import Comparison, compare_regions
from anycastd.profile.validate import validate

SHIPPED = Path(__file__).resolve().parents[3] / "profiles"
PRIMARY = (SHIPPED / "primary.yaml").read_text(encoding="utf-8")
SECONDARY = (SHIPPED / "secondary.yaml").read_text(encoding="utf-8")
ECMP = ("    failed:", "    ecmp: true\n    failed:")
MEANT = ", or ecmp: true in all regions if this is intended"
# The lines of the shipped files in which the levels' prepends stand.
LEVELS = ("    prepend: ", "degraded: {prepend: ", "standby: {prepend: ")


def changed(text: str, *changes: tuple[str, str]) -> str:
    """Replace texts that must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def with_prepends(text: str, old: tuple[int, int, int], new: tuple[int, int, int]) -> str:
    """Replace the prepends of all levels."""
    pairs = zip(LEVELS, old, new, strict=True)
    return changed(text, *((f"{key}{a}", f"{key}{b}") for key, a, b in pairs))


def compared(*texts: str) -> Comparison:
    """Compare sound profiles, called a.yaml, b.yaml and so on."""
    files = [f"{letter}.yaml" for letter in "abcd"[: len(texts)]]
    accepted = {file: validate(text, file) for file, text in zip(files, texts, strict=True)}
    profiles = []
    for file, each in accepted.items():
        assert each.profile is not None, each.problems
        profiles.append((file, each.profile))
    return compare_regions(profiles, {file: each.lines for file, each in accepted.items()})


def line(text: str, needle: str) -> int:
    """Return the number of the first line that holds a text."""
    return next(n for n, each in enumerate(text.splitlines(), 1) if needle in each)


def sentences(comparison: Comparison) -> dict[tuple[str, ...], str]:
    """Return each combination's sentence by its levels."""
    (matrix,) = comparison.matrices
    return {
        tuple(each.level for each in one.candidates): one.sentence for one in matrix.combinations
    }


def test_the_shipped_pair() -> None:
    """The shipped profiles have no tie, and each level wins where it should."""
    found = compared(PRIMARY, SECONDARY)
    assert found.problems == ()
    (matrix,) = found.matrices
    assert (matrix.service, str(matrix.vip)) == ("web", "203.0.113.10/32")
    assert matrix.regions == ("northeurope", "westeurope")
    levels = ("preferred", "degraded", "standby", "withdrawn")
    assert [tuple(c.level for c in one.candidates) for one in matrix.combinations] == [
        (first, second) for first in levels for second in levels
    ]
    winners = [one.winners for one in matrix.combinations]
    north, west = ("northeurope",), ("westeurope",)
    assert winners == [
        *(north, north, north, north),
        *(west, north, north, north),
        *(west, west, north, north),
        *(west, west, west, ()),
    ]


def test_sentences() -> None:
    """Each combination says who wins with which path, as the far router sees it."""
    said = sentences(compared(PRIMARY, SECONDARY))
    assert said["preferred", "preferred"] == (
        "northeurope wins with 65515 65010 before westeurope with 65515 65010 65010 65010"
    )
    assert said["degraded", "preferred"] == (
        "westeurope wins with 65515 65010 65010 65010 "
        "before northeurope with 65515 65010 65010 65010 65010"
    )
    assert said["withdrawn", "preferred"] == "westeurope alone, with 65515 65010 65010 65010"
    assert said["withdrawn", "withdrawn"] == "no region announces it"


@pytest.mark.parametrize("platform", ["aws", "plain"])
def test_paths_without_azure(platform: str) -> None:
    """Elsewhere the path is our own AS numbers alone, the least of what neighbors are told."""
    changes = [("platform: azure", f"platform: {platform}")]
    one = changed(PRIMARY, *changes, ("10.0.1.4,", "10.0.1.4, prepend: 2,"))
    two = changed(SECONDARY, *changes)
    two = changed(two, ("10.1.1.4,", "10.1.1.4, prepend: 1,"))
    two = changed(two, ("10.1.1.5,", "10.1.1.5, prepend: 2,"))
    assert sentences(compared(one, two))["preferred", "preferred"] == (
        "northeurope wins with 65010 before westeurope with 65010 65010 65010 65010"
    )


def test_two_equal_preferred_paths() -> None:
    """Equal preferred paths are refused at the later file, with prepends that have no tie."""
    twin = changed(PRIMARY, ("northeurope", "westeurope"))
    found = compared(PRIMARY, twin)
    proposal = "write prepend: 1, degraded.prepend: 4, standby.prepend: 7 in westeurope"
    assert [str(problem) for problem in found.problems] == [
        (
            f"b.yaml:{line(twin, '    prepend: 0')}: services.web.prepend: preferred in westeurope "
            "ties with preferred in northeurope (65515 65010), so traffic is split between them "
            f"(ECMP); {proposal}, or ecmp: true in all regions if this is intended"
        ),
        (
            f"b.yaml:{line(twin, 'degraded: {')}: services.web.degraded.prepend: degraded in "
            "westeurope ties with degraded in northeurope (65515 65010 65010 65010 "
            "65010), so traffic "
            f"is split between them (ECMP); {proposal}"
        ),
        (
            f"b.yaml:{line(twin, 'standby: {')}: services.web.standby.prepend: standby in "
            "westeurope "
            "ties with standby in northeurope (65515 65010 65010 65010 65010 65010 65010 "
            "65010), so "
            f"traffic is split between them (ECMP); {proposal}"
        ),
    ]
    assert not any(problem.warning for problem in found.problems)
    assert sentences(found)["preferred", "preferred"] == (
        "northeurope with 65515 65010 ties with westeurope with 65515 65010: "
        "traffic is split (ECMP)"
    )
    assert compared(PRIMARY, with_prepends(twin, (0, 3, 6), (1, 4, 7))).problems == ()


def test_ecmp_must_be_meant_by_all() -> None:
    """With ecmp: true in all regions equal levels are fine; in one alone they are refused."""
    twin = changed(PRIMARY, ("northeurope", "westeurope"))
    assert compared(changed(PRIMARY, ECMP), changed(twin, ECMP)).problems == ()
    assert len(compared(changed(PRIMARY, ECMP), twin).problems) == 3


def test_ecmp_does_not_excuse_other_levels() -> None:
    """A degraded region that ties with a preferred one goes on drawing traffic, ecmp or not."""
    one = changed(PRIMARY, ECMP)
    two = changed(with_prepends(SECONDARY, (2, 4, 7), (3, 4, 7)), ECMP)
    assert [problem.key for problem in compared(one, two).problems] == ["services.web.prepend"]


def test_ties_in_other_combinations() -> None:
    """Ties of other levels are refused too, at the less preferred region wherever it stands."""
    tied = with_prepends(SECONDARY, (2, 4, 7), (2, 3, 7))
    for texts, file in (((PRIMARY, tied), "b.yaml"), ((tied, PRIMARY), "a.yaml")):
        (problem,) = compared(*texts).problems
        assert str(problem) == (
            f"{file}:{line(tied, 'degraded: {')}: services.web.degraded.prepend: degraded in "
            "westeurope ties with degraded in northeurope (65515 65010 65010 65010 65010), so "
            "traffic is split between them (ECMP); write degraded.prepend: 4 in westeurope"
        )


def test_a_worse_level_that_wins() -> None:
    """A degraded region that still wins against a preferred one is a warning with a way out."""
    far = with_prepends(SECONDARY, (2, 4, 7), (5, 7, 9))
    found = compared(PRIMARY, far).problems
    assert all(problem.warning for problem in found)
    assert [problem.key for problem in found] == [
        "services.web.degraded.prepend",
        "services.web.standby.prepend",
    ]
    assert str(found[0]) == (
        f"a.yaml:{line(PRIMARY, 'degraded: {')}: services.web.degraded.prepend: degraded in "
        "northeurope (65515 65010 65010 65010 65010) wins against preferred in westeurope, though "
        "its level is worse; write degraded.prepend: 6, standby.prepend: 8 in northeurope"
    )
    mended = with_prepends(PRIMARY, (0, 3, 6), (0, 6, 8))
    assert compared(mended, far).problems == ()


def test_three_regions() -> None:
    """One matrix of all, with each combination's winner; a proposal suits all other regions."""
    third = changed(SECONDARY, ("westeurope", "uksouth"))
    found = compared(PRIMARY, SECONDARY, third)
    (matrix,) = found.matrices
    assert matrix.regions == ("northeurope", "westeurope", "uksouth")
    assert len(matrix.combinations) == 4**3
    said = sentences(found)
    assert said["withdrawn", "preferred", "preferred"] == (
        "westeurope with 65515 65010 65010 65010 ties with uksouth with 65515 65010 65010 65010: "
        "traffic is split (ECMP)"
    )
    assert said["degraded", "standby", "preferred"].startswith("uksouth wins with 65515 65010")
    assert said["degraded", "standby", "preferred"].endswith(
        "before northeurope with 65515 65010 65010 65010 65010"
    )
    assert {problem.file for problem in found.problems} == {"c.yaml"}
    # Between 2 and 3 is no room for a third preferred level: one file alone cannot be mended.
    assert {problem.remedy.removesuffix(MEANT) for problem in found.problems} == {
        (
            "write 0, 3, 6 in northeurope, 1, 4, 7 in westeurope, 2, 5, 8 in uksouth "
            "(prepend, degraded.prepend, standby.prepend)"
        )
    }
    mended = (
        PRIMARY,
        with_prepends(SECONDARY, (2, 4, 7), (1, 4, 7)),
        with_prepends(third, (2, 4, 7), (2, 5, 8)),
    )
    assert compared(*mended).problems == ()
    fourth = changed(SECONDARY, ("westeurope", "ukwest"))
    assert compared(*mended, fourth).problems[0].remedy.removesuffix(MEANT) == (
        "announce it in at most 3 regions; more do not fit into short paths"
    )


UNSTEERED = ("  local_as:", "  prepends_steer: false\n  local_as:")
WITHDRAW = ("failed: standby", "failed: withdraw")


def test_where_prepends_do_not_steer_no_path_wins() -> None:
    """Degraded does not exist there, equal paths are no tie, and who wins is not ours to say."""
    twin = changed(PRIMARY, ("northeurope", "westeurope"))
    found = compared(changed(PRIMARY, UNSTEERED), changed(twin, UNSTEERED))
    assert found.problems == ()
    said = sentences(found)
    assert len(said) == 9
    assert said["preferred", "standby"] == (
        "northeurope and westeurope announce it, and prepends do not steer"
    )
    assert found.notes[1] == (
        "prepends do not steer in northeurope and westeurope (prepends_steer: false): there "
        "degraded and drained mean withdrawn, and path lengths do not decide which region "
        "wins"
    )


def test_regions_agree_on_whether_prepends_steer() -> None:
    """It is the far side that compares, so one of the two profiles is wrong."""
    one = changed(SECONDARY, UNSTEERED, WITHDRAW)
    (problem,) = compared(PRIMARY, one).problems
    assert str(problem) == (
        f"b.yaml:{line(one, 'prepends_steer')}: bgp.prepends_steer: is false here, but true in "
        "northeurope; write the same value in each region: the same far routers compare the paths"
    )
    assert problem.warning


def test_names_and_vips() -> None:
    """Another VIP, another name and a missing service are errors, each said once."""
    vip = ("203.0.113.10/32", "203.0.113.11/32")
    other = changed(SECONDARY, vip)
    assert [str(problem) for problem in compared(PRIMARY, other).problems] == [
        (
            f"b.yaml:{line(other, '    vip:')}: services.web.vip: 203.0.113.11/32 differs "
            "from the VIP 203.0.113.10/32 in northeurope (a.yaml); write 203.0.113.10/32, or give "
            "the service another name"
        )
    ]
    renamed = changed(SECONDARY, ("  web:", "  www:"))
    assert [str(problem) for problem in compared(PRIMARY, renamed).problems] == [
        (
            f"b.yaml:{line(renamed, '  www:')}: services.www: has the same VIP as web in "
            "northeurope (a.yaml); call it web here too"
        )
    ]
    more = PRIMARY + (
        "  api: {vip: 203.0.113.20/32, serve: {backend: web}, healthy: {backend: web},"
        " failed: withdraw}\n"
    )
    for texts, file, where in (
        ((more, SECONDARY), "b.yaml", "northeurope (a.yaml)"),
        ((SECONDARY, more), "a.yaml", "northeurope (b.yaml)"),
    ):
        assert [str(problem) for problem in compared(*texts).problems] == [
            (
                f"{file}:{line(SECONDARY, 'services:')}: services.api: is missing here, but has "
                f"203.0.113.20/32 in {where}; add it, or this VIP is announced in fewer regions"
            )
        ]
    assert not any(problem.warning for problem in compared(more, SECONDARY).problems)


def test_regions_have_names_of_their_own() -> None:
    """Two profiles of one region cannot be told apart."""
    (problem,) = compared(PRIMARY, changed(SECONDARY, ("westeurope", "northeurope"))).problems
    assert str(problem) == (
        f"b.yaml:{line(SECONDARY, 'region:')}: region: northeurope is also the region of a.yaml; "
        "write each region's own name"
    )


def test_notes() -> None:
    """What is no problem and would be asked is said, and nothing of a single region."""
    assert compared(PRIMARY, SECONDARY).notes == (
        (
            "all regions use AS 65010: this is fine; loop detection drops the routes of the "
            "other regions, which no region needs"
        ),
        (
            "on Azure the paths are those at the MSEE; ExpressRoute removes private AS numbers, so "
            "on-premises routers see 12076 alone"
        ),
    )
    other = changed(SECONDARY, ("65010", "65011"), ("platform: azure", "platform: aws"))
    assert compared(PRIMARY, other).notes[:2] == (
        "the regions use the AS numbers 65010 65011: only lengths are compared",
        ("the regions are on aws and azure: perhaps no router sees all of these paths as shown"),
    )
    assert compared(PRIMARY) == Comparison((), (), ())


def test_without_lines() -> None:
    """Without the files' lines a problem is said of line 1."""
    profiles = [(file, validate(PRIMARY, file).profile) for file in ("a.yaml", "b.yaml")]
    found = compare_regions([(file, profile) for file, profile in profiles if profile])
    assert {problem.line for problem in found.problems} == {1}
