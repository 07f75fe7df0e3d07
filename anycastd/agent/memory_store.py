"""What services have been through, kept for the next agent: failures, and the waits they cost."""

from __future__ import annotations

from collections.abc import Mapping

from anycastd.agent.state_file import StateFile
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory, dump_memory, load_memory
from anycastd.decision.pipeline import PassResult
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime

_FIXED = 1e9
"""By this clock what a memory holds is as old in each pass, unless something happened."""


class MemoryStore:
    """Policy's memory on disk; it is lost without harm, since an agent without one is careful."""

    def __init__(self, profile: Profile, clock: OwnTime, state: str) -> None:
        self._profile = profile
        self._clock = clock
        self._shelf = StateFile(state, "memory", "what services have been through")
        self._known: object = None

    def load(self) -> dict[str, Memory]:
        """Give what the agent before us knew of the profile's services."""
        loaded = self._shelf.load()
        if loaded is None:
            return {}
        value, age = loaded
        then = self._clock.now() - age
        try:
            kept = {str(name): load_memory(carried, then) for name, carried in value.items()}
        except (ValueError, TypeError, AttributeError, KeyError):
            self._shelf.quarantine("it holds no memory of services")
            return {}
        return {name: kept[name] for name in self._profile.services if name in kept}

    def save_if_changed(self, step: PassResult, memory: Mapping[str, Memory], now: float) -> None:
        """Keep what has changed; what is preferred, and stays so, teaches nothing."""
        known = {
            name: dump_memory(each, _FIXED)
            for name, each in memory.items()
            if step.decisions[name].level is not Level.PREFERRED
        }
        if step.transitions or (self._known is not None and known != self._known):
            self._shelf.save_soon({name: dump_memory(each, now) for name, each in memory.items()})
        self._known = known

    async def run(self) -> None:
        """Write what is to be kept."""
        await self._shelf.run()

    async def flush(self) -> None:
        """Write what has not been written, before the end."""
        await self._shelf.flush()

    def problems(self) -> tuple[str, ...]:
        """Say what was lost."""
        aside = self._shelf.quarantine_notice()
        return (aside,) if aside else ()
