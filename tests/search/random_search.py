"""Try long random sequences of events, shrunk to the shortest one that breaks an invariant."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from search.effort import search_settings
from search.sequences import RESTART, STARTS, build_starts, note_events
from search.surroundings import VARIANTS, HaproxyState
from search.world import World

LOST_BY_RESTART = ("forgotten", "damaged", "hangs", "lost", "unknown")
"""Ends of events after which a restarted agent differs: it lacks a return, or the last reports."""


class RandomEvents(RuleBasedStateMachine):
    """Events of any kind, in any order, with any time between them.

    ``restarted`` is a second world with the same events and one more restart of the agent.
    """

    worlds = World

    def __init__(self) -> None:
        super().__init__()
        self.world = self.worlds.begin()
        self.restarted: World | None = None

    @initialize(start=st.sampled_from(STARTS), variant=st.sampled_from(sorted(VARIANTS)))
    def begin(self, start: str, variant: str) -> None:
        """Begin with one of the starts."""
        self.world = build_starts(self.worlds, variant)[start]

    @rule(state=st.sampled_from(HaproxyState))
    def change_haproxy(self, state: HaproxyState) -> None:
        """Change the state of HAProxy."""
        self._apply(f"haproxy {state.value}")

    @rule(seconds=st.sampled_from([0.05, 0.7, 1.0, 3.0, 5.0, 10.0, 35.0, 60.0, 400.0, 3700.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._apply(f"wait {seconds}")

    @rule(seconds=st.sampled_from([0.2, 5.0, 60.0]))
    def stall(self, seconds: float) -> None:
        """Stall the whole machine."""
        self._apply(f"stall {seconds}")

    @rule(state=st.sampled_from(["up", "half", "down", "unknown", "lost", "foreign", "carried"]))
    def change_sessions(self, state: str) -> None:
        """Change the state of the sessions with the neighbors."""
        self._apply(f"sessions {state}")

    @rule(event=st.sampled_from(["vip present", "vip missing", "looks stop", "expire"]))
    def change_machine(self, event: str) -> None:
        """Add or remove the VIP, stop the looks, or let the lease expire."""
        self._apply(event)

    @rule(kind=st.sampled_from(["", " for", " force", " own", " stop"]))
    def drain(self, kind: str) -> None:
        """Start a drain."""
        self._apply(f"drain{kind}")

    @rule(
        event=st.sampled_from(
            ["undrain", "undrain own", "return", "maintenance on", "maintenance off"]
        )
    )
    def run_command(self, event: str) -> None:
        """Run another command of an operator."""
        self._apply(event)

    @rule(state=st.sampled_from(["serves", "fails", "draining", "unreachable", "hangs"]))
    def change_region(self, state: str) -> None:
        """Change what the other region answers."""
        self._apply(f"region {state}")

    @rule(
        when=st.sampled_from(["in-time", "late"]),
        memory=st.sampled_from(["kept", "forgotten", "damaged"]),
    )
    def restart(self, when: str, memory: str) -> None:
        """Restart the agent."""
        self._apply(f"restart {when} {memory}")

    @rule()
    def fork_with_restart(self) -> None:
        """Continue with two worlds: in one of them the agent was restarted."""
        around = self.world.surroundings
        if around.other_region not in LOST_BY_RESTART and around.sessions not in LOST_BY_RESTART:
            self.restarted = self.world.apply(RESTART)

    def _apply(self, event: str) -> None:
        with note_events(self.world, event):
            self.world = self.world.apply(event)
        if self.restarted is not None:
            self.restarted = self.restarted.apply(event)
        if event == "drain stop" or event.endswith(LOST_BY_RESTART):
            self.restarted = None

    @invariant()
    def recovers(self) -> None:
        """From every state it recovers, and a restart makes no difference in the end."""
        with note_events(self.world):
            self.world.recover()
        if self.restarted is not None:
            steady = self.world.wait_until_stable()
            assert self.restarted.wait_until_stable().routes == steady.routes


def search_randomly(worlds: type[World], examples: int, *, shrink: bool = True) -> None:
    """Try ``examples`` random sequences; ``shrink`` a sequence that breaks an invariant."""
    kind = type("RandomEventsOfWorlds", (RandomEvents,), {"worlds": worlds})
    run_state_machine_as_test(kind, settings=search_settings(examples, shrink=shrink))
