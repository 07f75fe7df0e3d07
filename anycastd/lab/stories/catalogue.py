"""All stories by name, in the order of `anycastd lab --list`; a new story gets its line here."""

from __future__ import annotations

from anycastd.lab.stories import (
    active_active,
    active_passive,
    aws,
    circuits,
    database,
    failover,
    geographic,
    graded,
    one_vnet,
    regions,
    two_nvas,
    watcher,
)
from anycastd.lab.stories.steps import Story

STORIES: dict[str, Story] = {
    "failover": failover.STORY,
    "graded": graded.STORY,
    "circuits": circuits.STORY,
    "regions-3": regions.THREE,
    "regions-4": regions.FOUR,
    "one-vnet": one_vnet.STORY,
    "one-vnet-slow": one_vnet.SLOW_STORY,
    "watcher": watcher.STORY,
    "two-nvas": two_nvas.STORY,
    "active-active": active_active.STORY,
    "active-passive": active_passive.STORY,
    "geographic": geographic.STORY,
    "database": database.STORY,
    "aws": aws.STORY,
}
"""Story name -> story."""


def list_stories() -> str:
    """Return a line for each story: its name and what it shows."""
    width = max(map(len, STORIES)) + 2
    return "\n".join(f"{name:<{width}}{story.summary}" for name, story in STORIES.items())
