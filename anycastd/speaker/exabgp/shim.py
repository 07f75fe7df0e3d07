"""ExaBGP's own main with some habits mended: ``python -m anycastd.speaker.exabgp.shim CONF`` (stdlib + exabgp).

Each mend replaces one thing that breaks a promise; all were measured with 4.2.21, 4.2.25, 5.0.15:

- Hold, keepalive and redial timers read the wall clock: a step of it drops the sessions.  Here
  they read the monotonic clock.
- The wait before a redial grows with every lost session or refused connection, up to 60 s, and
  never shrinks.  Here it ends at ``REDIAL`` seconds.
- Where a neighbor's host is away, the kernel dials for two minutes, ever more seldom, so that one
  that is back waits for up to a minute.  Here it gives up within 7 s, and ExaBGP dials anew.
- An API child that dies while much is written to it makes ExaBGP end, or keep its sessions
  without serving them until the peers' hold timers expire.  Here what cannot be written is dropped:
  ExaBGP notices the death by itself and starts the child again.
- An API child that hangs is left alone for ever.  Here one that asked to be watched (its first line
  says so; it speaks at least once a second) is ended after ``SILENT`` seconds without a word, and
  ExaBGP starts another one.  A stall of our own does not count.
- At its start it looks up its own name in DNS, which takes as long as a dead resolver lets it.
  Nothing here uses that name, so it does not ask.
- 4.x closes the session when a peer that knows enhanced route refresh (RFC 7313; BIRD does)
  asks for a plain one (RFC 2918).  Here 4.x offers the plain one only.
- A signal to read its configuration again is forgotten while a route waits to be sent, and nobody
  hears what came of it.  Here it is always taken, and the API child is told which configuration
  runs now (the hash in its second line) or why the old one does; a child that is started later
  finds it in its environment.  One that cannot be read changes nothing: bare, it ends the API child
  for good.
- 4.x says every route again to everybody when it reads its configuration again.  Here it does not.
- It takes 25 routes from its queue, then sleeps up to 10 ms, and copies the whole of each route for
  each neighbor: 1,000 routes take 0.8 to 1 s.  Here it takes ``queue.AT_ONCE`` steps at a time and
  copies what differs: a third of that.
- What is queued is sent in the order in which its attributes were first seen, so of one route that
  is withdrawn, announced and withdrawn while ExaBGP is busy the announcement is sent last, and
  stays for ever; so does one of a route that is withdrawn before a session is up, since the first
  batch of a session has no withdrawals.  Here only the newest word on a route is queued.
- At its end, and for a neighbor that was taken out, it just closes the connection.  Here it says
  Cease first (RFC 4486: 2, administrative shutdown; 3, peer de-configured).

Where the modules are not as this file knows them it says so and exits with 69.
"""

# ruff: noqa: ANN401, SLF001 - ExaBGP carries no types, and its insides are what is mended

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

from anycastd.speaker.exabgp.patches.queue import PATCHES
from anycastd.system.exit_codes import EX_UNAVAILABLE, USAGE

REDIAL = 5  # seconds
SYNS = 2  # that are sent again, after 1 and 3 s at the latest; the kernel gives up within 7 s
SILENT = 5.0  # seconds, of which each turn of the loop counts a tenth at most
WATCHED = "# watched"
PARENT = "ANYCASTD_PARENT"  # environment: the pid whose death must end this process
LOADED = "ANYCASTD_LOADED"  # environment of the API child: the configuration that runs
LEVEL = "exabgp_log_level"
_PR_SET_PDEATHSIG = 1

# Where a clock decides when BGP sends, gives up or dials again: module, class, methods.
_CLOCKS = (
    ("exabgp.bgp.timer", "ReceiveTimer", ("__init__", "check_ka_timer")),
    ("exabgp.bgp.timer", "SendTimer", ("__init__", "need_ka")),
    ("exabgp.reactor.delay", "Delay", ("__init__", "reset", "increase", "backoff")),
)


