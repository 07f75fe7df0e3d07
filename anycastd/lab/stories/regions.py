"""The stories of three and four regions with rising prepends, and of a client inside a region.

They fail one after the other, the nearest first, and the last one serves alone.  A client inside
the first region's VNet knows the routes of its own route servers only, as on Azure: it loses the
VIP when its region withdraws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anycastd.lab.network import azure
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.load import LoadClient
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
    Story,
    StoryStep,
    baseline,
    check_outage,
    check_premises,
    recover,
    wait_moved,
)

STANDBY = 4
"""Prepends of the first region at standby; each further region has one more."""
_NAMES = (
    ("northeurope", "North Europe", "ne", 156),
    ("westeurope", "West Europe", "we", 136),
    ("uksouth", "UK South", "uk", 116),
    ("francecentral", "France Central", "fr", 96),
)


def _make_regions(count: int) -> tuple[azure.Region, ...]:
    return tuple(
        replace(
            azure.make_region(*name, "region.yaml", inner_client=not number),
            edits={
                "services.web.prepend": str(number),
                "services.web.standby.prepend": str(STANDBY + number),
            },
        )
        for number, name in enumerate(_NAMES[:count])
    )


def _draw(regions: Sequence[azure.Region]) -> str:
    rows = [
        f"{'client -- ce -- msee ' if not number else '':>23}+- {each.short}-gw0,1 -- "
        f"{each.short}-ars0,1 -- {each.short}-nva -- {each.short}-web1,2"
        for number, each in enumerate(regions)
    ]
    return "\n".join(
        (
            *rows,
            "",
            "  client   asks the VIP without a pause, behind the customer's router (ce)",
            "  ne-user  asks it, too, from inside the first region's VNet",
            "  msee     the cloud's far router: the shortest path gets the requests",
            "",
        )
    )


def _find_inner(lab: Lab) -> LoadClient:
    """Return the client inside the first region."""
    return next(each for node, each in lab.clients.items() if node != "client")


def _play_baseline(lab: Lab, step: StepReport) -> None:
    baseline(lab, step)
    check_premises(lab, step)
    lab.wait_answers(lab.primary.site, GOOD_ANSWERS, 20, client=_find_inner(lab))
    step.add_check(
        "the client inside the region is served by its own region", True, lab.primary.site.title
    )


def _fail(number: int) -> StoryStep:
    """Make the step in which a region fails: those before it have failed already."""

    def play(lab: Lab, step: StepReport) -> None:
        sites = lab.topology.sites
        levels = ["withdrawn" if each <= number else "preferred" for each in range(len(sites))]
        at = lab.faults.kill_web_servers(sites[number].name)
        wait_moved(lab, step, at, sites[number + 1], *levels)
        check_outage(step)
        check_premises(lab, step)
        if not number:
            _wait_inner_lost(lab, step, at)

    title = _NAMES[number][1]
    return StoryStep(f"failed-{_NAMES[number][0]}", f"The web servers of {title} are killed", play)


def _wait_inner_lost(lab: Lab, step: StepReport, at: float) -> None:
    inner = _find_inner(lab)

    def lost() -> bool:
        last = inner.results(at)[-GOOD_ANSWERS:]
        return len(last) == GOOD_ANSWERS and not any(each.ok for each in last)

    lab.wait("the inner client to lose the VIP", lost, 30, lab.describe)
    reasons = sorted({each.detail for each in inner.results(at)[-GOOD_ANSWERS:]})
    step.add_check(
        "the client inside the region has lost the VIP: its VNet hears of its own region only",
        True,
        ", ".join(reasons),
    )


def _recover_all(lab: Lab, step: StepReport) -> None:
    def repair(lab: Lab) -> float:
        return min(lab.faults.start_web_servers(site.name) for site in lab.topology.sites)

    recover(lab, step, repair, timeout=60)
    lab.wait_answers(lab.primary.site, GOOD_ANSWERS, 20, client=_find_inner(lab))
    step.add_check("the client inside the region is served again", True, lab.primary.site.title)


def _build_story(count: int) -> Story:
    regions = _make_regions(count)
    word = {3: "three", 4: "four"}[count]
    return Story(
        (
            StoryStep("baseline", f"Baseline: {word} regions announce the VIP", _play_baseline),
            *(_fail(number) for number in range(count - 1)),
            StoryStep("back", "All web servers are started again", _recover_all),
        ),
        f"{word} regions with rising prepends, a client inside one",
        azure.build_topology(
            regions, summary=f"{word} regions, one anycast address", picture=_draw(regions)
        ),
    )


THREE, FOUR = _build_story(3), _build_story(4)
"""The stories of three and of four regions."""
