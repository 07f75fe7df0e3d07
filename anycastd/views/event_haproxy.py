"""HAProxy gone, back and with a new worker, and its maintenance map, as events (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from anycastd.decision.policy import Decision
from anycastd.evidence.finding import Truth
from anycastd.evidence.haproxy.snapshot import Observation, Snapshot, Unreadable
from anycastd.reasons import Reason
from anycastd.system.instants import format_duration
from anycastd.views.events import Event, EventKind, Value


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """What is known of one HAProxy; times are own time (s).

    ``answers``: False once its absence was told.  ``pid`` is that of the worker that answered last
    (None: none has), ``answered_at`` when it was asked.
    """

    answers: bool
    pid: int | None
    answered_at: float


def find_instance_event(
    name: str,
    before: KnownInstance | None,
    look: Observation,
    silence: float,
    at: float,
) -> tuple[KnownInstance, Event | None]:
    """Compare the newest look at the HAProxy ``name`` with what was known ``before``.

    A HAProxy that does not answer counts as gone after ``silence`` seconds without a sign of life,
    and one that is gone at once.  ``at`` is Unix time.  Returns what is known now, and the event.
    """
    known = before or KnownInstance(answers=True, pid=None, answered_at=look.asked_at)
    if isinstance(look, Snapshot):
        now = KnownInstance(answers=True, pid=look.worker.pid, answered_at=look.asked_at)
        return now, _answering(name, known, look, at)
    reason = Reason.HAPROXY_GONE
    if isinstance(look, Unreadable):
        reason = look.reason
        heard_at = known.answered_at if look.heard_at is None else look.heard_at
        if look.asked_at - max(known.answered_at, heard_at) < silence:
            return known, None
    gone = replace(known, answers=False)
    if not known.answers:
        return gone, None
    return gone, Event(
        at,
        EventKind.HAPROXY_GONE,
        f"haproxy {name}: {reason.sentence} ({look.detail})",
        haproxy=name,
        reason=reason.name.lower(),
        fields={"why": look.detail},
    )


def _answering(name: str, before: KnownInstance, look: Snapshot, at: float) -> Event | None:
    """Build the event of an answer, if it is one."""
    worker = look.worker
    who = f"version {worker.version}, pid {worker.pid}"
    if not before.answers:
        kind = EventKind.HAPROXY_BACK
        away = format_duration(look.asked_at - before.answered_at)
        text = f"haproxy {name}: answers again after {away} ({who})"
    elif before.pid not in (None, worker.pid):
        kind = EventKind.HAPROXY_CHANGED
        text = f"haproxy {name}: a new worker answers ({who})"
    else:
        return None
    fields: dict[str, Value] = {"version": worker.version, "pid": worker.pid}
    return Event(at, kind, text, haproxy=name, fields=fields)


def find_maintenance_events(
    before: Mapping[str, bool], decisions: Mapping[str, Decision], at: float
) -> Iterator[Event]:
    """Yield an event for each service whose maintenance began or ended.

    ``before``: service -> whether it was in maintenance; a service that is not in it was not.
    """
    for name, decision in decisions.items():
        found = decision.verdict.maintenance
        if found is None or not found.alive or found.truth is Truth.UNKNOWN:
            continue
        now = found.truth is Truth.FALSE
        if now == before.get(name, False):
            continue
        kind = EventKind.MAINTENANCE_BEGAN if now else EventKind.MAINTENANCE_ENDED
        verb = "begins" if now else "ends"
        text = f"{name}: maintenance {verb} (HAProxy's map: {found.value})"
        yield Event(at, kind, text, service=name, fields={"value": found.value})
