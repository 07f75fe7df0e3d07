"""Patches for an ExaBGP that has no free descriptor: sessions end, ExaBGP goes on."""

# ruff: noqa: ANN401, SLF001 - ExaBGP has no types, and the patches change its private parts

from __future__ import annotations

import sys
from inspect import iscoroutinefunction
from typing import Any

from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names

NO_SOCKET = "Could not create socket"


def retry_without_socket() -> ApplyPatch:
    """Let ExaBGP try again where it cannot open a socket for a session.

    It means to, but fails by an error of its own first, because it closes the socket that it does
    not have.  The first failure of a neighbor is logged, the next ones are not until one succeeds.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    outgoing = load_module("exabgp.reactor.network.outgoing").Outgoing
    error = load_module("exabgp.reactor.network.error").NotConnected
    original = outgoing._setup
    require_names(original, "create", "io", "close")
    require_names(outgoing._connect, "_setup", "io")
    require_names(outgoing.establish, "_connect")
    named: set[str] = set()

    def setup(self: Any) -> Any:
        peer = str(self.peer)
        try:
            result = original(self)
        except AttributeError:
            if self.io is not None:
                raise
            if peer not in named:
                sys.stderr.write(
                    f"anycastd speaker: ExaBGP cannot open a socket to connect to {peer}; it tries "
                    "again: see LimitNOFILE and the memory of this machine\n"
                )
            named.add(peer)
            return error(NO_SOCKET)
        named.discard(peer)
        return result

    def apply() -> None:
        outgoing._setup = setup

    return apply


def keep_event_loop() -> ApplyPatch:
    """Run the API's commands of 5.x in one event loop.

    5.0 makes a new one, of three descriptors, for every turn in which a command waits, and ends
    where it has none left.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.reactor.asynchronous")
    scheduler = module.ASYNC
    require_names(scheduler.run, "_async", "asyncio", "_run_async")
    if not iscoroutinefunction(scheduler._run_async):
        raise AttributeError("exabgp.reactor.asynchronous: ASYNC._run_async is no coroutine")

    def apply() -> None:
        loop = module.asyncio.new_event_loop()

        def run(self: Any) -> bool:
            return bool(self._async and loop.run_until_complete(self._run_async()))

        scheduler.run = run

    return apply


def report_errors_briefly() -> ApplyPatch:
    """Report an error of 5.x in a session by its kind, its text and its lines.

    5.0 reports its whole environment too, looks up its user for that, and ends where it cannot
    open the list of users.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.reactor.peer")
    require_names(module.Peer._run, "_reset")
    require_names(module.format_exception, "_info")

    def apply() -> None:
        module.format_exception = format_error  # type: ignore[attr-defined]

    return apply


def format_error(error: BaseException) -> str:
    """Format an error with the places that it came through, the last one first; opens no file."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} (at {', '.join(reversed(places))})"


PATCHES = (retry_without_socket,)
"""Patches of this file for every release, in the order in which they are applied."""
PATCHES_5 = (keep_event_loop, report_errors_briefly)
"""Patches of this file for 5.x only."""
