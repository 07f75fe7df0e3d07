"""Notes of a comparison of profiles: what looks like a problem and is none (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anycastd.profile.model import Profile, Service


def iter_notes(profiles: Sequence[Profile]) -> Iterator[str]:
    """Yield notes about what looks like a problem and is none."""
    if len(profiles) < 2:  # noqa: PLR2004 - one region cannot be compared
        return
    numbers = sorted({profile.bgp.local_as for profile in profiles})
    inside = [
        profile.agent_name
        for profile in profiles
        if any(neighbor.internal for neighbor in profile.bgp.neighbors)
    ]
    if len(numbers) == 1 and len(inside) < len(profiles):
        yield (
            f"all regions use AS {numbers[0]}: this is fine; loop detection drops the routes of "
            "the other regions, which no region needs"
        )
    elif len(numbers) > 1:
        listed = " ".join(map(str, numbers))
        yield f"the regions use the AS numbers {listed}: only lengths are compared"
    unsteered = [profile.agent_name for profile in profiles if not profile.bgp.prepends_steer]
    if unsteered:
        yield (
            f"prepends do not steer in {' and '.join(unsteered)} (prepends_steer: false): there "
            "degraded and drained mean withdrawn, and path lengths do not decide which region wins"
        )
    if inside:
        yield (
            f"to the iBGP neighbors of {' and '.join(inside)} the paths are empty, and the highest "
            "local preference wins: 100 less the prepends, unless a profile says local_pref"
        )
    platforms = sorted({profile.platform.value for profile in profiles})
    if len(platforms) > 1:
        yield (
            f"the regions are on {' and '.join(platforms)}: perhaps no router sees all of "
            "these paths as shown"
        )
    if "azure" in platforms:
        yield (
            "on Azure the paths are those at the MSEE; ExpressRoute removes private AS numbers, so "
            "on-premises routers see 12076 alone: behind two circuits write bgp.prepends_steer: "
            "false in each region"
        )
    yield from _iter_med_notes(profiles)


def _iter_med_notes(profiles: Sequence[Profile]) -> Iterator[str]:
    """Yield a note for each service whose MEDs differ: they decide between equal paths."""
    names = dict.fromkeys(name for profile in profiles for name in profile.services)
    for name in names:
        meds = {
            profile.agent_name: _describe_med(profile.services[name])
            for profile in profiles
            if name in profile.services
        }
        if len(set(meds.values())) > 1:
            listed = ", ".join(f"{agent} {med}" for agent, med in meds.items())
            yield (
                f"{name} has different MEDs ({listed}): between equal paths from one neighboring "
                "AS a router uses the lowest MED, so there is no tie (RFC 4271 section 9.1.2.2)"
            )


def _describe_med(service: Service) -> str:
    if service.med_steps is None:
        return "none" if service.med is None else str(service.med)
    steps = service.med_steps.steps
    return f"{min(steps)} to {max(steps)}"
