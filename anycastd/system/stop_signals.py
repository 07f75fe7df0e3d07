"""The signals that the agent handles: blocked while no handler is installed (stdlib only)."""

from __future__ import annotations

import signal

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Stop, stop, and reload."""


def block_signals() -> None:
    """Block the agent's signals until it can handle them; a blocked signal survives an exec."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def unblock_signals() -> None:
    """Unblock the agent's signals; pending ones are delivered at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
