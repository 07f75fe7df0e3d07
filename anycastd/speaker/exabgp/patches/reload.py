"""Patches for a reload: ExaBGP reads its configuration again on SIGUSR1."""

# ruff: noqa: ANN401, SLF001 - ExaBGP has no types, and the patches change its private parts

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from anycastd.speaker.exabgp.contract import (
    LOADED_VARIABLE,
    dump_loaded_event,
    parse_config_line,
)
from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names


def report_reload() -> ApplyPatch:
    """Reload on every signal, report the result to the API child, survive a broken file.

    ExaBGP forgets the signal while a route waits to be sent, and reports nothing.  Here the
    child gets an event with the hash of the configuration that runs, and why a new one was not
    taken.  A child that is started later finds the hash in its environment.  A file that cannot
    be read changes nothing; without this patch it ends the API child for good.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    reactor = load_module("exabgp.reactor.loop").Reactor
    is_5 = hasattr(reactor, "reload")
    method, waiting = ("reload", "_pending_adjribout") if is_5 else ("load", "_completed")
    original = getattr(reactor, method)
    require_names(original, "configuration", "reload")
    require_names(reactor.run, waiting)
    if not hasattr(reactor, waiting):
        raise AttributeError(f"exabgp.reactor.loop: there is no Reactor.{waiting}")
    parser = load_module("exabgp.configuration.configuration").Configuration
    require_names(parser._clear, "processes", "neighbors")

    def reload(self: Any) -> bool:
        configuration = self.configuration
        before = configuration.processes, configuration.neighbors
        # Read before ExaBGP reads the file: if the file changes meanwhile, the hash is too old
        # rather than too new.
        config = read_config_hash(sys.argv[-1])
        loaded = bool(original(self))
        error = None
        if loaded:
            os.environ[LOADED_VARIABLE] = config
        else:
            error = " ".join(str(configuration.error).split()) or "the file cannot be read"
            # Otherwise ExaBGP ends the API child for good and does not read the next file either.
            configuration._cleanup()
            configuration.processes, configuration.neighbors = before
        event = dump_loaded_event(os.environ.get(LOADED_VARIABLE, ""), error)
        for child in list(self.processes._process):
            self.processes.write(child, event)
        return loaded

    def apply() -> None:
        setattr(reactor, method, reload)
        # 5.0 asks whether routes wait, 4.2 whether none do.
        setattr(reactor, waiting, lambda *_: not is_5)

    return apply


def read_config_hash(conf: str) -> str:
    """Return the hash in the first lines of the file ``conf``; empty where none can be read."""
    with suppress(OSError, UnicodeDecodeError), open(conf, encoding="ascii") as file:
        return parse_config_line((file.readline(), file.readline()))
    return ""


def keep_routes_on_reload() -> ApplyPatch:
    """Send nothing again to the peers that stay when 4.x reads its configuration again.

    4.x sends every route again to every peer.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    peer = load_module("exabgp.reactor.peer").Peer
    rib = load_module("exabgp.rib").RIB
    original_reconfigure, original_init = peer.reconfigure, rib.__init__
    require_names(original_reconfigure, "_resend_routes")
    require_names(original_init, "_cache", "resend")

    def reconfigure(self: Any, *neighbor: Any) -> None:
        before = self._resend_routes
        original_reconfigure(self, *neighbor)
        self._resend_routes = before  # a peer may have asked for it a moment ago

    def init(self: Any, name: str, *rest: Any) -> None:
        cached = self._cache.get(name)
        if cached is not None:
            cached.outgoing.resend = lambda *_: None
        original_init(self, name, *rest)
        if cached is not None:
            del cached.outgoing.resend

    def apply() -> None:
        peer.reconfigure = reconfigure
        rib.__init__ = init

    return apply


PATCHES = (report_reload,)
"""Patches of this file for every release, in the order in which they are applied."""
PATCHES_4 = (keep_routes_on_reload,)
"""Patches of this file for 4.x only."""