class UnknownExabgpError(Exception):  # noqa: N818 - it is told, not handled
    """ExaBGP is missing, or is not as this file knows it; the message says what to do."""


class _Clock:
    """What stands in for the module ``time`` in the modules of ``_CLOCKS``."""

    time = staticmethod(time.monotonic)


def apply_patches() -> str:
    """Mend the ExaBGP that this interpreter imports and return its release, such as 4.2.25.

    Raises Unfamiliar and leaves ExaBGP as it is when one of the mends would miss.
    """
    release = str(_module("exabgp.version").release)
    if not release.startswith(("4.2.", "5.0.")):
        raise UnknownExabgpError(f"ExaBGP {release} is not known: install 4.2 or 5.0")
    try:
        _own_name()()  # before the others: 5.0 asks for the name as soon as it is imported
        mends = [_timers, _redial, _dial, _child_death, _child_hangs, _reread, _cease, *PATCHES]
        if release.startswith("4."):
            mends += [_refresh, _repeat]
        for apply in [prepare() for prepare in mends]:
            apply()
    except UnknownExabgpError:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever it is, this is not what we know
        raise UnknownExabgpError(
            f"ExaBGP {release} is not as anycastd knows it ({problem}), so that its timers and its "
            "route refresh cannot be trusted: install an unmodified 4.2 or 5.0"
        ) from None
    return release


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as problem:
        raise UnknownExabgpError(
            f"ExaBGP cannot be imported by {sys.executable} ({problem}): "
            "apt install python3-exabgp, or pip install exabgp"
        ) from None


# Each of these looks first and returns what then changes ExaBGP: all of them do or none does.


def _timers() -> Callable[[], None]:
    modules = []
    for name, owner, methods in _CLOCKS:
        module = _module(name)
        if module.time is not time:
            raise AttributeError(f"{name}: time is not the module")
        for method in methods:
            names = getattr(getattr(module, owner), method).__code__.co_names
            if "time" not in names:
                raise AttributeError(f"{name}: {owner}.{method} does not ask for the time")
        modules.append(module)

    def apply() -> None:
        for module in modules:
            module.time = _Clock  # type: ignore[attr-defined]

    return apply


def _redial() -> Callable[[], None]:
    delay = _module("exabgp.reactor.delay").Delay
    probe = delay()
    if probe._next != 0:
        raise AttributeError("exabgp.reactor.delay: Delay._next is another")
    grow = delay.increase

    def increase(self: Any) -> None:
        grow(self)
        self._next = min(self._next, REDIAL)

    def apply() -> None:
        delay.increase = increase

    return apply


def _dial() -> Callable[[], None]:
    module = _module("exabgp.reactor.network.outgoing")
    original = module.asynchronous
    if "asynchronous" not in module.Outgoing._setup.__code__.co_names:
        raise AttributeError("exabgp.reactor.network: Outgoing._setup is another")

    def asynchronous(io: Any, ip: Any) -> None:
        original(io, ip)
        io.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYNS)

    def apply() -> None:
        module.asynchronous = asynchronous  # type: ignore[attr-defined]

    return apply


def _child_death() -> Callable[[], None]:
    module = _module("exabgp.reactor.api.processes")
    processes, error = module.Processes, module.ProcessError
    original = processes.write
    names = original.__code__.co_names
    if not {"_broken", "_process"} <= set(names) or "_handle_problem" in names:
        raise AttributeError("exabgp.reactor.api.processes: Processes.write is another")

    def write(self: Any, process: str, string: str | None, neighbor: Any = None) -> bool:
        try:
            return bool(original(self, process, string, neighbor))
        except error:
            # "broken" would stop the peers for good; received() finds the death and respawns
            self._broken[:] = [name for name in self._broken if name != process]
            return True

    def apply() -> None:
        processes.write = write

    return apply


