from __future__ import annotations

from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.haproxy.unannounced import EVENT_DELAY, UnannouncedChanges
from support.snapshots import NO, UNPROVED, YES, snapshot


def look(at: float, *servers: object, frontend: str = "OPEN", pid: int = 1) -> Snapshot:
    """Build a look at ``at``, of backend and frontend `web`."""
    return snapshot(*servers, asked_at=at, frontend=frontend, pid=pid)  # type: ignore[arg-type]


def note(*looks: Snapshot, named: dict[float, set[str]] | None = None) -> frozenset[str]:
    """Note looks; ``named`` are the proxies that events had named by the look of this time."""
    changes = UnannouncedChanges()
    for seen in looks:
        changes.note_look(seen, (named or {}).get(seen.asked_at, set()), seen.asked_at)
    assert bool(changes.describe()) is bool(changes.silent)
    return changes.silent


LATER = 1 + EVENT_DELAY


def test_a_change_without_an_event_is_found() -> None:
    """A server that went down, or a frontend that closed: silent, after a short time."""
    assert note(look(0, YES), look(1, NO)) == set()
    assert note(look(0, YES), look(1, NO), look(LATER, NO)) == {"web"}
    closed = look(1, YES, frontend="PAUSED")
    assert note(look(0, YES), closed, look(LATER, YES, frontend="PAUSED")) == {"web"}


def test_an_event_before_or_soon_after_the_look_announces_it() -> None:
    """Events come a moment before or after the look that finds the change."""
    looks = (look(0, YES), look(1, NO), look(LATER, NO), look(9, NO))
    assert note(*looks, named={1: {"web"}}) == set()
    assert note(*looks, named={LATER: {"web"}}) == set()
    assert note(*looks, named={9: {"web"}}) == set(), "the event of a later change ends it"


def test_what_haproxy_does_not_log_is_no_sign() -> None:
    """A first check that passes, a server that is added, another worker: no event is due."""
    assert note(look(0, UNPROVED), look(1, YES), look(LATER, YES)) == set()
    assert note(look(0, YES), look(1, YES, NO), look(LATER, YES, NO)) == set()
    assert note(look(0, YES), look(1, NO, pid=2), look(LATER, NO, pid=2)) == set()
