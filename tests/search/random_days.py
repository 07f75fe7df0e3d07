"""Random days: long random stories of a World, shrunk to the shortest that breaks a promise."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from search.effort import thorough
from search.sequences import (
    BEGINNINGS,
    INTERRUPTION,
    beginnings,
)
from search.surroundings import VARIANTS, Shown
from search.world import World

LOSES = ("forgotten", "mute", "lost", "unknown")
"""After these only one agent knows something: of a return, or what others said last."""


class Days(RuleBasedStateMachine):
    """What may happen to a service, in any order, for any time.

    ``twin`` has seen the same, and was interrupted once.
    """

    worlds = World

    def __init__(self) -> None:
        super().__init__()
        self.world = self.worlds.begin()
        self.twin: World | None = None

    @initialize(begin=st.sampled_from(BEGINNINGS), variant=st.sampled_from(sorted(VARIANTS)))
    def begin(self, begin: str, variant: str) -> None:
        """Something has happened before."""
        self.world = beginnings(self.worlds, variant)[begin]

    @rule(shown=st.sampled_from(Shown))
    def see(self, shown: Shown) -> None:
        """HAProxy shows something else."""
        self._happen(f"see {shown.value}")

    @rule(seconds=st.sampled_from([0.05, 0.7, 1.0, 3.0, 5.0, 10.0, 35.0, 60.0, 400.0, 3700.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self._happen(f"wait {seconds}")

    @rule(seconds=st.sampled_from([0.2, 5.0, 60.0]))
    def stall(self, seconds: float) -> None:
        """We are away, and with us everybody on this machine."""
        self._happen(f"stall {seconds}")

    @rule(state=st.sampled_from(["up", "half", "down", "unknown", "lost"]))
    def sessions(self, state: str) -> None:
        """The neighbors come or go."""
        self._happen(f"sessions {state}")

    @rule(what=st.sampled_from(["vip there", "vip missing", "blind", "lapse"]))
    def breaks(self, what: str) -> None:
        """The VIP comes or goes, looks stop, the lease runs out."""
        self._happen(what)

    @rule(what=st.sampled_from(["", " for", " force", " own", " stop"]))
    def drain(self, what: str) -> None:
        """An operator wants to leave."""
        self._happen(f"drain{what}")

    @rule(what=st.sampled_from(["undrain", "undrain own", "return", "map on", "map off"]))
    def word(self, what: str) -> None:
        """An operator says something else."""
        self._happen(what)

    @rule(state=st.sampled_from(["serves", "fails", "leaves", "unreachable", "mute"]))
    def other(self, state: str) -> None:
        """The other region is different when it is asked."""
        self._happen(f"other {state}")

    @rule(when=st.sampled_from(["in-time", "late"]), what=st.sampled_from(["kept", "forgotten"]))
    def restart(self, when: str, what: str) -> None:
        """The agent is another one."""
        self._happen(f"restart {when} {what}")

    @rule()
    def interrupt(self) -> None:
        """From here on there are two: one was interrupted."""
        weather = self.world.weather
        if weather.other not in LOSES and weather.sessions not in LOSES:
            self.twin = self.world.happen(INTERRUPTION)

    def _happen(self, what: str) -> None:
        self.world = self.world.happen(what)
        if self.twin is not None:
            self.twin = self.twin.happen(what)
        if what == "drain stop" or what.endswith(LOSES):
            self.twin = None  # another agent does not know of that

    @invariant()
    def ends_well(self) -> None:
        """Calm weather brings it to where it belongs, from wherever it is."""
        self.world.settle()
        if self.twin is not None:
            assert self.twin.rest().routes == self.world.rest().routes


def search(worlds: type[World], examples: int, *, shrink: bool = True) -> None:
    """Search random days for a broken promise; ``shrink`` it to a short story."""
    kind = type("DaysOfWorlds", (Days,), {"worlds": worlds})
    run_state_machine_as_test(kind, settings=thorough(examples, shrink=shrink))