class _ChildWatchdog:
    """How long an API child has said nothing, in seconds of our own."""

    def __init__(self) -> None:
        self.armed = False
        self.silence = 0.0
        self._seen = time.monotonic()

    def heard(self, command: str) -> None:
        self.silence = 0.0
        self.armed = self.armed or command.startswith(WATCHED)

    def over(self) -> bool:
        seen = time.monotonic()
        self.silence += min(seen - self._seen, 0.1)
        self._seen = seen
        if not self.armed or self.silence < SILENT:
            return False
        self.silence = 0.0
        return True


def _child_hangs() -> Callable[[], None]:
    processes = _module("exabgp.reactor.api.processes").Processes
    original = processes.received
    if not {"_process", "_handle_problem"} <= set(original.__code__.co_names):
        raise AttributeError("exabgp.reactor.api.processes: Processes.received is another")
    watch = _ChildWatchdog()

    def received(self: Any) -> Iterator[tuple[str, str]]:
        for process, command in original(self):
            watch.heard(command)
            yield process, command
        if watch.over():
            sys.stderr.write(f"anycastd speaker: no word of the lease process in {SILENT:g} s\n")
            for child in list(self._process.values()):
                child.kill()

    def apply() -> None:
        processes.received = received

    return apply


def _reread() -> Callable[[], None]:
    reactor = _module("exabgp.reactor.loop").Reactor
    newer = hasattr(reactor, "reload")
    load, waits = ("reload", "_pending_adjribout") if newer else ("load", "_completed")
    original = getattr(reactor, load)
    if not {"configuration", "reload"} <= set(original.__code__.co_names):
        raise AttributeError(f"exabgp.reactor.loop: Reactor.{load} is another")
    if waits not in reactor.run.__code__.co_names or not hasattr(reactor, waits):
        raise AttributeError(f"exabgp.reactor.loop: Reactor.{waits} is not what a reload waits for")
    parser = _module("exabgp.configuration.configuration").Configuration
    if not {"processes", "neighbors"} <= set(parser._clear.__code__.co_names):
        raise AttributeError("exabgp.configuration: Configuration._clear is another")

    def loaded(self: Any) -> bool:
        its = self.configuration
        before = its.processes, its.neighbors
        config = configuration_hash(sys.argv[-1])  # before: rather an older one than a newer one
        done = bool(original(self))
        if done:
            os.environ[LOADED] = config
        event: dict[str, object] = {"type": "anycastd", "loaded": os.environ.get(LOADED, "")}
        if not done:
            event["error"] = " ".join(str(its.error).split()) or "the file cannot be read"
            # else it would end the API child for good, and the next file would not be read either
            its._cleanup()
            its.processes, its.neighbors = before
        for child in list(self.processes._process):
            self.processes.write(child, json.dumps(event))
        return done

    def apply() -> None:
        setattr(reactor, load, loaded)
        # 5.0 asks whether routes wait, 4.2 whether none do
        setattr(reactor, waits, lambda *_: not newer)

    return apply


def configuration_hash(conf: str) -> str:
    """Read which configuration a file says it is; empty where it does not."""
    with suppress(OSError, UnicodeDecodeError), open(conf, encoding="ascii") as file:
        for line in (file.readline(), file.readline()):
            if found := re.fullmatch(r"# config (\S+)\n", line):
                return found[1]
    return ""


