"""Addresses of a profile against those of this machine -> what does not fit (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anycastd.evidence.machine.facts import Machine, MachineProblem, Socket
from anycastd.evidence.machine.proc import LISTENING
from anycastd.profile.model import IPV6, Address, Platform, Profile, Service


def is_machine_of(profile: Profile, machine: Machine) -> bool:
    """Return whether one of the profile's local addresses is an address of this machine."""
    return any(address in machine.addresses for address in list_local_addresses(profile))


def list_local_addresses(profile: Profile) -> list[Address]:
    """Return the source addresses of all sessions, each once."""
    return list(dict.fromkeys(neighbor.local_address for neighbor in profile.bgp.neighbors))


def check_local_addresses(profile: Profile, machine: Machine) -> Iterator[MachineProblem]:
    """Find source addresses of sessions that are not here, and neighbors that are.

    ExaBGP says nothing when it cannot bind to such an address: the session just stays down.
    """
    if machine.interfaces is None:
        return
    for address in list_local_addresses(profile):
        if address not in machine.addresses:
            yield MachineProblem(
                f"local_address {address} is not an address of this machine, so no session can "
                "start from it",
                f"write one of {_list_candidates(machine, address)}, or configure it",
            )
    for neighbor in profile.bgp.neighbors:
        if neighbor.address in machine.addresses:
            yield MachineProblem(
                f"neighbor {neighbor.address} is an address of this machine itself",
                "write the router's address",
            )
    yield from _check_azure_subnet(profile, machine)
    listen = profile.web.listen if profile.web is not None else None
    if (
        listen is not None
        and not listen.address.is_unspecified
        and listen.address not in machine.addresses
    ):
        yield MachineProblem(
            f"web.listen {listen} is not an address of this machine, so no other region gets an "
            "answer",
            f"write one of {_list_candidates(machine, listen.address)}, or configure it",
        )


def _check_azure_subnet(profile: Profile, machine: Machine) -> Iterator[MachineProblem]:
    """Find neighbors in this machine's own subnet, where a route server cannot be.

    RouteServerSubnet takes nothing but the route server.
    """
    if profile.platform is not Platform.AZURE:
        return
    connected = [
        address.network
        for link in machine.interfaces or ()
        for address in link.addresses
        if address.ip in list_local_addresses(profile) and not link.is_loopback
    ]
    for neighbor in profile.bgp.neighbors:
        for network in connected:
            if neighbor.address in network and network.prefixlen < network.max_prefixlen:
                yield MachineProblem(
                    f"neighbor {neighbor.address} is in {network}, the subnet of this machine, and "
                    "a route server has a subnet of its own",
                    "write both addresses that the route server shows as its peer IPs",
                )


def _list_candidates(machine: Machine, wrong: Address) -> str:
    """Return the addresses that could have been meant: same family, not of a loopback kind."""
    found = sorted(
        (str(each) for each in machine.addresses if _is_candidate(each, wrong)),
    )
    return ", ".join(found[:4]) if found else "this machine's addresses (it has none of that kind)"


def _is_candidate(address: Address, wrong: Address) -> bool:
    return address.version == wrong.version and not (address.is_loopback or address.is_link_local)


def check_vips(profile: Profile, machine: Machine) -> Iterator[MachineProblem]:
    """Find VIPs that are missing, on another interface, too wide, or asked for by ARP."""
    for service in profile.services.values():
        if machine.interfaces is not None and service.interface is not None:
            yield from _check_vip_address(service, machine)
            yield from _check_vip_subnet(service, machine)


def _check_vip_address(service: Service, machine: Machine) -> Iterator[MachineProblem]:
    vip, name = service.vip.network_address, service.interface
    link = next((each for each in machine.interfaces or () if each.name == name), None)
    if link is None:
        message = f"VIP {vip}: there is no interface {name}"
        yield MachineProblem(message, "create it, or correct `interface` of the service")
        return
    if not link.up:
        yield MachineProblem(f"VIP {vip}: {name} is down", f"ip link set {name} up")
    found = machine.find_interfaces(vip)
    others = sorted(each.name for each in found if each.name != name)
    if others:
        yield MachineProblem(
            f"VIP {vip} is also on {', '.join(others)}, where the agent does not watch it",
            f"remove it there, or write interface: {others[0]}",
        )
    if link not in found:
        yield MachineProblem(
            f"VIP {vip} is not on {name}: the agent adds it when it starts, but HAProxy may "
            "need it before",
            "anycastd loopback add --profile FILE, or `bind ... transparent` in haproxy.cfg",
        )
    for each in found:
        for address in each.addresses:
            if address.ip == vip and address.network.prefixlen != service.vip.prefixlen:
                yield MachineProblem(
                    f"VIP {vip} is on {each.name} as {address}: this machine takes the whole of "
                    f"{address.network} as its own or as connected",
                    f"ip address delete {address} dev {each.name}, and add {service.vip}",
                )


def _check_vip_subnet(service: Service, machine: Machine) -> Iterator[MachineProblem]:
    """Find a VIP inside a connected subnet: hosts there ask for it by ARP or NDP, not by BGP."""
    vip = service.vip.network_address
    for link in machine.interfaces or ():
        for address in () if link.is_loopback else link.addresses:
            whole = address.network.prefixlen == address.network.max_prefixlen
            if not whole and address.ip != vip and vip in address.network:
                resolution = "NDP" if address.version == IPV6 else "ARP"
                yield MachineProblem(
                    f"VIP {vip} is inside {address.network}, the subnet of {link.name}: hosts "
                    f"there look for it by {resolution}, and no route of ours is used",
                    "use an address outside all connected subnets",
                )


def check_listeners(services: Iterable[Service], machine: Machine) -> Iterator[MachineProblem]:
    """Find VIPs on which nothing listens; ``services`` are those whose HAProxy runs."""
    if machine.tcp is None or machine.udp is None:
        return
    listening = [each for each in machine.tcp if each.state == LISTENING]
    for service in services:
        vip = service.vip.network_address
        tcp = [each for each in listening if _serves(each, vip)]
        port = service.self_test.port if service.self_test is not None else None
        if port is not None and not any(each.port == port for each in tcp):
            message = f"nothing listens on port {port} of VIP {vip}, which the self-test asks"
            yield MachineProblem(message, f"add `bind {vip}:{port}` to a frontend in haproxy.cfg")
        elif not tcp and not any(_serves(each, vip) for each in machine.udp):
            message = f"nothing in this network namespace listens on VIP {vip}, though HAProxy runs"
            yield MachineProblem(message, f"add `bind {vip}:PORT` to a frontend in haproxy.cfg")


def _serves(socket: Socket, vip: Address) -> bool:
    """Return whether a socket receives what is sent to the VIP.

    One of ``[::]`` may take IPv4 too; /proc does not show whether it does.
    """
    if socket.local == vip:
        return True
    return socket.local.is_unspecified and socket.local.version in {vip.version, IPV6}
