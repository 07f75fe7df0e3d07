"""How an agent ends other than in order."""

from __future__ import annotations

from anycastd.agent.start_context import StartContext


class LostError(Exception):
    """The agent cannot go on; the text says why.

    Another agent took the lease over, or a part ended.
    """


class ReexecFailedError(Exception):
    """The successor could not be executed: an agent with the old code has to go on.

    ``context`` is what that agent is started with, in this process.
    """

    def __init__(self, context: StartContext) -> None:
        super().__init__(context.failed_reload)
        self.context = context
