"""The VIPs on their interface: put in place, watched, healed, and not taken away by a stop.

Packets for the VIP arrive for seconds after a withdrawal, and HAProxy may need the address to
start: so it stays when the agent leaves.  Behind each VIP stands an ``unreachable`` route of the
worst metric: while the address is gone, packets for it are refused here instead of looping to the
router and back.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from anycastd.evidence.vip.netlink import DAD_FAILED, TENTATIVE, Changes, Kernel, Link
from anycastd.profile.model import Network

_log = logging.getLogger(__name__)
_RETRY = 1.0  # seconds between tries while a VIP is not usable
_RECHECK = 30.0  # seconds between looks that nothing asked for; they heal the routes too
_REMEDY = "run as root or give it CAP_NET_ADMIN (AmbientCapabilities= in its unit)"


class NoPrivilegeError(PermissionError):
    """The kernel does not let this process do its work; the message says what to give it."""


@dataclass(frozen=True, slots=True)
class VipAddress:
    """What is known of one VIP on its interface.

    ``present``: the address is there.  ``usable``: and packets for it are accepted.  ``why`` is a
    sentence for people.  ``since`` is when the three became so (``time.monotonic()``, seconds).
    """

    vip: Network
    present: bool
    usable: bool
    detail: str
    changed_at: float


class Loopback:
    """Keeps VIPs on their interfaces: inert when built, acts from :meth:`start` on.

    ``emit(vip, Address)`` is called for each VIP at the start and whenever its state changes, in
    the thread of the event loop.
    """

    def __init__(
        self, vips: Iterable[tuple[Network, str]], emit: Callable[[Network, VipAddress], None]
    ) -> None:
        self._vips = tuple(vips)
        self._emit = emit
        self._states: dict[Network, VipAddress] = {}
        self._notes: dict[Network, str] = {}
        self._healed: dict[Network, int] = {}
        self._added: dict[Network, int] = {}  # those that we put there: the interface's index
        self._routed: set[Network] = set()  # those behind which we put a route
        self._behind: set[Network] = set()  # those that are known to have one
        self._denied: str | None = None
        self._kernel: Kernel | None = None
        self._changes: Changes | None = None
        self._turn = threading.Lock()  # a pass in its thread, and stopping: one at a time

    def start(self) -> None:
        """Put what is missing in place, once, and tell the state of every VIP.

        Raises NoPrivilegeError where that is not allowed; nothing is left behind then.
        """
        try:
            self._changes = Changes()  # before the first look, so that no change falls between
            self._kernel = Kernel()
        except OSError as error:
            self.close()
            text = f"cannot open a netlink socket: {error.strerror}; allow AF_NETLINK in the unit"
            raise NoPrivilegeError(error.errno, f"{text} (RestrictAddressFamilies=)") from error
        try:
            states = self._settle()
            if self._denied:
                raise NoPrivilegeError(errno.EPERM, self._denied)
            self._tell(states)
        except BaseException:
            self._undo()
            self.close()
            raise

    async def run(self) -> None:
        """Watch and heal until cancelled, then close.  Starts first where needed.

        Raises NoPrivilegeError at the start only: later it is a state like any other.
        """
        if self._changes is None:
            self.start()
        changes = self._changes
        assert changes is not None  # noqa: S101 - start() set it, or raised
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()
        loop.add_reader(changes, self._read, changes, wake)
        try:
            while True:
                usable = all(
                    vip in self._states and self._states[vip].usable for vip, _ in self._vips
                )
                try:
                    async with asyncio.timeout(_RECHECK if usable else _RETRY):
                        await wake.wait()
                except TimeoutError:
                    self._behind.clear()  # nobody tells us of routes: ask for each again
                wake.clear()
                # In a thread: whoever holds the kernel's routing lock may hold it for seconds.
                self._tell(await asyncio.to_thread(self._settle))
        finally:
            loop.remove_reader(changes)
            self.close()

    def close(self) -> None:
        """Stop looking; nothing changes on the interface."""
        with self._turn:
            for end in (self._changes, self._kernel):
                if end is not None:
                    end.close()
            self._changes = self._kernel = None

    async def remove(self) -> None:
        """Take away what this object itself put in place; call it after :meth:`close`."""
        await asyncio.to_thread(self._undo)

    def _read(self, changes: Changes, wake: asyncio.Event) -> None:
        changed = changes.read()
        if changed is None:
            _log.warning("the kernel dropped messages about addresses: reading all of them again")
            wake.set()
        elif any(vip.network_address in changed or name in changed for vip, name in self._vips):
            wake.set()

    def _tell(self, states: Iterable[VipAddress]) -> None:
        for state in states:
            before = self._states.get(state.vip)
            if before and _facts(before) == _facts(state):
                continue
            self._states[state.vip] = state
            if not state.usable or before:
                _log.warning("%s: %s", state.vip, state.detail)
            self._emit(state.vip, state)

    def _settle(self) -> list[VipAddress]:
        """Read everything, put back what is missing, and return how each VIP stands now."""
        with self._turn:
            if self._changes is None:
                return []  # stopped meanwhile
            try:
                self._kernel = self._kernel or Kernel()
                links = {name: self._kernel.link(name) for _, name in self._vips}
                held = self._kernel.addresses()
            except OSError as error:
                # What was known stays known; a fresh conversation, in case this one is out of step.
                _log.warning("cannot read the addresses of this host: %s", error)
                if self._kernel:
                    self._kernel.close()
                self._kernel = None
                return []
            now = time.monotonic()
            states = []
            for vip, name in self._vips:
                link = links[name]
                flags = held.get((link.index, vip.network_address)) if link else None
                states.append(
                    VipAddress(vip, *self._look(self._kernel, vip, name, link, flags), now)
                )
            return states

    def _look(
        self, kernel: Kernel, vip: Network, name: str, link: Link | None, flags: int | None
    ) -> tuple[bool, bool, str]:
        """Return present, usable and why; ``flags`` None: the address is missing."""
        if link is None:
            return _absent(f"there is no interface {name}: create it, or correct the profile")
        if flags is None:
            try:
                kernel.add_address(link.index, vip)
            except OSError as error:
                why = f"cannot put {vip} on {name}: {_hint(error)}"
                if error.errno == errno.EPERM:
                    self._denied = why
                return _absent(why)
            self._added[vip] = link.index
            if vip in self._notes:
                times = self._healed[vip] = self._healed.get(vip, 0) + 1
                self._notes[vip] = f"went missing from {name} and was put back ({times} so far)"
            else:
                self._notes[vip] = f"put on {name}"
        why = self._notes.setdefault(vip, f"on {name}")
        if not link.up or flags is None:
            self._behind.discard(vip)  # the kernel may have dropped it together with the address
        try:
            if vip not in self._behind and kernel.add_unreachable(vip):
                self._routed.add(vip)
            self._behind.add(vip)
        except OSError as error:
            why += f"; no unreachable route behind it: {_hint(error)}"
        trouble = _trouble(link, vip, name, flags or 0)
        return (True, trouble is None, trouble or why)

    def _undo(self) -> None:
        if not self._added and not self._routed:
            return
        with self._turn:
            kernel = Kernel()
            try:
                for vip, index in self._added.items():
                    with suppress(OSError):  # the interface may be gone, and the address with it
                        kernel.delete_address(index, vip)
                for vip in self._routed:
                    with suppress(OSError):
                        kernel.delete_unreachable(vip)
            finally:
                kernel.close()
            self._added.clear()
            self._routed.clear()


def remove_vips(vips: Iterable[tuple[Network, str]]) -> None:
    """Take VIPs off their interfaces, and the routes behind them; what is not there is no harm.

    Raises NoPrivilegeError.
    """
    try:
        kernel = Kernel()
        try:
            for vip, name in vips:
                link = kernel.link(name)
                if link is not None:
                    kernel.delete_address(link.index, vip)
                kernel.delete_unreachable(vip)
        finally:
            kernel.close()
    except PermissionError as error:
        raise NoPrivilegeError(error.errno, f"cannot take the VIPs away: {_hint(error)}") from error


def _facts(state: VipAddress) -> tuple[bool, bool, str]:
    return (state.present, state.usable, state.detail)


def _absent(why: str) -> tuple[bool, bool, str]:
    return (False, False, why)


def _trouble(link: Link, vip: Network, name: str, flags: int) -> str | None:
    """Return why an address that is there takes no packets, None when it does."""
    if not link.up:
        return f"{name} is down: ip link set {name} up"
    if flags & DAD_FAILED:
        return f"another host has {vip} on {name} (duplicate address detection failed)"
    if flags & TENTATIVE:
        return f"{name} is still asking whether another host has {vip} (tentative)"
    return None


def _hint(error: OSError) -> str:
    return f"{error.strerror}; {_REMEDY}" if error.errno == errno.EPERM else str(error.strerror)
