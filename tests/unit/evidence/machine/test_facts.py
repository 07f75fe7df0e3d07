"""Texts of /proc, and the judgements that no network namespace can show."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_interface

import pytest

from anycastd.evidence.machine.addresses import check_local_addresses, is_machine_of
from anycastd.evidence.machine.facts import Interface, Machine, Process, Socket
from anycastd.evidence.machine.judge import judge_machine, list_unseen
from anycastd.evidence.machine.network import check_kernel, check_speakers
from anycastd.evidence.machine.proc import find_route, parse_routes, parse_sockets
from support.profiles import profile

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid inode\n"
TCP = (
    HEAD
    + "   0: 0A02000A:00B3 0401000A:C3A8 01 00000000:00000000 00:00000000 00000000 0 0 4711 1 0\n"
)
TCP6 = (
    HEAD + "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A "
    "00000000:00000000 00:00000000 00000000 0 0 42 1\n"
    "   1: 0000000000000000FFFF00000A02000A:0050 0000000000000000FFFF00000401000A:C001 01 "
    "00000000:00000000 00:00000000 00000000 0 0 43 1\n"
    "   2: B80D0120000000000000000001000000:00B3 00000000000000000000000000000000:0000 0A "
    "00000000:00000000 00:00000000 00000000 0 0 44 1\n"
)
ROUTES = (
    "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    "eth0 00000000 0102000A 0003 0 0 100 00000000 0 0 0\n"
    "eth1 0001000A 0103000A 0003 0 0 0 00FFFFFF 0 0 0\n"
    "eth2 0001000A 0103000A 0003 0 0 9 00FFFFFF 0 0 0\n"
    "* 0501000A 00000000 0205 0 0 0 FFFFFFFF 0 0 0\n"
)


def test_sockets() -> None:
    """IPv4, IPv6, and IPv4 on a socket of IPv6."""
    (one,) = parse_sockets(TCP)
    assert one == Socket(ip_address("10.0.2.10"), 179, ip_address("10.0.1.4"), 50088, 1, 4711)
    wildcard, mapped, six = parse_sockets(TCP6)
    assert (str(wildcard.local), wildcard.port, wildcard.state) == ("::", 80, 10)
    assert (str(mapped.local), str(mapped.remote)) == ("10.0.2.10", "10.0.1.4")
    assert str(six.local) == "2001:db8::1"


@pytest.mark.parametrize("text", ["", "\n\n", HEAD + "x\n", HEAD + "0: zz:1 0:1 01 a\n"])
def test_sockets_in_another_form_are_left_out(text: str) -> None:
    """No line of an unknown form raises anything."""
    assert list(parse_sockets(text)) == []
    assert list(parse_routes(text)) == []


def test_routes() -> None:
    """The longest prefix counts, then the lowest metric; a route that refuses is none."""
    routes = list(parse_routes(ROUTES))
    assert [route.interface for route in routes] == ["eth0", "eth1", "eth2"]
    assert find_route(routes, IPv4Address("10.0.1.5")) == "eth1"
    assert find_route(routes, IPv4Address("198.51.100.1")) == "eth0"
    assert find_route([], IPv4Address("198.51.100.1")) is None


def test_a_full_table_of_connections() -> None:
    """From nine tenths on it is a warning."""
    assert list(check_kernel(Machine(conntrack=(899, 1000)))) == []
    (found,) = check_kernel(Machine(conntrack=(900, 1000)))
    assert str(found).startswith("the firewall tracks 900 connections of 1000 at most; with more")


def test_what_could_not_be_read_is_no_warning() -> None:
    """Nothing known of the machine: nothing is said of it but what was not seen."""
    machine = Machine(unread=("addresses (Operation not permitted)",))
    assert list(judge_machine(profile(), machine, ("web",))) == []
    assert list_unseen(profile(), machine) == ["addresses (Operation not permitted)"]
    assert not is_machine_of(profile(), machine)


def test_what_only_the_cloud_knows() -> None:
    """On a cloud the setting of the network interface is named as not looked at."""
    azure = profile(("platform: plain", "platform: azure"))
    assert "IP forwarding of the network interface in Azure (on)" in list_unseen(azure, Machine())
    aws = profile(("platform: plain", "platform: aws"), ("65515}", "65020}"))
    forwarding, persist = list_unseen(aws, Machine())
    assert "source/destination check" in forwarding
    assert persist.startswith("persist-routes of the route server (off")


def test_our_own_speaker_is_no_second_one() -> None:
    """Its session is not named; one of an owner that only root can see neither."""
    neighbor = ip_address("192.0.2.4")
    session = Socket(ip_address("192.0.2.10"), 50000, neighbor, 179, 1, 7)
    ours = Process(5, "python -m anycastd.speaker.exabgp.shim", ours=True)
    assert list(check_speakers(profile(), Machine(tcp=(session,), owners={7: ours}))) == []
    assert list(check_speakers(profile(), Machine(tcp=(session,)))) == []
    other = Process(6, "bgpd")
    (found,) = check_speakers(profile(), Machine(tcp=(session,), owners={7: other}))
    assert found.message.startswith("bgpd (pid 6) has a BGP session with neighbor 192.0.2.4")


def test_a_machine_without_addresses() -> None:
    """The remedy says that there is none to choose from."""
    machine = Machine(interfaces=(Interface("lo", up=True, addresses=(ip_interface("::1/128"),)),))
    (found,) = check_local_addresses(profile(), machine)
    assert "write one of this machine's addresses (it has none of that kind)" in found.remedy
