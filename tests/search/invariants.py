"""Who watches one service's machine from outside, and knows what must hold.

An onlooker sees what surrounds the machine and what it announces.  Of the code under search he
uses nothing but its words: what he holds against it, he has counted himself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from anycastd.bgp.route import Route
from anycastd.decision.drains import REPORT_LIFETIME, REPORT_MARGIN, SETTLE_TIME, STOP, Drain
from anycastd.decision.levels import CapKind, CapSource, Level
from anycastd.decision.pipeline import PassResult
from anycastd.decision.policy import Decision
from anycastd.decision.region_report import RegionReport
from anycastd.evidence.finding import BELIEVE_UNPROVED_FOR, Truth
from search.effort import BrokenError
from search.surroundings import DEADLINE, GENTLE, OTHER, PEERS, VIP, Shown, Weather, searched

AFTER, FALL, RISE, HOLD_DOWN, HOLD_DOWN_MAX, SPACING = 1.0, 5.0, 10.0, 60.0, 900.0, 35.0
CALM = 3600.0
HUNG_HOLD = 2 * DEADLINE
MOMENT = 1e-6
"""What comparisons of sums of seconds are worth."""
PREPENDS = {Level.PREFERRED: 0, Level.DEGRADED: 3, Level.STANDBY: 6}
# What these cap at depends on the profile.
_OTHERWISE = (CapSource.SERVE, CapSource.MAINTENANCE, CapSource.HEALTHY, CapSource.HEALTH)


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass as it can be seen: when, in what weather, with which answer, and what it gave.

    ``adopted``: the agent knew what it announces.
    """

    now: float
    weather: Weather
    answer: RegionReport | None
    adopted: bool
    step: PassResult

    @property
    def decision(self) -> Decision:
        """What was decided about the one service."""
        return self.step.decisions["web"]

    @property
    def level(self) -> Level:
        """The level that was decided."""
        return self.decision.level


