"""The VIPs on their interfaces: added, watched and repaired; a stop does not remove them (I/O).

Packets for the VIP arrive for seconds after a withdrawal, and HAProxy may need the address to
start, so it stays when the agent stops.  Each VIP also gets an ``unreachable`` route of nearly the
worst metric: while the address is missing, the kernel refuses its packets instead of sending them
back to the router, which would be a loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from anycastd.evidence.vip.netlink import DAD_FAILED, TENTATIVE, AddressChanges, Link, NetlinkSocket
from anycastd.profile.model import Network

_log = logging.getLogger(__name__)
_RETRY = 1.0  # seconds between attempts while a VIP is not usable
_RECHECK = 30.0  # seconds between checks without a reason; they repair the routes too
_REMEDY = "run as root or give it CAP_NET_ADMIN (AmbientCapabilities= in its unit)"


class NoPrivilegeError(PermissionError):
    """The kernel denies what is needed; the message says which privilege to give."""


@dataclass(frozen=True, slots=True)
class VipAddress:
    """The state of one VIP on its interface.

    ``present``: the address is there.  ``usable``: it is there, and packets for it are accepted.
    ``detail`` is a sentence for people.  ``changed_at`` is when the three changed, in seconds of
    the system's monotonic clock (neither own time nor wall time).
    """

    vip: Network
    present: bool
    usable: bool
    detail: str
    changed_at: float


class Loopback:
    """Manager of the VIPs on their interfaces; it does nothing before :meth:`start`.

    ``vips`` are (VIP, name of its interface).  ``emit(vip, VipAddress)`` is called for each VIP at
    the start and whenever its state changes, in the thread of the event loop.
    """

    def __init__(
        self, vips: Iterable[tuple[Network, str]], emit: Callable[[Network, VipAddress], None]
    ) -> None:
        self._vips = tuple(vips)
        self._emit = emit
        self._states: dict[Network, VipAddress] = {}
        self._notes: dict[Network, str] = {}
        self._healed: dict[Network, int] = {}
        self._added: dict[Network, int] = {}  # those that this object added: the interface's index
        self._routed: set[Network] = set()  # those for which this object added a route
        self._with_route: set[Network] = set()  # those whose route is known to be there
        self._permission_error: str | None = None
        self._kernel: NetlinkSocket | None = None
        self._changes: AddressChanges | None = None
        self._watched: int | None = None  # the descriptor that the event loop watches
        self._closed = True
        self._lock = threading.Lock()  # a check in its thread, or close(): one at a time

    def start(self) -> None:
        """Add the missing addresses and routes, once, and emit the state of every VIP.

        It blocks.  Raises NoPrivilegeError where the kernel refuses that for lack of a privilege,
        or gives no netlink socket; what was added is removed then.  Any other failure is a state
        of the VIP.
        """
        try:
            self._changes = AddressChanges()  # before the first check, so that no change is missed
            self._kernel = NetlinkSocket()
            self._closed = False
        except OSError as error:
            self.close()
            text = f"cannot open a netlink socket: {error.strerror}; allow AF_NETLINK in the unit"
            raise NoPrivilegeError(error.errno, f"{text} (RestrictAddressFamilies=)") from error
        try:
            states = self._read_and_repair()
            if self._permission_error:
                raise NoPrivilegeError(errno.EPERM, self._permission_error)
            self._report_changes(states or ())
        except BaseException:
            self._remove_added()
            self.close()
            raise

    async def run(self) -> None:
        """Watch and repair the VIPs until cancelled, then close.

        Calls :meth:`start` first if that was not done.  Raises NoPrivilegeError at the start only:
        later a lack of privilege is a state of the VIP.
        """
        if self._changes is None:
            self.start()
        wake = asyncio.Event()
        self._watch_changes(wake)
        was_read = True
        try:
            while True:
                usable = all(
                    vip in self._states and self._states[vip].usable for vip, _ in self._vips
                )
                watched = usable and was_read and self._watched is not None
                try:
                    async with asyncio.timeout(_RECHECK if watched else _RETRY):
                        await wake.wait()
                except TimeoutError:
                    self._with_route.clear()  # the kernel reports no routes: check each again
                wake.clear()
                self._watch_changes(wake)
                # In a thread: the kernel's routing lock may be taken for seconds.
                states = await asyncio.to_thread(self._read_and_repair)
                was_read = states is not None
                self._report_changes(states or ())
        finally:
            self._unwatch_changes()
            self.close()

    def close(self) -> None:
        """Stop watching; nothing changes on the interfaces."""
        with self._lock:
            self._closed = True
            for end in (self._changes, self._kernel):
                if end is not None:
                    end.close()
            self._changes = self._kernel = None

    async def remove(self) -> None:
        """Remove the addresses and routes that this object added; call it after :meth:`close`.

        Raises OSError where the kernel gives no netlink socket.
        """
        await asyncio.to_thread(self._remove_added)

    def _watch_changes(self, wake: asyncio.Event) -> None:
        """Watch the kernel's messages, with another socket if the last one has failed."""
        if self._watched is not None:
            return
        try:
            self._changes = self._changes or AddressChanges()
        except OSError as error:  # until there is one, addresses are read each second
            _log.warning("cannot open a netlink socket: %s", error)
            return
        self._watched = self._changes.fileno()
        asyncio.get_running_loop().add_reader(self._watched, self._read, self._changes, wake)

    def _unwatch_changes(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
        self._watched = None

    def _read(self, changes: AddressChanges, wake: asyncio.Event) -> None:
        try:
            changed = changes.read()
        except Exception as error:  # noqa: BLE001 - whatever it is, anything may have changed
            _log.warning("cannot read a message about addresses: %r: reading all of them", error)
            self._unwatch_changes()
            changes.close()
            self._changes = None
            wake.set()
            return
        if changed is None:
            _log.warning("the kernel dropped messages about addresses: reading all of them again")
            wake.set()
        elif any(vip.network_address in changed or name in changed for vip, name in self._vips):
            wake.set()

    def _report_changes(self, states: Iterable[VipAddress]) -> None:
        for state in states:
            before = self._states.get(state.vip)
            if before and _facts(before) == _facts(state):
                continue
            self._states[state.vip] = state
            if not state.usable or before:
                _log.warning("%s: %s", state.vip, state.detail)
            self._emit(state.vip, state)

    def _read_and_repair(self) -> list[VipAddress] | None:
        """Read all addresses, add what is missing, and return the state of each VIP.

        None: they could not be read, so anything may have changed.
        """
        with self._lock:
            if self._closed:
                return []
            try:
                self._kernel = self._kernel or NetlinkSocket()
                links = {name: self._kernel.find_link(name) for _, name in self._vips}
                addresses = self._kernel.list_addresses()
            except (OSError, ValueError, struct.error) as error:
                # States stay as they are; a new socket, in case answers and requests do not match.
                _log.warning("cannot read the addresses of this host: %s", error)
                if self._kernel:
                    self._kernel.close()
                self._kernel = None
                return None
            now = time.monotonic()
            states = []
            for vip, name in self._vips:
                link = links[name]
                flags = addresses.get((link.index, vip.network_address)) if link else None
                states.append(
                    VipAddress(vip, *self._check_vip(self._kernel, vip, name, link, flags), now)
                )
            return states

    def _check_vip(
        self, kernel: NetlinkSocket, vip: Network, name: str, link: Link | None, flags: int | None
    ) -> tuple[bool, bool, str]:
        """Repair one VIP (``flags`` None: it is missing); returns (present, usable, detail)."""
        if link is None:
            return _absent(f"there is no interface {name}: create it, or correct the profile")
        if flags is None:
            try:
                kernel.add_address(link.index, vip)
            except OSError as error:
                detail = f"cannot put {vip} on {name}: {_hint(error)}"
                if error.errno == errno.EPERM:
                    self._permission_error = detail
                return _absent(detail)
            self._added[vip] = link.index
            if vip in self._notes:
                times = self._healed[vip] = self._healed.get(vip, 0) + 1
                self._notes[vip] = f"went missing from {name} and was put back ({times} so far)"
            else:
                self._notes[vip] = f"put on {name}"
        detail = self._notes.setdefault(vip, f"on {name}")
        if not link.up or flags is None:
            self._with_route.discard(
                vip
            )  # the kernel may have dropped it together with the address
        try:
            if vip not in self._with_route and kernel.add_unreachable(vip):
                self._routed.add(vip)
            self._with_route.add(vip)
        except OSError as error:
            detail += f"; no unreachable route behind it: {_hint(error)}"
        trouble = _trouble(link, vip, name, flags or 0)
        return (True, trouble is None, trouble or detail)

    def _remove_added(self) -> None:
        if not self._added and not self._routed:
            return
        with self._lock:
            kernel = NetlinkSocket()
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
    """Remove VIPs from their interfaces, and their unreachable routes, where they exist.

    ``vips`` are (VIP, name of its interface).  Raises NoPrivilegeError where the kernel refuses it
    for lack of a privilege, and OSError where it refuses it for another reason.
    """
    try:
        kernel = NetlinkSocket()
        try:
            for vip, name in vips:
                link = kernel.find_link(name)
                if link is not None:
                    kernel.delete_address(link.index, vip)
                kernel.delete_unreachable(vip)
        finally:
            kernel.close()
    except PermissionError as error:
        raise NoPrivilegeError(error.errno, f"cannot take the VIPs away: {_hint(error)}") from error


def _facts(state: VipAddress) -> tuple[bool, bool, str]:
    return (state.present, state.usable, state.detail)


def _absent(detail: str) -> tuple[bool, bool, str]:
    return (False, False, detail)


def _trouble(link: Link, vip: Network, name: str, flags: int) -> str | None:
    """Return why an address that is present accepts no packets; None if it does."""
    if not link.up:
        return f"{name} is down: ip link set {name} up"
    if flags & DAD_FAILED:
        return f"another host has {vip} on {name} (duplicate address detection failed)"
    if flags & TENTATIVE:
        return f"{name} is still asking whether another host has {vip} (tentative)"
    return None


def _hint(error: OSError) -> str:
    return f"{error.strerror}; {_REMEDY}" if error.errno == errno.EPERM else str(error.strerror)
