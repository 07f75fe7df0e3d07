"""What operators do, and starts and stops of the agent, as events (pure).

``at`` is Unix time, ``by`` who did it.
"""

from __future__ import annotations

from collections.abc import Sequence

from anycastd.decision.drains import Drain
from anycastd.profile.model import Profile
from anycastd.views.events import Event, EventKind

MAX_PROBLEMS = 5
"""Problems of a refused reload that its event names."""


def describe_origin(drain: Drain) -> str:
    """Describe why a drain began, and who began it."""
    return f"{drain.reason}; by {drain.by}" if drain.by else drain.reason


def build_drain_began(drain: Drain, at: float) -> Event:
    """Build the event of a drain that begins."""
    duration = None if drain.ends_at is None else round(drain.ends_at - drain.began_at, 1)
    return Event(
        at,
        EventKind.DRAIN_BEGAN,
        f"drain of {drain.scope} begins ({describe_origin(drain)})",
        service=drain.service or "",
        fields={"by": drain.by, "why": drain.reason, "for_s": duration, "force": drain.force},
    )


def build_drain_ended(drain: Drain, at: float, by: str | None = None) -> Event:
    """Build the event of a drain that ends; ``by`` None: its time is up."""
    text = (
        f"drain of {drain.scope} ends: its time is up ({describe_origin(drain)})"
        if by is None
        else f"drain of {drain.scope} is ended by {by}"
    )
    fields = {"by": by or "", "began_by": drain.by, "why": drain.reason}
    return Event(at, EventKind.DRAIN_ENDED, text, service=drain.service or "", fields=fields)


def build_return(service: str, by: str, at: float) -> Event:
    """Build the event of `anycastd return`."""
    text = f"{service}: {by} released it with `anycastd return`"
    return Event(at, EventKind.RETURN, text, service=service, fields={"by": by})


def build_reload_refused(problems: Sequence[str], at: float) -> Event:
    """Build the event of a reload that was refused, with its ``problems``, a line each."""
    more = len(problems) - MAX_PROBLEMS
    lines = [" ".join(each.split()) for each in problems[:MAX_PROBLEMS]]
    shown = "; ".join(lines) + (f"; and {more} more" if more > 0 else "")
    fields = {"problems": len(problems)}
    return Event(at, EventKind.RELOAD_REFUSED, f"reload refused: {shown}", fields=fields)


def build_started(
    profile: Profile, version: str, profile_hash: str, at: float, *, reloaded_by: str | None
) -> Event:
    """Build the event of an agent that starts, or goes on after a reload (by ``reloaded_by``)."""
    about = (
        f"anycastd {version}, region {profile.region}, "
        f"{_count(len(profile.services), 'service')}, "
        f"{_count(len(profile.bgp.neighbors), 'neighbor')}, profile {profile_hash}"
    )
    fields = {"version": version, "region": profile.region, "profile": profile_hash}
    if reloaded_by is None:
        return Event(at, EventKind.AGENT_STARTED, f"started: {about}", fields=fields)
    text = f"reloaded by {reloaded_by}: {about}"
    return Event(at, EventKind.RELOAD_DONE, text, fields={**fields, "by": reloaded_by})


def build_stopped(at: float, *, withdraws: bool) -> Event:
    """Build the event of an agent that ends; ``withdraws``: its routes go with it."""
    then = "all routes are withdrawn" if withdraws else "its routes stay until the lease is over"
    text = f"stopped: {then}"
    return Event(at, EventKind.AGENT_STOPPED, text, fields={"withdraws": withdraws})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
