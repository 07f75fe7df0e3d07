"""VIPs on a real interface in a network namespace, moved about with ``ip`` as a person would."""

from __future__ import annotations

import asyncio
import errno
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from unittest.mock import Mock

import pytest

from anycastd.evidence.vip.loopback import Loopback, VipAddress
from anycastd.evidence.vip.netlink import NetlinkSocket

pytestmark = pytest.mark.root

V4 = ip_network("203.0.113.10/32")
V6 = ip_network("2001:db8::10/128")
Network = IPv4Network | IPv6Network
InOwnNetwork = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
Eventually = Callable[..., Coroutine[Any, Any, Any]]


def ip(*words: str) -> str:
    """Run ``ip`` in the namespace of the calling thread."""
    done = subprocess.run(["ip", *words], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def on(interface: str, vip: Network) -> bool:
    """Tell whether ``ip`` shows the address there."""
    return bool(ip("-o", "addr", "show", "dev", interface, "to", str(vip)))


class Watched:
    """A running Loopback with every state that it emitted, newest last."""

    def __init__(self, *vips: tuple[Network, str]) -> None:
        self.states: dict[Network, list[VipAddress]] = {vip: [] for vip, _ in vips}
        self.loopback = Loopback(vips, lambda vip, state: self.states[vip].append(state))

    def now(self, vip: Network) -> VipAddress:
        """Return the newest state of a VIP."""
        return self.states[vip][-1]


@asynccontextmanager
async def running(*vips: tuple[Network, str]) -> AsyncIterator[Watched]:
    """Start a Loopback, let it watch, and cancel it as the agent would."""
    watched = Watched(*vips)
    watched.loopback.start()
    task = asyncio.create_task(watched.loopback.run())
    try:
        yield watched
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        watched.loopback.close()


def test_missing_addresses_are_put_in_place(in_own_network: InOwnNetwork) -> None:
    """At the start each VIP gets its host prefix, and an unreachable route behind it."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        async with running((V4, "lo"), (V6, "lo")) as watched:
            for vip in (V4, V6):
                state = watched.now(vip)
                assert (state.present, state.usable, state.detail) == (True, True, "put on lo")
                assert abs(time.monotonic() - state.changed_at) < 5
            assert "203.0.113.10/32 scope host" in ip("-4", "addr", "show", "dev", "lo")
            assert "2001:db8::10/128 scope global nodad" in ip("-6", "addr", "show", "dev", "lo")
            assert "unreachable 203.0.113.10 proto static metric 4294967294" in ip("route")
            assert re.search(r"unreachable 2001:db8::10 .*metric 4294967294", ip("-6", "route"))
            assert ip("route", "get", "203.0.113.10").startswith("local")

    in_own_network(work)


def test_addresses_that_are_there_are_left_as_they_are(in_own_network: InOwnNetwork) -> None:
    """Somebody else's address is taken as it is, and removing ours does not take it away."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        ip("addr", "add", "203.0.113.10/32", "dev", "lo", "label", "lo:theirs")
        before = ip("-4", "addr", "show", "dev", "lo")
        async with running((V4, "lo")) as watched:
            assert watched.now(V4).detail == "on lo"
            assert ip("-4", "addr", "show", "dev", "lo") == before
        await watched.loopback.remove()
        assert ip("-4", "addr", "show", "dev", "lo") == before

    in_own_network(work)


def test_stop_leaves_addresses_and_remove_takes_ours(in_own_network: InOwnNetwork) -> None:
    """A stop changes nothing on the interface; only remove() takes away what we put there."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        async with running((V4, "lo"), (V6, "lo")) as watched:
            pass
        assert on("lo", V4)
        assert on("lo", V6)
        await watched.loopback.remove()
        assert not on("lo", V4)
        assert not on("lo", V6)
        assert "unreachable" not in ip("route") + ip("-6", "route")

    in_own_network(work)


@asynccontextmanager
async def monitored() -> AsyncIterator[asyncio.StreamReader]:
    """Run ``ip -ts monitor address`` and yield its lines, from when it surely listens."""
    monitor = await asyncio.create_subprocess_exec(
        "ip", "-ts", "monitor", "address", stdout=asyncio.subprocess.PIPE
    )
    assert monitor.stdout is not None
    try:
        line = asyncio.create_task(monitor.stdout.readline())
        while not line.done():
            ip("addr", "add", "192.0.2.1/32", "dev", "lo")
            ip("addr", "del", "192.0.2.1/32", "dev", "lo")
            await asyncio.wait([line], timeout=0.02)
        yield monitor.stdout
    finally:
        monitor.kill()
        await monitor.communicate()


async def stamp(lines: asyncio.StreamReader, beginning: str) -> float:
    """Return when the next line about the VIP was, in seconds of its hour; check its beginning."""
    while True:
        line = (await asyncio.wait_for(lines.readline(), 20)).decode()
        when, _, what = line.partition("]")
        if "203.0.113.10" in what:
            assert what.lstrip().startswith(beginning), line
            clock = re.search(r":(\d\d):(\d\d\.\d+)$", when)
            assert clock, line
            return int(clock[1]) * 60 + float(clock[2])


def test_an_address_removed_by_hand_is_back_within_10_ms(
    in_own_network: InOwnNetwork, eventually: Eventually
) -> None:
    """Put back at once and reported, each time; the times are an independent ``ip monitor``'s."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        gaps, told = [], ["put on lo"]
        async with monitored() as lines, running((V4, "lo")) as watched:
            await stamp(lines, "1: lo")
            for times in range(1, 10):
                ip("addr", "del", "203.0.113.10/32", "dev", "lo")
                gone = await stamp(lines, "Deleted 1: lo")
                gaps.append((await stamp(lines, "1: lo") - gone) % 3600)
                detail = f"went missing from lo and was put back ({times} so far)"
                told.append(detail)
                await eventually(
                    lambda detail=detail: watched.now(V4).detail == detail, what=detail
                )
                assert watched.now(V4).usable
            assert [state.detail for state in watched.states[V4]] == told  # and nothing twice
        assert min(gaps) < 0.010, f"{gaps}: a busy machine may delay some"

    in_own_network(work)


def test_interface_down_is_not_usable(in_own_network: InOwnNetwork, eventually: Eventually) -> None:
    """On an interface that is down nothing is accepted; up again, all is put right by itself."""

    async def work() -> None:
        async with running((V4, "lo"), (V6, "lo")) as watched:
            for vip in (V4, V6):
                assert watched.now(vip).present
                assert not watched.now(vip).usable
                assert watched.now(vip).detail == "lo is down: ip link set lo up"
            ip("link", "set", "lo", "up")
            await eventually(lambda: watched.now(V4).usable and watched.now(V6).usable)
            ip("link", "set", "lo", "down")  # the kernel drops IPv6 addresses here
            await eventually(lambda: not (watched.now(V4).usable or watched.now(V6).usable))
            ip("link", "set", "lo", "up")
            await eventually(lambda: watched.now(V4).usable and watched.now(V6).usable)
            assert on("lo", V6)
            assert "unreachable 2001:db8::10" in ip("-6", "route")  # dropped with the address

    in_own_network(work)


def test_interface_that_comes_and_goes(
    in_own_network: InOwnNetwork, eventually: Eventually
) -> None:
    """A missing interface is reported with a remedy; once there it gets the VIP, each time anew."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        async with running((V4, "vips")) as watched:
            assert watched.now(V4) == VipAddress(
                V4,
                present=False,
                usable=False,
                detail="there is no interface vips: create it, or correct the profile",
                changed_at=watched.now(V4).changed_at,
            )
            for _ in range(2):
                ip("link", "add", "vips", "type", "bridge")
                ip("link", "set", "vips", "up")
                await eventually(lambda: watched.now(V4).usable, timeout=0.9)  # no retry needed
                assert on("vips", V4)
                ip("link", "del", "vips")
                await eventually(lambda: not watched.now(V4).present, timeout=0.9)

    in_own_network(work)


def test_another_host_with_the_same_ipv6_address(
    in_own_network: InOwnNetwork, eventually: Eventually
) -> None:
    """While the kernel asks the link, and after a duplicate was found, the VIP is not usable."""

    async def work() -> None:
        ip("link", "add", "here", "type", "veth", "peer", "name", "there")
        for end in ("here", "there"):
            ip("link", "set", end, "up")
        ip("addr", "add", "2001:db8::10/128", "dev", "there", "nodad")
        ip("addr", "add", "2001:db8::10/128", "dev", "here")
        async with running((V6, "here")) as watched:
            await eventually(lambda: "duplicate address" in watched.now(V6).detail, timeout=10)
            details = [state.detail for state in watched.states[V6]]
            assert any("tentative" in detail for detail in details), details
            assert not any(state.usable for state in watched.states[V6])
            ip("addr", "del", "2001:db8::10/128", "dev", "here")
            await eventually(lambda: watched.now(V6).usable)  # ours does not ask the link

    in_own_network(work)


def test_lost_messages_lead_to_a_full_read(
    in_own_network: InOwnNetwork, eventually: Eventually
) -> None:
    """When more changed than the kernel can tell, everything is read again and put right."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        flood = [f"addr add 10.{n // 250}.{n % 250}.1/32 dev lo" for n in range(2000)]
        batch = "\n".join([*flood, "addr del 203.0.113.10/32 dev lo"])
        ip("addr", "add", "203.0.113.10/32", "dev", "lo")  # the echo of our own would wake it
        async with running((V4, "lo")) as watched:
            # Nobody reads meanwhile, so the message about our address is one of the lost.
            subprocess.run(["ip", "-batch", "-"], input=batch, encoding="utf-8", check=True)  # noqa: ASYNC221
            assert not on("lo", V4)
            await eventually(lambda: "put back" in watched.now(V4).detail)
            assert on("lo", V4)

    in_own_network(work)


def test_failure_to_heal_is_said_and_mended(
    in_own_network: InOwnNetwork, eventually: Eventually
) -> None:
    """While the VIP cannot be put back it is not usable; it comes back without being told."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        disable = ["sysctl", "-q", "net.ipv6.conf.lo.disable_ipv6=1"]
        async with running((V6, "lo")) as watched:
            subprocess.run(disable, check=True)  # noqa: ASYNC221
            await eventually(lambda: not watched.now(V6).present)
            assert "IPv6 is disabled" in watched.now(V6).detail
            subprocess.run([*disable[:-1], disable[-1][:-1] + "0"], check=True)  # noqa: ASYNC221
            await eventually(lambda: watched.now(V6).usable)

    in_own_network(work)


def test_addresses_that_cannot_be_read_are_read_again(
    in_own_network: InOwnNetwork,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A change that the agent could not look at, for lack of descriptors, is not forgotten."""
    short = OSError(errno.EMFILE, "Too many open files")

    async def work() -> None:
        ip("link", "set", "lo", "up")
        async with running((V4, "lo")) as watched:
            with monkeypatch.context() as patch:
                patch.setattr(NetlinkSocket, "list_addresses", Mock(side_effect=short))
                ip("addr", "del", "203.0.113.10/32", "dev", "lo")
                await eventually(lambda: "cannot read the addresses" in caplog.text)
                assert not on("lo", V4)
            await eventually(lambda: "put back" in watched.now(V4).detail)
            assert on("lo", V4)

    in_own_network(work)


PRIVILEGE = """
import asyncio, logging
from ipaddress import ip_network
from anycastd.evidence.vip.loopback import Loopback, NoPrivilegeError
loopback = Loopback([(ip_network("203.0.113.10/32"), "lo")], lambda vip, state: print(state.detail))
try:
    asyncio.run(asyncio.wait_for(loopback.run(), 1.0))
except NoPrivilegeError as error:
    print("refused:", error.strerror)
except TimeoutError:
    print("still running")
"""


@pytest.mark.parametrize("present", [False, True])
def test_no_privilege(in_own_network: InOwnNetwork, *, present: bool) -> None:
    """Without CAP_NET_ADMIN a missing address is refused at the start; a present one is fine."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        if present:
            ip("addr", "add", "203.0.113.10/32", "dev", "lo")
        drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
        done = subprocess.run(  # noqa: ASYNC221
            [*drop, sys.executable, "-c", textwrap.dedent(PRIVILEGE)],
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        remedy = "Operation not permitted; run as root or give it CAP_NET_ADMIN"
        if present:
            assert done.stdout.startswith("on lo; no unreachable route behind it: " + remedy)
            assert done.stdout.endswith("still running\n")
        else:
            assert done.stdout.startswith(f"refused: cannot put {V4} on lo: {remedy}")
            assert done.stdout.count("\n") == 1
            assert "unreachable" not in ip("route")

    in_own_network(work)


def test_a_thousand_addresses(in_own_network: InOwnNetwork, eventually: Eventually) -> None:
    """A profile with a thousand VIPs is healed as one; flushing all of them costs one pass."""

    async def work() -> None:
        ip("link", "set", "lo", "up")
        vips = [ip_network(f"198.18.{n // 250}.{n % 250}/32") for n in range(1000)]
        kernel = NetlinkSocket()
        async with running(*((vip, "lo") for vip in vips)) as watched:
            assert len(kernel.list_addresses()) >= 1000
            ip("addr", "flush", "dev", "lo", "scope", "host")
            await eventually(lambda: all("put back" in watched.now(vip).detail for vip in vips))
            assert len(kernel.list_addresses()) >= 1000
        kernel.close()

    in_own_network(work)
