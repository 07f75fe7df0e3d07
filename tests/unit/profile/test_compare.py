"""Comparison of regions: the matrix, ties, worse levels that win, names and VIPs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anycastd.profile.compare import Comparison, compare_regions
from anycastd.profile.validate import validate_profile
from support.broken_profiles import replace_texts

SHIPPED = Path(__file__).resolve().parents[3] / "profiles"
PRIMARY = (SHIPPED / "primary.yaml").read_text(encoding="utf-8")
SECONDARY = (SHIPPED / "secondary.yaml").read_text(encoding="utf-8")
ECMP = ("    failed:", "    ecmp: true\n    failed:")
MEANT = ", or ecmp: true in all regions if this is intended"
# Beginnings of the lines with prepends in the shipped files.
LEVELS = ("    prepend: ", "degraded: {prepend: ", "standby: {prepend: ")


def replace_prepends(text: str, old: tuple[int, int, int], new: tuple[int, int, int]) -> str:
    """Replace the prepends of all levels."""
    pairs = zip(LEVELS, old, new, strict=True)
    return replace_texts(text, *((f"{key}{a}", f"{key}{b}") for key, a, b in pairs))


def compare_texts(*texts: str) -> Comparison:
    """Compare valid profiles; their files are a.yaml, b.yaml and so on.

    Each gets an address of its own: copies have their own tests.
    """
    files = [f"{letter}.yaml" for letter in "abcd"[: len(texts)]]
    texts = tuple(
        re.sub(r"(router_id|local_address): 10\.[0-9.]+", rf"\1: 10.0.{200 + number}.10", text)
        for number, text in enumerate(texts)
    )
    validation = {
        file: validate_profile(text, file) for file, text in zip(files, texts, strict=True)
    }
    profiles = []
    for file, each in validation.items():
        assert each.profile is not None, each.problems
        profiles.append((file, each.profile))
    return compare_regions(profiles, {file: each.lines for file, each in validation.items()})


def line(text: str, needle: str) -> int:
    """Return the number of the first line that contains a text."""
    return next(n for n, each in enumerate(text.splitlines(), 1) if needle in each)


def get_sentences(comparison: Comparison) -> dict[tuple[str, ...], str]:
    """Return the sentence of each combination by its levels."""
    (matrix,) = comparison.matrices
    return {
        tuple(each.level for each in one.candidates): one.sentence for one in matrix.combinations
    }


def test_the_shipped_pair() -> None:
    """The shipped profiles have no tie, and each level wins where it should."""
    found = compare_texts(PRIMARY, SECONDARY)
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
    """Each combination names the winner and its path as the far router sees it."""
    list_azure_problems = get_sentences(compare_texts(PRIMARY, SECONDARY))
    assert list_azure_problems["preferred", "preferred"] == (
        "northeurope wins with 65515 65010 before westeurope with 65515 65010 65010 65010"
    )
    assert list_azure_problems["degraded", "preferred"] == (
        "westeurope wins with 65515 65010 65010 65010 "
        "before northeurope with 65515 65010 65010 65010 65010"
    )
    assert (
        list_azure_problems["withdrawn", "preferred"]
        == "westeurope alone, with 65515 65010 65010 65010"
    )
    assert list_azure_problems["withdrawn", "withdrawn"] == "no region announces it"


@pytest.mark.parametrize("platform", ["aws", "plain"])
def test_paths_without_azure(platform: str) -> None:
    """Without Azure the path has our own AS number only; the neighbor with the fewest counts."""
    changes = [("platform: azure", f"platform: {platform}")]
    one = replace_texts(PRIMARY, *changes, ("10.0.1.4,", "10.0.1.4, prepend: 2,"))
    two = replace_texts(SECONDARY, *changes)
    two = replace_texts(two, ("10.1.1.4,", "10.1.1.4, prepend: 1,"))
    two = replace_texts(two, ("10.1.1.5,", "10.1.1.5, prepend: 2,"))
    assert get_sentences(compare_texts(one, two))["preferred", "preferred"] == (
        "northeurope wins with 65010 before westeurope with 65010 65010 65010 65010"
    )


def test_two_equal_preferred_paths() -> None:
    """Equal preferred paths are refused at the later file, with prepends that have no tie."""
    twin = replace_texts(PRIMARY, ("northeurope", "westeurope"))
    found = compare_texts(PRIMARY, twin)
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
    assert get_sentences(found)["preferred", "preferred"] == (
        "northeurope with 65515 65010 ties with westeurope with 65515 65010: "
        "traffic is split (ECMP)"
    )
    assert compare_texts(PRIMARY, replace_prepends(twin, (0, 3, 6), (1, 4, 7))).problems == ()


def test_ecmp_must_be_set_in_all_regions() -> None:
    """Equal levels are allowed with ecmp: true in all regions, and refused with it in one."""
    twin = replace_texts(PRIMARY, ("northeurope", "westeurope"))
    assert compare_texts(replace_texts(PRIMARY, ECMP), replace_texts(twin, ECMP)).problems == ()
    assert len(compare_texts(replace_texts(PRIMARY, ECMP), twin).problems) == 3


def test_ecmp_does_not_excuse_other_levels() -> None:
    """A degraded region that ties with a preferred one is refused even with ecmp."""
    one = replace_texts(PRIMARY, ECMP)
    two = replace_texts(replace_prepends(SECONDARY, (2, 4, 7), (3, 4, 7)), ECMP)
    assert [problem.key for problem in compare_texts(one, two).problems] == ["services.web.prepend"]


def test_ties_in_other_combinations() -> None:
    """Ties of other levels are refused too, in the file of the less preferred region."""
    tied = replace_prepends(SECONDARY, (2, 4, 7), (2, 3, 7))
    for texts, file in (((PRIMARY, tied), "b.yaml"), ((tied, PRIMARY), "a.yaml")):
        (problem,) = compare_texts(*texts).problems
        assert str(problem) == (
            f"{file}:{line(tied, 'degraded: {')}: services.web.degraded.prepend: degraded in "
            "westeurope ties with degraded in northeurope (65515 65010 65010 65010 65010), so "
            "traffic is split between them (ECMP); write degraded.prepend: 4 in westeurope"
        )


def test_a_worse_level_that_wins() -> None:
    """A degraded region that wins against a preferred one is a warning with a remedy."""
    far = replace_prepends(SECONDARY, (2, 4, 7), (5, 7, 9))
    found = compare_texts(PRIMARY, far).problems
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
    mended = replace_prepends(PRIMARY, (0, 3, 6), (0, 6, 8))
    assert compare_texts(mended, far).problems == ()


def test_three_regions() -> None:
    """Three regions give one matrix with all combinations; a remedy fits all other regions."""
    third = replace_texts(SECONDARY, ("westeurope", "uksouth"))
    found = compare_texts(PRIMARY, SECONDARY, third)
    (matrix,) = found.matrices
    assert matrix.regions == ("northeurope", "westeurope", "uksouth")
    assert len(matrix.combinations) == 4**3
    list_azure_problems = get_sentences(found)
    assert list_azure_problems["withdrawn", "preferred", "preferred"] == (
        "westeurope with 65515 65010 65010 65010 ties with uksouth with 65515 65010 65010 65010: "
        "traffic is split (ECMP)"
    )
    assert list_azure_problems["degraded", "standby", "preferred"].startswith(
        "uksouth wins with 65515 65010"
    )
    assert list_azure_problems["degraded", "standby", "preferred"].endswith(
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
        replace_prepends(SECONDARY, (2, 4, 7), (1, 4, 7)),
        replace_prepends(third, (2, 4, 7), (2, 5, 8)),
    )
    assert compare_texts(*mended).problems == ()
    fourth = replace_texts(SECONDARY, ("westeurope", "ukwest"))
    assert compare_texts(*mended, fourth).problems[0].remedy.removesuffix(MEANT) == (
        "announce it in at most 3 regions; more do not fit into short paths"
    )


UNSTEERED = ("  local_as:", "  prepends_steer: false\n  local_as:")
WITHDRAW = ("failed: standby", "failed: withdraw")


def test_where_prepends_do_not_steer_no_path_wins() -> None:
    """There is no degraded level there, equal paths are no tie, and no winner is named."""
    twin = replace_texts(PRIMARY, ("northeurope", "westeurope"))
    found = compare_texts(replace_texts(PRIMARY, UNSTEERED), replace_texts(twin, UNSTEERED))
    assert found.problems == ()
    list_azure_problems = get_sentences(found)
    assert len(list_azure_problems) == 9
    assert list_azure_problems["preferred", "standby"] == (
        "northeurope and westeurope announce it, and prepends do not steer"
    )
    assert found.notes[1] == (
        "prepends do not steer in northeurope and westeurope (prepends_steer: false): there "
        "degraded and drained mean withdrawn, and path lengths do not decide which region "
        "wins"
    )


def test_regions_agree_on_whether_prepends_steer() -> None:
    """The same far routers compare the paths, so one of the two profiles is wrong."""
    one = replace_texts(SECONDARY, UNSTEERED, WITHDRAW)
    (problem,) = compare_texts(PRIMARY, one).problems
    assert str(problem) == (
        f"b.yaml:{line(one, 'prepends_steer')}: bgp.prepends_steer: is false here, but true in "
        "northeurope; write the same value in each region: the same far routers compare the paths"
    )
    assert problem.warning


def test_names_and_vips() -> None:
    """A different VIP, a different name and a missing service are errors, each reported once."""
    vip = ("203.0.113.10/32", "203.0.113.11/32")
    other = replace_texts(SECONDARY, vip)
    assert [str(problem) for problem in compare_texts(PRIMARY, other).problems] == [
        (
            f"b.yaml:{line(other, '    vip:')}: services.web.vip: 203.0.113.11/32 differs "
            "from the VIP 203.0.113.10/32 in northeurope (a.yaml); write 203.0.113.10/32, or give "
            "the service another name"
        )
    ]
    renamed = replace_texts(SECONDARY, ("  web:", "  www:"))
    assert [str(problem) for problem in compare_texts(PRIMARY, renamed).problems] == [
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
        assert [str(problem) for problem in compare_texts(*texts).problems] == [
            (
                f"{file}:{line(SECONDARY, 'services:')}: services.api: is missing here, but has "
                f"203.0.113.20/32 in {where}; add it, or this VIP is announced in fewer regions"
            )
        ]
    assert not any(problem.warning for problem in compare_texts(more, SECONDARY).problems)


def test_regions_have_different_names() -> None:
    """Two profiles with the same region name are refused."""
    (problem,) = compare_texts(
        PRIMARY, replace_texts(SECONDARY, ("westeurope", "northeurope"))
    ).problems
    assert str(problem) == (
        f"b.yaml:{line(SECONDARY, 'region:')}: region: northeurope is also the region of a.yaml; "
        "give each region its own name; where they are two appliances of one region, give each "
        "profile an appliance: of its own, and list both in regions as agents"
    )


def test_two_appliances_of_one_region_share_its_traffic() -> None:
    """Equal paths are meant there and need no `ecmp`; another region is compared with both."""
    one, two = (
        PRIMARY.replace("region: northeurope", f"region: northeurope\nappliance: {name}")
        for name in ("ne-1", "ne-2")
    )
    found = compare_texts(one, two, SECONDARY)
    assert found.problems == ()
    (ranking,) = found.rankings
    assert ranking.regions == ("northeurope/ne-1", "northeurope/ne-2", "westeurope")
    assert ranking.find_winners({"northeurope/ne-2": "preferred", "westeurope": "preferred"}) == (
        "northeurope/ne-2",
    )
    assert found.notes[-1] == (
        "ne-1 and ne-2 of northeurope have equal paths for web: this is fine, the routers of the "
        "region share the traffic (ECMP) and each appliance backs the other"
    )
    (problem,) = compare_texts(one, one).problems
    assert str(problem).startswith(
        f"b.yaml:{line(one, 'appliance:')}: appliance: northeurope/ne-1 is also that of a.yaml; "
    )


def test_levels_of_one_region_may_not_tie_with_each_other() -> None:
    """A degraded appliance that ties with its preferred twin would keep its share."""
    one = PRIMARY.replace("region: northeurope", "region: northeurope\nappliance: ne-1")
    two = replace_texts(SECONDARY, ("region: westeurope", "region: northeurope\nappliance: ne-2"))
    two = replace_texts(two, ("prepend: 2", "prepend: 3"))
    problems = [str(each) for each in compare_texts(one, two).problems if not each.warning]
    assert any("ties with" in each for each in problems)


def test_different_meds_are_told() -> None:
    """Equal paths with different MEDs are no tie where a router compares MEDs."""
    shared = PRIMARY.replace("prepend: 0", "prepend: 0\n    med: 100", 1)
    other = SECONDARY.replace("prepend: 2", "prepend: 2\n    med: 200", 1)
    note = next(each for each in compare_texts(shared, other).notes if "MED" in each)
    assert note.startswith("web has different MEDs (northeurope 100, westeurope 200): ")
    assert not [
        each
        for each in compare_texts(
            shared, SECONDARY.replace("prepend: 2", "prepend: 2\n    med: 100", 1)
        ).notes
        if "MED" in each
    ]


def test_notes() -> None:
    """Notes explain what looks like a problem; a single region has none."""
    assert compare_texts(PRIMARY, SECONDARY).notes == (
        (
            "all regions use AS 65010: this is fine; loop detection drops the routes of the "
            "other regions, which no region needs"
        ),
        (
            "on Azure the paths are those at the MSEE; ExpressRoute removes private AS numbers, so "
            "on-premises routers see 12076 alone: behind two circuits write bgp.prepends_steer: "
            "false in each region"
        ),
    )
    other = replace_texts(SECONDARY, ("65010", "65011"), ("platform: azure", "platform: aws"))
    assert compare_texts(PRIMARY, other).notes[:2] == (
        "the regions use the AS numbers 65010 65011: only lengths are compared",
        ("the regions are on aws and azure: perhaps no router sees all of these paths as shown"),
    )
    assert compare_texts(PRIMARY) == Comparison((), (), ())


def test_without_lines() -> None:
    """Without the lines of the files all problems are at line 1."""
    profiles = [(file, validate_profile(PRIMARY, file).profile) for file in ("a.yaml", "b.yaml")]
    found = compare_regions([(file, profile) for file, profile in profiles if profile])
    assert {problem.line for problem in found.problems} == {1}


def test_a_note_about_ibgp() -> None:
    """Of paths with our own AS number there is no word, since there are none to its neighbors."""
    inside = [("platform: azure", "platform: plain"), ("65515", "65010")]
    one, two = (replace_texts(text, *inside) for text in (PRIMARY, SECONDARY))
    (note,) = compare_texts(one, two).notes
    assert note.startswith("to the iBGP neighbors of northeurope and westeurope the paths are")
