"""A named reason as status and explain show it: ReasonView."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from anycastd.profile.model import Profile, Service
from anycastd.reasons import Reason


@dataclass(frozen=True, slots=True)
class ReasonView:
    """A named reason: its sentence, what to do about it, and the evidence (``detail``) as text."""

    name: str
    sentence: str
    remedy: str
    detail: str


@dataclass(frozen=True, slots=True)
class TimedReasonView(ReasonView):
    """A reason that may end with time: in ``until`` seconds; None: time alone does not end it."""

    until: float | None


View = TypeVar("View", bound=ReasonView)


def complete_remedy(view: View, profile: Profile, service: Service) -> View:
    """Replace a remedy that is a command for any profile by the one for a service's own."""
    rule = service.maintenance
    if view.name != Reason.MAINTENANCE.name.lower() or rule is None:
        return view
    command = f"echo 'del map {rule.map} {rule.key}'"  # the schema lets no quote into either
    socket = profile.haproxy[rule.instance].socket.replace("tcp://", "TCP:")  # as socat writes it
    return replace(view, remedy=f"when the work is done: {command} | socat stdio '{socket}'")


def view_reason(reason: Reason, detail: str) -> ReasonView:
    """Build the view of ``reason``; ``detail`` is the evidence for it."""
    return ReasonView(reason.name.lower(), reason.sentence, reason.remedy, detail)


def view_timed_reason(
    reason: Reason, detail: str, ends_at: float | None, now: float
) -> TimedReasonView:
    """Build the view of ``reason`` with the seconds from ``now`` to ``ends_at`` (own time)."""
    left = None if ends_at is None else round(max(0.0, ends_at - now), 1)
    return TimedReasonView(reason.name.lower(), reason.sentence, reason.remedy, detail, left)
