"""Profiles of several regions of which one is a copy of another one."""

from __future__ import annotations

import pytest

from anycastd.profile.compare import compare_regions
from anycastd.profile.validate import validate_profile
from support.broken_profiles import LEAST, Changes, replace_texts

HERE = replace_texts(LEAST, ("failed: standby", "prepend: 0, failed: standby"))
THERE = replace_texts(HERE, ("here", "there"), ("prepend: 0", "prepend: 3, standby: {prepend: 9}"))
OWN: Changes = [("router_id: 192.0.2.10", "router_id: 192.0.2.20")]
OWN_ADDRESS = [("local_address: 192.0.2.10", "local_address: 192.0.2.20")]
REGIONS = """\
regions:
  - {name: here, agent: 192.0.2.10:9480}
  - {name: there, agent: 192.0.2.20:9480}
"""


def list_copies(*texts: str) -> list[str]:
    """Return the problems of a comparison as text; their files are a.yaml, b.yaml and so on."""
    found = {f"{letter}.yaml": text for letter, text in zip("abc", texts, strict=False)}
    validations = {file: validate_profile(text, file) for file, text in found.items()}
    profiles = []
    for file, each in validations.items():
        assert each.profile is not None, each.problems
        profiles.append((file, each.profile))
    lines = {file: each.lines for file, each in validations.items()}
    problems = compare_regions(profiles, lines).problems
    assert all(problem.warning for problem in problems)
    return [str(problem) for problem in problems if "prepend" not in str(problem)]


def test_each_region_with_its_own_values() -> None:
    """Two regions that share neither address nor identifier have nothing to be told."""
    assert list_copies(HERE, replace_texts(THERE, *OWN, *OWN_ADDRESS)) == []


# FC-COPY (antrea issue 6605, azure-docs issue 72418)
def test_a_copied_profile_is_called_a_copy() -> None:
    """The same router_id and local_address in two regions are two warnings, with the remedy."""
    assert list_copies(HERE, THERE) == [
        (
            "b.yaml:5: bgp.router_id: 192.0.2.10 is also that of here (a.yaml), so one of the two "
            "is a copy: routers refuse a second session with the same identifier; write the value "
            "of there's own appliance"
        ),
        (
            "b.yaml:6: bgp.local_address: 192.0.2.10 is also that of here (a.yaml), so one of the "
            "two is a copy; write the value of there's own appliance"
        ),
    ]


def test_only_the_router_id_was_forgotten() -> None:
    """One value that was not changed is one warning."""
    (found,) = list_copies(HERE, replace_texts(THERE, *OWN_ADDRESS))
    assert "bgp.router_id" in found


def test_a_copied_web_endpoint() -> None:
    """Both agents cannot have one HTTP endpoint; at every address they may."""
    there = replace_texts(THERE, *OWN, *OWN_ADDRESS)
    web = "web: {listen: 192.0.2.10:9480}\n"
    (found,) = list_copies(HERE + web, there + web)
    assert "web.listen: 192.0.2.10:9480 is also that of here" in found
    web = "web: {listen: 0.0.0.0:9480}\n"
    assert list_copies(HERE + web, there + web) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ([("192.0.2.20:9480", "192.0.2.21:9480")], "the agents of regions"),
        ([("name: here", "name: x"), ("name: there", "name: here"), ("name: x", "name: there")],
         "the regions or their order"),
    ],
)  # fmt: skip
def test_lists_of_regions_that_differ(changes: Changes, what: str) -> None:
    """The lists have the same regions in the same order, with the same agents."""
    web = "web: {listen: 10.9.9.9:9480}\n"
    here = HERE + REGIONS + web
    there = replace_texts(THERE, *OWN, *OWN_ADDRESS) + REGIONS + web.replace("10.9", "10.8")
    assert list_copies(here, there) == []
    (found,) = list_copies(here, replace_texts(there, *changes))
    assert f"regions: {what} differ from those of here (a.yaml: here, there)" in found
