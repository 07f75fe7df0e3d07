"""The parts of stories in which several machines answer at once, or a router prefers by MED."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import count_by_server
from anycastd.lab.network.topology import Site
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
    check_lost,
    count_requests,
    join_titles,
    seconds_after,
    title_table,
)


def find_own_file(lab: Lab, site: Site, name: str) -> Path:
    """Return the path of a file in the directory that is `{directory}` in a site's edits."""
    return lab.appliances[site.name].haproxy_socket.parent / name


def read_levels(lab: Lab) -> list[str]:
    """Return the levels that the agents report, in the order of the sites; empty: no answer."""
    found = []
    for site in lab.topology.sites:
        services = (lab.status(site.name) or {}).get("services", {})
        found.append(next((str(each["level"]) for each in services.values()), ""))
    return found


def wait_shared(
    lab: Lab, step: StepReport, at: float, sites: Collection[Site], timeout: float = 20
) -> float | None:
    """Wait until the router's kernel has these sites' paths alone, and each of them has answered.

    ``at`` is the time of the event.  Returns when the kernel changed, or None; both are times of
    the monotonic clock, in seconds.  Raises TimedOutError after ``timeout`` seconds.
    """
    step.acted_at = at
    observed, title = lab.monitors[lab.topology.observed], lab.topology.observed_title
    hops = {hop for site in sites for hop in site.next_hops}
    titles = join_titles(sites)
    lab.wait(
        f"{title} to send to {titles}",
        lambda: set(observed.next_hops()) == hops,
        timeout,
        lab.describe,
    )
    sent_at = time.monotonic()

    def have_answered() -> bool:
        results = lab.client.results(sent_at)
        names = {each.region for each in results if each.ok and each.sent_at > sent_at}
        return len(results) > 2 * GOOD_ANSWERS and names == {site.name for site in sites}

    lab.wait(f"answers from {titles}", have_answered, 20, lab.describe)
    moved = next((each.at for each in observed.changes(at) if set(each.next_hops) == hops), None)
    step.add_time("moved", f"{title} sends to {titles}", seconds_after(at, moved))
    step.add_table("after", title_table(lab), lab.read_table())
    shares: Counter[str] = Counter()
    results = [each for each in lab.client.results(sent_at) if each.sent_at > sent_at]
    for name, number in count_by_server(results).items():
        shares[name.split()[0]] += number
    told = [f"{name} {number / shares.total():.0%}" for name, number in sorted(shares.items())]
    step.add_check(
        f"{title} uses the paths of {titles} alone, and only these answer",
        set(shares) == {site.name for site in sites},
        ", ".join(told),
    )
    return moved


def report_outage(lab: Lab, step: StepReport, at: float) -> None:
    """Add what the client saw since ``at`` (monotonic clock, s) to the report."""
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("outage", "from the first failed request to the last", outage.seconds)
    count_requests(lab, step, at)


def check_lost_shared(lab: Lab, step: StepReport, at: float) -> None:
    """Check that no request failed since ``at``, except those open at a change of the router.

    Several machines change their paths one after the other, and each change moves connections.
    ``at`` is a time of the monotonic clock, in seconds.
    """
    changes = lab.monitors[lab.topology.observed].changes(at)
    check_lost(lab, step, at, *(change.at for change in changes))
