"""An adj-rib-out that cannot be read back, or keeps a route: bounded, then ExaBGP is ended."""

from __future__ import annotations

import pytest

from anycastd.lease.adj_rib_out import MAX_FAILURES
from anycastd.lease.commands import Answer, QueryAdjRibOut
from anycastd.lease.effects import KillSpeaker
from support.lease_rig import LeaseRig, reports_in, route, want

FOREIGN = route("198.51.100.7/32")


class Unreadable:
    """Answers to the queries of a lease: the adj-rib-out is an error, or has a foreign route."""

    def __init__(self, *, stays: bool) -> None:
        self.rig = LeaseRig()
        self.stays = stays
        self.rig.send(1, want(1, route(), ttl=10.0))

    def read_once(self, *, good: bool = False) -> list[KillSpeaker]:
        """Advance to the next reading and answer it; return what kills ExaBGP."""
        rig = self.rig
        for _ in range(700):
            rig.now += 0.05
            effects = rig.lease.tick(rig.now)
            rig.exabgp.receive(effects)
            while rig.exabgp.outstanding:
                answer = rig.exabgp.answer_next()
                if isinstance(answer.command, QueryAdjRibOut) and not good:
                    rib = (*rig.exabgp.rib.values(), FOREIGN)
                    answer = (
                        Answer(answer.command, rib=rib)
                        if self.stays
                        else Answer(answer.command, error="cannot read the adj-rib-out")
                    )
                    rig.exabgp.rib[FOREIGN.key] = FOREIGN
                more = rig.lease.on_fact(answer, rig.now)
                rig.effects += more
                rig.exabgp.receive(more)
                effects += more
                if isinstance(answer.command, QueryAdjRibOut):
                    return [each for each in effects if isinstance(each, KillSpeaker)]
        raise AssertionError("it is not read any more")


@pytest.mark.parametrize("stays", [False, True], ids=["unreadable", "a route stays"])
def test_exabgp_is_ended_after_some_readings(*, stays: bool) -> None:
    """Each one counts as a difference and is repeated soon; the last one ends ExaBGP."""
    one = Unreadable(stays=stays)
    began = one.rig.now
    for _ in range(MAX_FAILURES - 1):
        assert not one.read_once()
        assert reports_in(one.rig.effects)[-1].neighbors["192.0.2.4"].rib == "differs"
    assert len(one.read_once()) == 1
    assert one.rig.now - began < 8.0


def test_one_good_reading_begins_anew() -> None:
    """A reading that fails now and then ends nothing."""
    one = Unreadable(stays=False)
    for _ in range(4):
        for _ in range(MAX_FAILURES - 1):
            assert not one.read_once()
        one.rig.exabgp.rib.pop(FOREIGN.key, None)
        assert not one.read_once(good=True)
        assert reports_in(one.rig.effects)[-1].neighbors["192.0.2.4"].rib == "agrees"
