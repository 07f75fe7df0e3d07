"""The invariants of the decision about one service, checked from outside after every pass.

An `Observer` sees the surroundings of the service and what is announced.  It uses the types of the
code under search, and none of its functions: all times it has measured itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from anycastd.bgp.route import Route
from anycastd.decision.drains import AGENT_STOP, REPORT_LIFETIME, REPORT_MARGIN, SETTLE_TIME, Drain
from anycastd.decision.levels import CapKind, CapSource, Level
from anycastd.decision.pipeline import PassResult
from anycastd.decision.policy import Decision
from anycastd.decision.region_report import RegionReport
from anycastd.evidence.finding import BELIEVE_UNPROVED_FOR, OVERRULE_AFTER, Truth
from search.effort import InvariantError
from search.surroundings import (
    GRACEFUL_NEIGHBOR,
    NEIGHBORS,
    OTHER_REGION,
    VIP,
    HaproxyState,
    Surroundings,
    build_profile,
)

STANDBY_AFTER, FALL, RISE = 1.0, 5.0, 10.0
HOLD_DOWN, HOLD_DOWN_MAX, SPACING = 60.0, 900.0, 35.0
HOLD_DOWN_RESET = 3600.0
TOLERANCE = 1e-6
"""Seconds by which sums of the same times may differ."""
PREPENDS = {Level.PREFERRED: 0, Level.DEGRADED: 3, Level.STANDBY: 6}
# The levels of these caps depend on the profile.
_PROFILE_DEPENDENT = (
    CapSource.SERVE,
    CapSource.MAINTENANCE,
    CapSource.DRAINS_FILE,
    CapSource.UNHEALTHY,
    CapSource.HEALTH_RISE,
)
_OF_DRAINS = (CapSource.DRAIN, CapSource.DRAINS_FILE)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass as seen from outside: its time, its surroundings, and its result.

    ``report`` is the newest report of the other region.  ``adopted``: the agent had the level of
    the leased routes before the pass.
    """

    now: float
    surroundings: Surroundings
    report: RegionReport | None
    adopted: bool
    result: PassResult

    @property
    def decision(self) -> Decision:
        """The decision about the one service."""
        return self.result.decisions["web"]

    @property
    def level(self) -> Level:
        """The decided level."""
        return self.decision.level


