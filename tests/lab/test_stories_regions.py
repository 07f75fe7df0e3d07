"""The story of four regions with rising prepends, and of a client inside one of them."""

from __future__ import annotations

import pytest

from anycastd.lab.stories import regions
from anycastd.lab.stories.catalogue import STORIES, list_stories
from support.lab_stories import play_story, read_paths


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_four_regions_fail_one_after_the_other() -> None:
    """Each time the next path wins, and on premises it is always 12076 alone."""
    steps = play_story("regions-4")
    assert list(steps) == [
        "baseline",
        "failed-northeurope",
        "failed-westeurope",
        "failed-uksouth",
        "back",
    ]
    found = [set(read_paths(step["tables"][0]).values()) for step in steps.values()]
    paths = ["65515" + " 65010" * (number + 1) for number in range(4)]
    assert found == [set(paths), set(paths[1:]), set(paths[2:]), set(paths[3:]), set(paths)]


def test_three_and_four_regions_have_their_own_prepends() -> None:
    """No number appears twice among the levels of all regions."""
    for story in (regions.THREE, regions.FOUR):
        numbers = [number for site in story.topology.sites for number in site.edits.values()]
        assert len(set(numbers)) == len(numbers) == 2 * len(story.topology.sites)


def test_the_list_has_a_line_of_eighty_columns_for_each_story() -> None:
    """`anycastd lab --list` fits a terminal; so do all pictures."""
    lines = list_stories().splitlines()
    assert [line.split()[0] for line in lines] == list(STORIES)
    pictures = [line for story in STORIES.values() for line in story.topology.picture.splitlines()]
    assert max(map(len, (*lines, *pictures))) < 80
