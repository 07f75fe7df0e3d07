"""The hooks of one agent: what runs them is loaded only where the profile has some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anycastd.agent.event_log import EventLog
from anycastd.profile.model import Hook

if TYPE_CHECKING:
    from anycastd.agent.hook_runner import HookRunner


class Hooks:
    """The ``hooks`` of a profile, for the events of ``region``.

    ``runner`` runs them; it is None before the start, and where there are none.
    """

    def __init__(self, hooks: Sequence[Hook], region: str) -> None:
        self.runner: HookRunner | None = None
        self._hooks = hooks
        self._region = region

    def start(self, events: EventLog) -> None:
        """Follow ``events`` from now on; does nothing where there are no hooks."""
        if not self._hooks:
            return
        from anycastd.agent.hook_runner import HookRunner  # noqa: PLC0415 - a megabyte, for ctypes

        self.runner = HookRunner(self._hooks, self._region)
        self.runner.start(events)

    async def close(self) -> None:
        """End what runs, within a moment."""
        if self.runner is not None:
            await self.runner.close()
