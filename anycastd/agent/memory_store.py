"""Keep the failures and the last changes of the services on disk, for the next agent."""

from __future__ import annotations

from collections.abc import Mapping

from anycastd.agent.state_file import StateFile
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory, dump_memory, load_memory
from anycastd.decision.pipeline import PassResult
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime

_REFERENCE_TIME = 1e9
"""Reference time for comparing two dumps: they differ only if something happened in between."""


class MemoryStore:
    """A store of what policy remembers of each service: the file `memory.json` in ``state``.

    Losing it does no harm: an agent without it assumes the longest waits.
    """

    def __init__(self, profile: Profile, clock: OwnTime, state: str) -> None:
        self._profile = profile
        self._clock = clock
        self._file = StateFile(state, "memory", "what services have been through")
        self._last_dump: object = None

    def load(self) -> dict[str, Memory]:
        """Read what the agent before this one saved.

        Returns service name -> Memory, for the services of the profile only; empty where the file
        is missing or cannot be used.  Its times are this agent's own time.
        """
        loaded = self._file.load()
        if loaded is None:
            return {}
        value, age = loaded
        saved_at = self._clock.now() - age
        try:
            memory = {str(name): load_memory(dump, saved_at) for name, dump in value.items()}
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
            self._file.quarantine("it holds no memory of services")
            return {}
        return {name: memory[name] for name in self._profile.services if name in memory}

    def save_if_changed(self, step: PassResult, memory: Mapping[str, Memory], now: float) -> None:
        """Save ``memory`` (after the pass ``step``) if it differs from that of the last pass.

        ``now`` is own time.  A service that is preferred and stays preferred is not compared: it
        has no waits to keep, but for those of its next hops.
        """
        dump = {
            name: dump_memory(each, _REFERENCE_TIME)
            for name, each in memory.items()
            if each.next_hops or step.decisions[name].level is not Level.PREFERRED
        }
        if step.transitions or (self._last_dump is not None and dump != self._last_dump):
            self._file.save_soon({name: dump_memory(each, now) for name, each in memory.items()})
        self._last_dump = dump

    async def run(self) -> None:
        """Write what is to be saved, until cancelled."""
        await self._file.run()

    async def flush(self) -> None:
        """Try once more to write what is not on disk yet, before the agent ends."""
        await self._file.flush()

    def list_problems(self) -> tuple[str, ...]:
        """List the problems to show in the status: a file that could not be read."""
        notice = self._file.quarantine_notice()
        return (notice,) if notice else ()