def _cease() -> Callable[[], None]:
    peer = _module("exabgp.reactor.peer").Peer
    fsm = _module("exabgp.bgp.fsm").FSM
    original = peer._stop
    names = set(peer.remove.__code__.co_consts) | set(peer.shutdown.__code__.co_consts)
    if "proto" not in original.__code__.co_names or not {"removed", "shutting down"} <= names:
        raise AttributeError("exabgp.reactor.peer: Peer._stop is another")
    open_sent = (fsm.OPENSENT, fsm.OPENCONFIRM, fsm.ESTABLISHED)

    def stop(self: Any, message: str) -> None:
        if self.proto and self.fsm in open_sent:
            subcode = 3 if message == "removed" else 2
            # the socket does not block; who cannot be told is not worth waiting for
            with suppress(OSError, AttributeError):
                self.proto.connection.io.send(b"\xff" * 16 + bytes([0, 21, 3, 6, subcode]))
        original(self, message)

    def apply() -> None:
        peer._stop = stop

    return apply


def _own_name() -> Callable[[], None]:
    module = _module("exabgp.util.dns")
    if "__domain_name" not in vars(module):
        raise AttributeError("exabgp.util.dns: the domain's name is not remembered")

    def apply() -> None:
        setattr(module, "__domain_name", "localhost")

    return apply


def _refresh() -> Callable[[], None]:
    capabilities = _module("exabgp.bgp.message.open.capability.capabilities").Capabilities
    code = _module("exabgp.bgp.message.open.capability.capability").Capability.CODE
    enhanced = code.ENHANCED_ROUTE_REFRESH
    original = capabilities._refresh
    if "EnhancedRouteRefresh" not in original.__code__.co_names:
        raise AttributeError("Capabilities._refresh does not offer enhanced refresh")

    def plain(self: Any, neighbor: Any) -> None:
        original(self, neighbor)
        self.pop(enhanced, None)

    def apply() -> None:
        capabilities._refresh = plain

    return apply


def _repeat() -> Callable[[], None]:
    peer = _module("exabgp.reactor.peer").Peer
    rib = _module("exabgp.rib").RIB
    reconfigure, build = peer.reconfigure, rib.__init__
    if "_resend_routes" not in reconfigure.__code__.co_names:
        raise AttributeError("exabgp.reactor.peer: Peer.reconfigure says nothing again")
    if not {"_cache", "resend"} <= set(build.__code__.co_names):
        raise AttributeError("exabgp.rib: RIB says nothing again")

    def keep(self: Any, *neighbor: Any) -> None:
        before = self._resend_routes
        reconfigure(self, *neighbor)
        self._resend_routes = before  # a peer may have asked for it a moment ago

    def adopt(self: Any, name: str, *rest: Any) -> None:
        known = self._cache.get(name)
        if known is not None:
            known.outgoing.resend = lambda *_: None
        build(self, name, *rest)
        if known is not None:
            del known.outgoing.resend

    def apply() -> None:
        peer.reconfigure = keep
        rib.__init__ = adopt

    return apply


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when ``parent`` (a pid) ends, or now if it already has."""
    import ctypes  # noqa: PLC0415 - a megabyte that the usual process does not need

    # SIGKILL: the point is that the sessions close, also when this process hangs
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Run ExaBGP with the configuration file that is the only argument; it exits by itself."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m anycastd.speaker.exabgp.shim CONF\n")
        return USAGE
    parent = os.environ.pop(PARENT, "")
    if parent:
        die_with_parent(int(parent))
    sys.stdout = sys.stderr  # 4.2 logs to stdout when told stderr
    (conf,) = arguments
    # Named, so that neither version reads /etc/exabgp/exabgp.env.  5.0 looks here, 4.2 at --env.
    settings = os.environ.setdefault("EXABGP_ENVFILE", "/dev/null")
    try:
        release = apply_patches()
    except UnknownExabgpError as problem:
        sys.stderr.write(f"anycastd speaker: {problem}\n")
        return EX_UNAVAILABLE
    if release.startswith("4."):
        sys.argv = ["exabgp", "--env", settings, conf]
        if os.environ.get(LEVEL) == "ERROR":
            os.environ[LEVEL] = "ERR"  # syslog's word for it is the only one that 4.x takes
    else:
        sys.argv = ["exabgp", "server", conf]
    return int(_module("exabgp.application.main").main() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
