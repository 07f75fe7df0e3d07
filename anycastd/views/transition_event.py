"""A change of level as an event (pure)."""

from __future__ import annotations

from anycastd.decision.levels import Level
from anycastd.decision.policy import Transition
from anycastd.profile.model import Profile
from anycastd.reasons import Reason
from anycastd.views.events import Event, EventKind, Value


def build_transition_event(profile: Profile, transition: Transition, at: float) -> Event:
    """Build the event of a change of level that was decided at ``at`` (Unix time).

    Where the level stays, the next hop or the MED of the route has changed.  Its fields are
    ``vip``, ``from`` and ``to`` (levels), ``detail`` (the evidence as text), and the milliseconds
    of own time that each stage took: ``decided_ms`` after the evidence was asked for, ``sent_ms``
    after that, ``acknowledged_ms`` after that (None: it was not).
    """
    detail = f" ({transition.detail})" if transition.detail else ""
    old, new = transition.old.label, transition.new.label
    service = profile.services.get(transition.service)
    change = f"{old} -> {new}" if old != new else f"stays {new}"
    return Event(
        at,
        EventKind.TRANSITION,
        f"{transition.service}: {change}: {transition.reason.sentence}{detail}",
        service=transition.service,
        reason=transition.reason.name.lower(),
        fields={
            "vip": "" if service is None else service.prefix,
            "from": old,
            "to": new,
            "detail": transition.detail,
            "decided_ms": _milliseconds(transition.evidence_at, transition.decided_at),
            "sent_ms": _milliseconds(transition.decided_at, transition.sent_at),
            "acknowledged_ms": _milliseconds(transition.sent_at, transition.acknowledged_at),
        },
    )


def build_missed_event(profile: Profile, service: str, told: str, at: float) -> Event:
    """Build the event of a service that was announced at the level ``told`` by an earlier agent.

    It is withdrawn when this agent starts, at ``at`` (Unix time): the lease ended in between.
    """
    reason = Reason.LEASE_EXPIRED
    text = f"{service}: {told} -> withdrawn: no agent was there to renew the lease"
    fields: dict[str, Value] = {
        "vip": profile.services[service].prefix,
        "from": told,
        "to": Level.WITHDRAWN.label,
        "detail": "found by the next agent when it started; it happened before that",
    }
    stages = dict.fromkeys(("decided_ms", "sent_ms", "acknowledged_ms"))
    return Event(
        at,
        EventKind.TRANSITION,
        text,
        service=service,
        reason=reason.name.lower(),
        fields=fields | stages,
    )


def _milliseconds(began_at: float | None, ended_at: float | None) -> float | None:
    if began_at is None or ended_at is None:
        return None
    return round(1000 * max(0.0, ended_at - began_at), 1)
