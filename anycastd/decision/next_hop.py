"""Choose the next hop of a service: the first of its list that serves (pure).

A service may list several machines as next hops.  One of them is chosen, and its verdict is what
``policy`` decides the level by.  So nothing else of the decision knows of several next hops.

**Away at once.**  A next hop that does not serve any more is left in the same pass.  The one that
is chosen instead must be known to serve now: what is unknown is never chosen.  One without a wait
comes before one that has failed lately; of equal ones the first of the list is chosen.  Where none
serves, the service cannot serve: that is a failure like any other.

**Back slowly.**  An earlier one comes back by the timers of `return`: after its rise, after its
hold-down (which doubles with each of its failures, or ends with `anycastd return`), and after the
spacing since the last change of the route.  Its evidence must be newer than the last freeze.

**Unknown.**  While the chosen one is unknown, its last known value counts for a bounded time, as
everywhere.

**Not announced.**  While nothing is announced a choice is no change of a route.  So the first one
that serves and is not held down is chosen, and its proof begins anew.

**Another agent.**  A new agent begins with the next hop of the leased routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from anycastd.decision.caps import HOLD_DOWN_RESET, compute_hold_down
from anycastd.decision.last_known import (
    NEVER_KNOWN,
    LastKnown,
    believed_until,
    update_from_finding,
)
from anycastd.decision.memory import HopMemory, Memory
from anycastd.decision.verdict import TrueVerdict, Verdict
from anycastd.evidence.finding import Finding, RuleRef, Truth
from anycastd.profile.model import Service
from anycastd.reasons import Reason


class HopWait(NamedTuple):
    """Why an earlier next hop that serves is not chosen yet, and until when (own time)."""

    reason: Reason
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A next hop of the list: its address, the verdict of its own rules, what counts of it.

    ``serves`` is its last known value (None: never known).  ``waits`` are those of its return.
    """

    address: str
    verdict: Verdict
    serves: bool | None
    waits: tuple[HopWait, ...] = ()

    @property
    def detail(self) -> str:
        """Return what its decisive rule found, for people."""
        found = self.verdict.serve
        return f"{found.rule.text}: {found.value}" if found.value else found.rule.text


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A change of an announced route without a change of level."""

    reason: Reason
    detail: str
    evidence_at: float


@dataclass(frozen=True, slots=True)
class HopChoice:
    """The next hop that is chosen, ``index`` in the list, and all candidates.

    ``change`` is set where an announced route gets another next hop in this pass.  ``wake_at`` (own
    time) is when time alone may change the choice.
    """

    index: int
    candidates: tuple[Candidate, ...]
    change: RouteChange | None = None
    wake_at: float | None = None

    @property
    def address(self) -> str:
        """Return the address of the next hop that is chosen."""
        return self.candidates[self.index].address

    @property
    def serves(self) -> bool | None:
        """Return whether the chosen one serves, as far as known."""
        return self.candidates[self.index].serves


class HopContext(NamedTuple):
    """What a choice depends on, besides the verdicts and the memory.

    ``announced``: routes of the service are on the lease.  ``leased``: the next hop of the leased
    routes, where it is to be adopted.  ``returned_at`` and ``frozen_until`` are as in ``Context``.
    """

    announced: bool
    leased: str | None = None
    returned_at: float | None = None
    frozen_until: float | None = None


def choose_next_hop(
    service: Service, verdicts: Sequence[Verdict], context: HopContext, memory: Memory, now: float
) -> tuple[HopChoice, Memory]:
    """Choose the next hop of ``service`` at ``now`` (own time, seconds).

    ``verdicts``: one for each of its next hops, of their own rules.  Returns the choice, and the
    memory for the rest of this pass.
    """
    addresses = [str(each.address) for each in service.next_hops]
    known = _update_candidates(addresses, verdicts, context, memory, now)
    if known != memory.next_hops:
        memory = replace(memory, next_hops=known)
    if context.leased in addresses:
        memory = replace(memory, next_hop=context.leased)
    candidates = tuple(
        Candidate(
            each.address,
            verdict,
            each.serve.value,
            tuple(_iter_waits(service, each, verdict, context, memory, now)),
        )
        for each, verdict in zip(known, verdicts, strict=True)
    )
    chosen = addresses.index(memory.next_hop) if memory.next_hop in addresses else None
    index, reason = _choose(candidates, chosen, announced=context.announced)
    change = None
    if index != chosen:
        memory = _take(memory, index, announced=context.announced and chosen is not None, now=now)
        if context.announced and chosen is not None:
            new = candidates[index]
            cause = candidates[chosen] if reason is Reason.NEXT_HOP_FAILED else new
            detail = f"{addresses[chosen]} -> {new.address}; {cause.detail}"
            change = RouteChange(reason, detail, cause.verdict.asked_at)
    wake_at = _find_wake(known, candidates, now)
    return HopChoice(index, candidates, change, wake_at), memory


def _choose(
    candidates: Sequence[Candidate], chosen: int | None, *, announced: bool
) -> tuple[int, Reason]:
    """Return the index of the next hop to announce, and why it is another one."""
    ready = [number for number, each in enumerate(candidates) if _is_known_to_serve(each)]
    if not announced:
        free = [number for number in ready if not _is_held(candidates[number])]
        first = next(iter(free or ready), None)
        return (chosen or 0) if first is None else first, Reason.NEXT_HOP_RETURNED
    if chosen is not None and candidates[chosen].serves is not False:
        back = [number for number in ready if number < chosen and not candidates[number].waits]
        return next(iter(back), chosen), Reason.NEXT_HOP_RETURNED
    # Spacing delays no way out, so only what speaks against the next hop itself counts.
    steady = [number for number in ready if not _has_own_wait(candidates[number])]
    return next(iter(steady or ready), chosen or 0), Reason.NEXT_HOP_FAILED


def _is_known_to_serve(candidate: Candidate) -> bool:
    return candidate.verdict.serve.truth is Truth.TRUE


_HELD = (Reason.HOLD_DOWN, Reason.MANUAL)


def _is_held(candidate: Candidate) -> bool:
    return any(wait.reason in _HELD for wait in candidate.waits)


def _has_own_wait(candidate: Candidate) -> bool:
    return any(wait.reason in (*_HELD, Reason.RISING) for wait in candidate.waits)


def _take(memory: Memory, index: int, *, announced: bool, now: float) -> Memory:
    """Note that another next hop is chosen."""
    taken = memory.next_hops[index]
    if taken.failed_at is not None:
        # It has returned, so its failure counts for no later wait.
        at = max(taken.failed_at, taken.returned_at or taken.failed_at)
        returned = replace(taken, returned_at=at)
        hops = (*memory.next_hops[:index], returned, *memory.next_hops[index + 1 :])
        memory = replace(memory, next_hops=hops)
    if announced:
        return replace(memory, next_hop=taken.address, changed_at=now)
    # Nothing of it is proved yet.
    return replace(memory, next_hop=taken.address, serve=NEVER_KNOWN, healthy=NEVER_KNOWN)


def _update_candidates(
    addresses: Sequence[str],
    verdicts: Sequence[Verdict],
    context: HopContext,
    memory: Memory,
    now: float,
) -> tuple[HopMemory, ...]:
    before = {each.address: each for each in memory.next_hops}
    adopted = addresses.index(context.leased) if context.leased in addresses else None
    found = []
    for index, (address, verdict) in enumerate(zip(addresses, verdicts, strict=True)):
        hop = before.get(address) or HopMemory(address)
        if index == adopted and hop.serve.value is None:
            # The agent before this one announced it.
            hop = replace(hop, serve=LastKnown(True, now))
        elif adopted is not None and index < adopted and not memory.restored:
            # Its waits are not known: assume the longest possible ones.
            hop = replace(hop, failures=1, failed_at=now)
        asked = context.returned_at
        if asked is not None and (hop.returned_at is None or hop.returned_at < asked):
            hop = replace(hop, returned_at=asked)
        found.append(_update_candidate(hop, verdict, now))
    return tuple(found)


def _update_candidate(hop: HopMemory, verdict: Verdict, now: float) -> HopMemory:
    serve = update_from_finding(hop.serve, verdict.serve, verdict.believe_for, now)
    if serve is hop.serve:
        return hop
    if hop.serve.value is True and serve.value is False:
        calm = hop.failed_at is None or now - hop.failed_at >= HOLD_DOWN_RESET
        return replace(hop, serve=serve, failures=1 if calm else hop.failures + 1, failed_at=now)
    return replace(hop, serve=serve)


def _iter_waits(
    service: Service,
    hop: HopMemory,
    verdict: Verdict,
    context: HopContext,
    memory: Memory,
    now: float,
) -> list[HopWait]:
    """List what an earlier next hop waits for before it is chosen again."""
    timers = service.return_timers
    waits: list[HopWait] = []
    if not hop.serve.value:
        return waits
    failed_at, returned_at = hop.failed_at, hop.returned_at
    if failed_at is not None and (returned_at is None or returned_at < failed_at):
        ends_at = failed_at + compute_hold_down(service, hop.failures)
        if timers.manual:
            waits.append(HopWait(Reason.MANUAL, None))
        elif now < ends_at:
            waits.append(HopWait(Reason.HOLD_DOWN, ends_at))
    if now < (risen := hop.serve.began_at + timers.rise):
        waits.append(HopWait(Reason.RISING, risen))
    if memory.changed_at is not None and now < (spaced := memory.changed_at + timers.spacing):
        waits.append(HopWait(Reason.SPACING, spaced))
    if context.frozen_until is not None and verdict.asked_at < context.frozen_until:
        waits.append(HopWait(Reason.PROVING, None))
    return waits


def _find_wake(
    known: Sequence[HopMemory], candidates: Sequence[Candidate], now: float
) -> float | None:
    times: list[float | None] = []
    for hop, each in zip(known, candidates, strict=True):
        times += [each.verdict.changes_at, believed_until(hop.serve, each.verdict.believe_for)]
        times += [wait.ends_at for wait in each.waits]
    return min((at for at in times if at is not None and at > now), default=None)


def complete_verdict(service: Service, verdict: Verdict, choice: HopChoice) -> Verdict:
    """Say in the verdict of the service that none of its next hops serves, if so.

    ``verdict`` is that of the service with the rules of the chosen next hop.
    """
    serve = verdict.serve
    own = serve.rule.paths[0].startswith("next_hops")
    if choice.serves is not False or (serve.truth is Truth.FALSE and not own):
        return verdict
    value = "; ".join(f"{each.address}: {each.detail}" for each in choice.candidates)
    ref = RuleRef(service.name, ("next_hops",), "", "next hops")
    none = Finding(
        ref,
        Truth.FALSE,
        value,
        Reason.NO_NEXT_HOP,
        alive=serve.alive,
        asked_at=choice.candidates[choice.index].verdict.asked_at,
    )
    whole = verdict.join() if isinstance(verdict, TrueVerdict) else verdict
    return whole._replace(serve=none)