@dataclass(frozen=True, slots=True)
class Onlooker:
    """What somebody outside has seen until now.

    ``told`` is the level that stands on the wire, ``changed`` when it last changed, ``failed`` when
    (and how often in a row) it was withdrawn for not serving.  ``drains`` are those that operators
    asked for and that are not over, ``may_go`` and ``must_go`` those that were free, or bound, to
    withdraw it at some pass.
    """

    told: Level = Level.WITHDRAWN
    changed: float | None = None
    failed: float | None = None
    failures: int = 0
    returned: float | None = None
    good_since: float | None = None
    proof_since: float | None = None
    healthy_since: float | None = None
    less_since: float | None = None
    unknown_since: float | None = None
    proved: bool = False
    planned: bool = False
    drains: Mapping[str, Drain] = field(default_factory=dict)
    may_go: frozenset[str] = frozenset()
    must_go: frozenset[str] = frozenset()

    # What he sees ---------------------------------------------------------------------------------

    def sees(self, seen: Pass) -> Onlooker:
        """Take a pass; raises BrokenError where it breaks what must hold."""
        now, level = seen.now, seen.level
        after = self.noted(seen.weather, now).counted(seen)
        for holds, broken in after.checks(seen):
            if not holds:
                moved = f"{self.told.label} -> {level.label} at {now:g} s"
                raise BrokenError(f"{broken}: {moved}")
        if level is self.told:
            return after
        failed = level is Level.WITHDRAWN and (after.known(seen) is False or not seen.weather.vip)
        # Who keeps its 503 page at standby may never have served.
        if failed and self.proof_since is not None and not after.planned:
            calm = self.failed is None or now - self.failed >= CALM
            after = replace(after, failed=now, failures=1 if calm else self.failures + 1)
        return replace(after, told=level, changed=now)

    def asked(self, drain: Drain) -> Onlooker:
        """Hear that an operator, or systemd, asks for a drain."""
        return replace(self, drains={**self.drains, drain.key: drain})

    def undrained(self, *keys: str) -> Onlooker:
        """Hear that drains are over."""
        return replace(
            self,
            drains={key: each for key, each in self.drains.items() if key not in keys},
            may_go=self.may_go.difference(keys),
            must_go=self.must_go.difference(keys),
        )

    def lost(self, now: float) -> Onlooker:
        """See the lease run out: everything is withdrawn."""
        if self.told is Level.WITHDRAWN:
            return self
        return replace(self, told=Level.WITHDRAWN, changed=now)

    def restarted(self, now: float, *, kept: bool) -> Onlooker:
        """See another agent begin, which knows of failures only if that was ``kept``."""
        adopted = self.told is not Level.WITHDRAWN
        return replace(
            self.undrained(STOP),
            failed=self.failed if kept else None,
            failures=self.failures if kept else 0,
            good_since=None,
            # What was announced a moment ago had been proved.
            proof_since=now - AFTER if adopted else None,
            healthy_since=None,
            less_since=None,
            unknown_since=None,
            proved=adopted,
            planned=False,
        )

    def noted(self, weather: Weather, now: float) -> Onlooker:
        """Note since when it is well, serves with less, or is unknown."""
        known = weather.known(now) if weather.vip else False
        less, proof, unknown = self.less_since, self.proof_since, self.unknown_since
        if known is None:
            unknown = now if unknown is None else unknown
            hung = weather.shown in (Shown.SILENT, Shown.HUNG)
            if hung and now - unknown >= HUNG_HOLD - MOMENT:
                proof = None
            elif weather.shown is Shown.UNPROVED and proof is None:
                # In the end HAProxy's word is believed.
                ends = unknown + BELIEVE_UNPROVED_FOR
                proof = ends if now >= ends - MOMENT else None
        else:
            unknown = None
            begun = now if less is None else less
            less = begun if weather.shown is Shown.LESS else None
            begun = now if proof is None else proof
            proof = begun if known else None
        well = known is True and weather.blind is None
        good = now if self.good_since is None else self.good_since
        healthy = now if self.healthy_since is None else self.healthy_since
        return replace(
            self,
            good_since=good if well else None,
            proof_since=proof,
            healthy_since=healthy if well and weather.shown is Shown.WELL else None,
            less_since=less,
            unknown_since=unknown,
            proved=self.proved if known is None else known,
            planned=weather.planned if weather.shown.answers else self.planned,
        )

    def counted(self, seen: Pass) -> Onlooker:
        """Note which drains have ended, and which were free or bound to withdraw it."""
        now, going = seen.now, seen.step.drains
        over = [
            key
            for key, each in self.drains.items()
            if each.ends_at is not None
            and now >= each.ends_at + (-MOMENT if key not in going else MOMENT)
        ]
        left = self.undrained(*over) if over else self
        if not left.drains:
            return left
        may, must = set(left.may_go), set(left.must_go)
        for key, drain in left.drains.items():
            waited = now - drain.began_at - drain.wait
            gone = seen.weather.variant == "unsteered" or self.told is Level.WITHDRAWN
            if (gone or waited >= -MOMENT) and self._elsewhere(drain, seen, 0.0):
                may.add(key)
            known = seen.adopted or seen.weather.variant == "unsteered"
            bound = (gone and known) or waited >= MOMENT
            if bound and self._elsewhere(drain, seen, REPORT_MARGIN + MOMENT):
                must.add(key)
        return replace(left, may_go=frozenset(may), must_go=frozenset(must))

    @staticmethod
    def _elsewhere(drain: Drain, seen: Pass, later: float) -> bool:
        """Whether nobody has to be asked, or an answer from after the drain's begin allows it."""
        regions = [region.name for region in searched(seen.weather.variant).regions]
        if drain.force or drain.stopping or not regions:
            return True
        answer = seen.answer
        if (
            answer is None
            or seen.now - answer.asked_at > REPORT_LIFETIME
            or answer.asked_at - drain.began_at <= later
        ):
            return False
        said = answer.vips.get(VIP)
        if said is None or not said.serves:
            return False
        # Of two that are drained, the one that is listed first leaves.
        stays = (
            regions[-1] == OTHER
            and answer.asked_at - drain.began_at >= SETTLE_TIME - MOMENT + later
        )
        return stays or not said.draining

    # What must hold -------------------------------------------------------------------------------

    def checks(self, seen: Pass) -> Iterator[tuple[bool, str]]:
        """Say of each invariant whether it holds; ``told`` is what stood before this pass."""
        level, now, weather = seen.level, seen.now, seen.weather
        yield self._kept_low(seen), "announced while drained"
        yield self._left(seen), "withdrawn by a drain that may not do that yet"
        yield self.drains.keys() == seen.step.drains.keys(), "a drain was lost, or did not end"
        yield self._fresh(seen), "announced without fresh proof"
        yield self._proved_for(seen), "announced after too short a proof"
        yield self._failed(seen), "announced although nobody serves"
        yield self._well(seen), "well, and not announced"
        yield self._calm(level, now), "changed inside the spacing"
        yield self._needed(seen), "lowered for nothing"
        yield self._held_down(level, now), "promoted inside the hold-down"
        yield self._fell(seen), "degraded before `fall`"
        yield self._lowered(seen.decision), "lowered by a wait"
        yield self._tabled(seen.decision, weather.variant), "caps otherwise than the table says"
        yield seen.step.wanted == routes(level, leaving=bool(self.drains)), "wants other routes"

    def _kept_low(self, seen: Pass) -> bool:
        """A drain leaves it the longest path at most; what it has withdrawn stays withdrawn."""
        unsteered = seen.weather.variant == "unsteered"
        if self.planned and seen.level > (Level.WITHDRAWN if unsteered else Level.STANDBY):
            return False
        if self.must_go:
            return seen.level is Level.WITHDRAWN
        return not self.drains or seen.level <= Level.STANDBY

    def _left(self, seen: Pass) -> bool:
        """No drain withdraws before its wait is over, or the last one that serves."""
        drained = (each for each in seen.decision.caps if each.source is CapSource.DRAIN)
        if not self.may_go and any(each.level is Level.WITHDRAWN for each in drained):
            return False
        return self.may_go.issuperset(
            key for key, each in seen.step.drains.items() if each.withdrawn_at
        )

    def _fresh(self, seen: Pass) -> bool:
        """Unknown promotes nothing for as long as it may be held, and then has an end."""
        shown = seen.weather.shown
        if not seen.weather.vip or self.unknown_since is None:
            return True
        lasted = seen.now - self.unknown_since
        hold = BELIEVE_UNPROVED_FOR if shown is Shown.UNPROVED else HUNG_HOLD
        if lasted < hold - MOMENT:
            before = self.told
            return seen.level <= before and (self.proved or seen.level <= _floor(seen.weather))
        return shown is Shown.UNPROVED or seen.level is Level.WITHDRAWN

    def _proved_for(self, seen: Pass) -> bool:
        if self.told is not Level.WITHDRAWN or seen.level <= _floor(seen.weather):
            return True
        return self.proof_since is not None and seen.now - self.proof_since >= AFTER - MOMENT

    def _failed(self, seen: Pass) -> bool:
        if seen.weather.vip and seen.weather.shown is Shown.FAILED and seen.weather.blind is None:
            return seen.level <= _floor(seen.weather)
        serving = self.known(seen) is not False and seen.weather.vip
        return serving or seen.level <= _floor(seen.weather)

    def known(self, seen: Pass) -> bool | None:
        """What the looks prove, with an end to what is held while they prove nothing."""
        known = seen.weather.known(seen.now)
        if known is None and seen.weather.shown is not Shown.UNPROVED:
            since = seen.now if self.unknown_since is None else self.unknown_since
            return False if seen.now - since >= HUNG_HOLD - MOMENT else None
        return known

    def _well(self, seen: Pass) -> bool:
        good = self.good_since is not None and seen.now - self.good_since > AFTER + MOMENT
        capped = bool(self.may_go)
        if seen.weather.variant == "unsteered":
            # Without a longer path it is announced while it is healthy, or not at all.
            since = self.healthy_since
            healthy = since is not None and seen.now - since > AFTER + MOMENT
            capped = capped or self.planned or not healthy
        return not good or capped or seen.level is not Level.WITHDRAWN

    def _calm(self, level: Level, now: float) -> bool:
        """Nothing but standby, or a withdrawal, comes soon after another change."""
        if level is self.told or level <= Level.STANDBY or self.changed is None:
            return True
        return now - self.changed >= SPACING - MOMENT

    def _needed(self, seen: Pass) -> bool:
        """What lowers can be named from outside; what nobody knows lowers nothing."""
        weather = seen.weather
        return (
            seen.level >= self.told
            or self.known(seen) is False
            or not self.proved  # a 503 page at standby needs somebody who shows it
            or not weather.vip
            or self.planned
            or bool(self.drains)
            or weather.sessions == "down"
            or self.less_since is not None
        )

    def _held_down(self, level: Level, now: float) -> bool:
        if self.failed is None or level <= Level.STANDBY:
            return True
        if self.returned is not None and self.returned >= self.failed:
            return True
        least = min(HOLD_DOWN * float(2 ** (self.failures - 1)), HOLD_DOWN_MAX)
        return now - self.failed >= least - MOMENT

    def _fell(self, seen: Pass) -> bool:
        if self.told is not Level.PREFERRED or seen.level is not Level.DEGRADED:
            return True
        held = seen.decision.verdict.healthy.truth is Truth.UNKNOWN
        return held or (self.less_since is not None and seen.now - self.less_since >= FALL - MOMENT)

    def _lowered(self, decision: Decision) -> bool:
        if decision.level >= self.told:
            return True
        source = decision.cap.source
        return isinstance(source, CapSource) and source.kind is CapKind.FACT

    def _tabled(self, decision: Decision, variant: str) -> bool:
        """Each cap is in the table, at its level; a wait's is at the present one at least."""
        for cap in decision.caps:
            if cap.source is None:
                return False
            least = cap.source.level
            if variant in {"standby", "unsteered"} and cap.source in _OTHERWISE:
                continue
            if cap.source.kind is CapKind.WAIT:
                least = max(least, self.told)
            if cap.level is not least and cap.source is not CapSource.DRAIN:
                return False
        return True


def _floor(weather: Weather) -> Level:
    """Give what may stand while nobody serves behind a live HAProxy."""
    shows = weather.variant == "standby" and weather.shown.answers
    return Level.STANDBY if shows else Level.WITHDRAWN


@cache
def routes(level: Level, *, leaving: bool) -> tuple[Route, ...]:
    """Give the routes that a level means: whole, and nothing else."""
    if level is Level.WITHDRAWN:
        return ()
    path = (65010,) * (1 + PREPENDS[level])
    gentle = {GENTLE: ("65535:0",)} if leaving else {}
    return tuple(Route(peer, VIP, "192.0.2.10", path, None, gentle.get(peer, ())) for peer in PEERS)


def fits(weather: Weather) -> Level:
    """Give the level at which it ends in calm weather."""
    match weather.shown:
        case Shown.WELL | Shown.UNPROVED:  # HAProxy's word, in the end
            return Level.PREFERRED
        case Shown.LESS if weather.variant != "unsteered":
            return Level.DEGRADED
        case Shown.FAILED:
            return _floor(weather)
    return Level.WITHDRAWN