@dataclass(frozen=True, slots=True)
class Observer:
    """What was seen from outside until now; times are own time, in seconds.

    ``announced``: the level of the routes that are announced; it last changed at ``changed_at``.
    ``failed_at``: when the service was last withdrawn because it could not serve, for the
    ``failures``-th time in a row.  The times ``..._began_at`` are None while the state is another.
    ``proved``: the service could serve when that was last certain.
    ``drains`` are those that operators asked for and that have not ended.  ``may_withdraw`` are the
    keys of the drains that were allowed to withdraw the service in some pass, ``must_withdraw`` of
    those that had to.
    """

    announced: Level = Level.WITHDRAWN
    changed_at: float | None = None
    failed_at: float | None = None
    failures: int = 0
    returned_at: float | None = None
    good_began_at: float | None = None
    proof_began_at: float | None = None
    healthy_began_at: float | None = None
    degraded_began_at: float | None = None
    unknown_began_at: float | None = None
    proved: bool = False
    maintenance: bool = False
    drains: Mapping[str, Drain] = field(default_factory=dict)
    may_withdraw: frozenset[str] = frozenset()
    must_withdraw: frozenset[str] = frozenset()

    # What it observes -----------------------------------------------------------------------------

    def observe(self, seen: Pass) -> Observer:
        """Observe a pass; raises InvariantError where an invariant does not hold."""
        now, level = seen.now, seen.level
        after = self.update_times(seen.surroundings, now).update_drains(seen)
        for holds, problem in after.check(seen):
            if not holds:
                change = f"{self.announced.label} -> {level.label} at {now:g} s"
                raise InvariantError(f"{problem}: {change}")
        if level is self.announced:
            return after
        cannot_serve = after.serves(seen) is False or not seen.surroundings.vip
        failed = level is Level.WITHDRAWN and cannot_serve
        # A service with `failed: standby` may be at standby without ever having served.
        if failed and self.proof_began_at is not None and not after.maintenance:
            reset = self.failed_at is None or now - self.failed_at >= HOLD_DOWN_RESET
            after = replace(after, failed_at=now, failures=1 if reset else self.failures + 1)
        return replace(after, announced=level, changed_at=now)

    def add_drain(self, drain: Drain) -> Observer:
        """Observe that an operator, or systemd, asks for a drain."""
        return replace(self, drains={**self.drains, drain.key: drain})

    def end_drains(self, *keys: str) -> Observer:
        """Observe that drains have ended."""
        return replace(
            self,
            drains={key: each for key, each in self.drains.items() if key not in keys},
            may_withdraw=self.may_withdraw.difference(keys),
            must_withdraw=self.must_withdraw.difference(keys),
        )

    def damage_drains(self, now: float) -> Observer:
        """Observe that no drain on the disk can be read any more: each still keeps the route back.

        ``now`` is own time.
        """
        stored = [each.service for each in self.drains.values() if not each.stopping] or [None]
        after = self.end_drains(*self.drains)
        for service in stored:
            after = after.add_drain(Drain("", "", now, 0.0, service, unreadable=True))
        return after

    def expire_lease(self, now: float) -> Observer:
        """Observe that the lease expires: everything is withdrawn."""
        if self.announced is Level.WITHDRAWN:
            return self
        return replace(self, announced=Level.WITHDRAWN, changed_at=now)

    def restart_agent(self, now: float, *, kept: bool) -> Observer:
        """Observe the start of another agent.  ``kept``: it has the memory of the one before it."""
        adopted = self.announced is not Level.WITHDRAWN
        return replace(
            self.end_drains(AGENT_STOP),
            failed_at=self.failed_at if kept else None,
            failures=self.failures if kept else 0,
            good_began_at=None,
            # What was announced a moment ago had been proved.
            proof_began_at=now - STANDBY_AFTER if adopted else None,
            healthy_began_at=None,
            degraded_began_at=None,
            unknown_began_at=None,
            proved=adopted,
            maintenance=False,
        )

    def update_times(self, surroundings: Surroundings, now: float) -> Observer:
        """Update since when the service is good, healthy, degraded or unknown."""
        state = surroundings.haproxy
        serves = surroundings.serves(now) if surroundings.vip else False
        degraded, proof = self.degraded_began_at, self.proof_began_at
        unknown = self.unknown_began_at
        if serves is None:
            unknown = now if unknown is None else unknown
            silent_until = surroundings.believes_silence_until(unknown)
            if state.silent and now >= silent_until - TOLERANCE:
                proof = None
            elif state is HaproxyState.UNPROVED and proof is None:
                # After this time, servers without proof count as usable.
                believed_at = unknown + OVERRULE_AFTER
                proof = believed_at if now >= believed_at - TOLERANCE else None
        else:
            unknown = None
            degraded = now if degraded is None else degraded
            degraded = degraded if state is HaproxyState.DEGRADED else None
            proof = now if proof is None else proof
            proof = proof if serves else None
        is_good = serves is True and surroundings.looks_stopped_at is None
        is_healthy = is_good and state is HaproxyState.HEALTHY
        good = now if self.good_began_at is None else self.good_began_at
        healthy = now if self.healthy_began_at is None else self.healthy_began_at
        return replace(
            self,
            good_began_at=good if is_good else None,
            proof_began_at=proof,
            healthy_began_at=healthy if is_healthy else None,
            degraded_began_at=degraded,
            unknown_began_at=unknown,
            proved=self.proved if serves is None else serves,
            maintenance=surroundings.maintenance if state.answers else self.maintenance,
        )

    def update_drains(self, seen: Pass) -> Observer:
        """Remove the drains that have ended, and update which may or must withdraw."""
        now, active = seen.now, seen.result.drains
        ended = [
            key
            for key, each in self.drains.items()
            if each.ends_at is not None
            and now >= each.ends_at + (-TOLERANCE if key not in active else TOLERANCE)
        ]
        after = self.end_drains(*ended) if ended else self
        if not after.drains:
            return after
        may, must = set(after.may_withdraw), set(after.must_withdraw)
        unsteered = seen.surroundings.variant == "unsteered"
        for key, drain in after.drains.items():
            waited = now - drain.began_at - drain.wait
            no_wait = unsteered or self.announced is Level.WITHDRAWN
            if drain.unreadable and not unsteered:
                continue  # it only keeps the service at the longest path
            if (no_wait or waited >= -TOLERANCE) and self._guard_allows(drain, seen, 0.0):
                may.add(key)
            due = (no_wait and (seen.adopted or unsteered)) or waited >= TOLERANCE
            if due and self._guard_allows(drain, seen, REPORT_MARGIN + TOLERANCE):
                must.add(key)
        return replace(after, may_withdraw=frozenset(may), must_withdraw=frozenset(must))

    @staticmethod
    def _guard_allows(drain: Drain, seen: Pass, margin: float) -> bool:
        """Tell whether the drain may withdraw, as far as other regions are concerned.

        ``margin``: a report counts if it was requested this many seconds after the drain began.
        """
        regions = [region.name for region in build_profile(seen.surroundings.variant).regions]
        if drain.force or drain.stopping or not regions:
            return True
        report = seen.report
        if (
            report is None
            or seen.now - report.asked_at > REPORT_LIFETIME
            or report.asked_at - drain.began_at <= margin
        ):
            return False
        vip = report.vips.get(VIP)
        if vip is None or not vip.serves:
            return False
        # If both regions are drained, the one that is listed first may leave.
        settled_at = SETTLE_TIME - TOLERANCE + margin
        stays = regions[-1] == OTHER_REGION and report.asked_at - drain.began_at >= settled_at
        return stays or not vip.draining

    # The invariants -------------------------------------------------------------------------------

    def check(self, seen: Pass) -> Iterator[tuple[bool, str]]:
        """Check each invariant; ``announced`` is the level before this pass."""
        level, now, variant = seen.level, seen.now, seen.surroundings.variant
        wanted = build_routes(level, draining=bool(self.drains))
        same_drains = self.drains.keys() == seen.result.drains.keys()
        yield self._limited_by_drains(seen), "announced while drained"
        yield self._withdrawn_by_allowed_drain(seen), "withdrawn by a drain that may not do it yet"
        yield same_drains, "a drain was lost, or did not end"
        yield self._has_fresh_proof(seen), "announced without fresh proof"
        yield self._proved_long_enough(seen), "announced after too short a proof"
        yield self._withdrawn_if_failed(seen), "announced although it cannot serve"
        yield self._announced_if_good(seen), "it can serve, and is not announced"
        carried = seen.surroundings.has_session or level <= Level.STANDBY
        yield carried, "at a shorter path without a session that carries its family"
        yield self._respects_spacing(level, now), "changed before the end of the spacing"
        yield self._lowered_with_cause(seen), "lowered without a cause"
        yield self._respects_hold_down(level, now), "promoted during the hold-down"
        yield self._respects_fall(seen), "degraded before `fall`"
        yield self._lowered_by_fact(seen.decision), "lowered by a wait"
        yield self._matches_cap_table(seen.decision, variant), "a cap differs from the table"
        yield seen.result.wanted == wanted, "wants other routes"

    def _limited_by_drains(self, seen: Pass) -> bool:
        """A drained service is at standby at most, and stays withdrawn once it was withdrawn."""
        unsteered = seen.surroundings.variant == "unsteered"
        if self.maintenance and seen.level > (Level.WITHDRAWN if unsteered else Level.STANDBY):
            return False
        if self.must_withdraw:
            return seen.level is Level.WITHDRAWN
        return not self.drains or seen.level <= Level.STANDBY

    def _withdrawn_by_allowed_drain(self, seen: Pass) -> bool:
        """No drain withdraws before its wait is over, nor while no other region serves."""
        caps = (each for each in seen.decision.caps if each.source in _OF_DRAINS)
        if not self.may_withdraw and any(each.level is Level.WITHDRAWN for each in caps):
            return False
        return self.may_withdraw.issuperset(
            key for key, each in seen.result.drains.items() if each.withdrawn_at
        )

    def _has_fresh_proof(self, seen: Pass) -> bool:
        """While it is unknown, nothing is promoted; after a bounded time the last value ends."""
        unproved = seen.surroundings.haproxy is HaproxyState.UNPROVED
        if not seen.surroundings.vip or self.unknown_began_at is None:
            return True
        believed_until = self.unknown_began_at + BELIEVE_UNPROVED_FOR
        if not unproved:
            believed_until = seen.surroundings.believes_silence_until(self.unknown_began_at)
        if seen.now < believed_until - TOLERANCE:
            before = self.announced
            proved = self.proved or seen.level <= level_without_servers(seen.surroundings)
            return seen.level <= before and proved
        return unproved or seen.level is Level.WITHDRAWN

    def _proved_long_enough(self, seen: Pass) -> bool:
        floor = level_without_servers(seen.surroundings)
        if self.announced is not Level.WITHDRAWN or seen.level <= floor:
            return True
        began_at = self.proof_began_at
        return began_at is not None and seen.now - began_at >= STANDBY_AFTER - TOLERANCE

    def _withdrawn_if_failed(self, seen: Pass) -> bool:
        around = seen.surroundings
        is_low = seen.level <= level_without_servers(around)
        failed = around.haproxy is HaproxyState.FAILED and around.looks_stopped_at is None
        if around.vip and failed:
            return is_low
        return (self.serves(seen) is not False and around.vip) or is_low

    def serves(self, seen: Pass) -> bool | None:
        """Tell whether the service can serve; the last value counts for a bounded time only."""
        serves = seen.surroundings.serves(seen.now)
        if serves is None and seen.surroundings.haproxy is not HaproxyState.UNPROVED:
            began_at = seen.now if self.unknown_began_at is None else self.unknown_began_at
            ends_at = seen.surroundings.believes_silence_until(began_at)
            return False if seen.now >= ends_at - TOLERANCE else None
        return serves

    def _announced_if_good(self, seen: Pass) -> bool:
        after = STANDBY_AFTER + TOLERANCE
        good = self.good_began_at is not None and seen.now - self.good_began_at > after
        capped = bool(self.may_withdraw)
        if seen.surroundings.variant == "unsteered":
            # Without longer paths, it is announced only while it is healthy.
            began_at = self.healthy_began_at
            healthy = began_at is not None and seen.now - began_at > after
            capped = capped or self.maintenance or not healthy
        return not good or capped or seen.level is not Level.WITHDRAWN

    def _respects_spacing(self, level: Level, now: float) -> bool:
        """Only standby, or a withdrawal, may follow soon after another change."""
        if level is self.announced or level <= Level.STANDBY or self.changed_at is None:
            return True
        return now - self.changed_at >= SPACING - TOLERANCE

    def _lowered_with_cause(self, seen: Pass) -> bool:
        """Every step down has a cause outside the agent; what is unknown is no cause."""
        return (
            seen.level >= self.announced
            or self.serves(seen) is False
            or not self.proved  # standby with `failed: standby` needs a HAProxy that answers
            or not seen.surroundings.vip
            or self.maintenance
            or bool(self.drains)
            or not seen.surroundings.has_session
            or self.degraded_began_at is not None
        )

    def _respects_hold_down(self, level: Level, now: float) -> bool:
        if self.failed_at is None or level <= Level.STANDBY:
            return True
        if self.returned_at is not None and self.returned_at >= self.failed_at:
            return True
        hold_down = min(HOLD_DOWN * float(2 ** (self.failures - 1)), HOLD_DOWN_MAX)
        return now - self.failed_at >= hold_down - TOLERANCE

    def _respects_fall(self, seen: Pass) -> bool:
        if self.announced is not Level.PREFERRED or seen.level is not Level.DEGRADED:
            return True
        unknown = seen.decision.verdict.healthy.truth is Truth.UNKNOWN
        began_at = self.degraded_began_at
        return unknown or (began_at is not None and seen.now - began_at >= FALL - TOLERANCE)

    def _lowered_by_fact(self, decision: Decision) -> bool:
        if decision.level >= self.announced:
            return True
        source = decision.cap.source
        return isinstance(source, CapSource) and source.kind is CapKind.FACT

    def _matches_cap_table(self, decision: Decision, variant: str) -> bool:
        """Each cap is in the table, with its level; that of a wait may be the present level."""
        for cap in decision.caps:
            if cap.source is None:
                return False
            if variant in {"standby", "unsteered"} and cap.source in _PROFILE_DEPENDENT:
                continue
            level = cap.source.level
            if cap.source.kind is CapKind.WAIT:
                level = max(level, self.announced)
            if cap.level is not level and cap.source is not CapSource.DRAIN:
                return False
        return True


def level_without_servers(surroundings: Surroundings) -> Level:
    """Return the highest level that is allowed while no server can serve."""
    stays = surroundings.variant == "standby" and surroundings.haproxy.answers
    return Level.STANDBY if stays else Level.WITHDRAWN


@cache
def build_routes(level: Level, *, draining: bool) -> tuple[Route, ...]:
    """Build the complete set of routes of a level."""
    if level is Level.WITHDRAWN:
        return ()
    path = (65010,) * (1 + PREPENDS[level])
    communities = {GRACEFUL_NEIGHBOR: ("65535:0",)} if draining else {}
    return tuple(
        Route(address, VIP, "192.0.2.10", path, None, communities.get(address, ()))
        for address in NEIGHBORS
    )
