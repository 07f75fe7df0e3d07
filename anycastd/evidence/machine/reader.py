"""Read the facts of this machine and network namespace; nothing is changed (I/O, it blocks)."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import socket as sockets
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from anycastd.evidence.machine.facts import Interface, Machine, Process, Route, Socket
from anycastd.evidence.machine.network import BGP_PORT
from anycastd.evidence.machine.proc import parse_routes, parse_sockets
from anycastd.evidence.vip.netlink import NetlinkSocket
from anycastd.profile.model import Address, Profile
from anycastd.system.printable import make_printable

NFT_TIMEOUT = 5.0
"""Seconds for ``nft``: a ruleset of 100,000 lines takes one."""
_PROC_NET = Path("/proc/thread-self/net")
_SYSCTL = Path("/proc/sys/net")
_UNSYNCHRONISED = 0x40  # STA_UNSYNC, adjtimex(2)
_STATUS_AT, _TIMEX_SIZE = 40, 256  # struct timex on 64 bits: five longs before `status`
_MAX_COMMAND = 60


def read_machine(profile: Profile) -> Machine:
    """Read what ``judge`` needs for this profile; never raises: what is missing is in ``unread``.

    Sends no packet.  Without privileges it cannot see whose sockets are whose, and no rules of a
    firewall.
    """
    unread: list[str] = []
    interfaces = read_interfaces(unread)
    tcp, udp = _read_sockets("tcp", unread), _read_sockets("udp", unread)
    addresses = {each.ip for link in interfaces or () for each in link.addresses}
    return Machine(
        interfaces=interfaces,
        routes=_read_routes(unread),
        tcp=tcp,
        udp=udp,
        owners=_find_owners(tcp or (), unread),
        unroutable=dict(_find_unroutable(profile, addresses)),
        clock_in_step=_read_clock(),
        conntrack=_read_conntrack(),
        ruleset=_read_ruleset(unread),
        unread=tuple(unread),
    )


def read_interfaces(unread: list[str]) -> tuple[Interface, ...] | None:
    """Read the interfaces with their addresses; None where the kernel refuses, noted in unread."""
    try:
        kernel = NetlinkSocket()
        try:
            links, addresses = kernel.list_links(), kernel.list_prefixes()
        finally:
            kernel.close()
    except OSError as error:
        unread.append(f"addresses ({error.strerror})")
        return None
    everywhere = _read_number(_SYSCTL / "ipv4/conf/all/rp_filter")
    found = []
    for index, (name, link) in links.items():
        own = _read_number(_SYSCTL / "ipv4/conf" / name / "rp_filter")
        # The higher of the two applies (ip-sysctl of the kernel).
        known = [each for each in (everywhere, own) if each is not None]
        mine = tuple(address for place, address in addresses if place == index)
        found.append(Interface(name, link.up, mine, max(known, default=None)))
    return tuple(found)


def _read_number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None


def _read_sockets(kind: str, unread: list[str]) -> tuple[Socket, ...] | None:
    found: list[Socket] = []
    try:
        found += parse_sockets((_PROC_NET / kind).read_text(encoding="ascii"))
    except OSError as error:
        unread.append(f"{kind} sockets ({error.strerror})")
        return None
    with contextlib.suppress(OSError):  # there is none without IPv6
        found += parse_sockets((_PROC_NET / f"{kind}6").read_text(encoding="ascii"))
    return tuple(found)


def _read_routes(unread: list[str]) -> tuple[Route, ...] | None:
    try:
        return tuple(parse_routes((_PROC_NET / "route").read_text(encoding="ascii")))
    except OSError as error:
        unread.append(f"routes ({error.strerror})")
        return None


def _find_unroutable(profile: Profile, addresses: set[Address]) -> Iterator[tuple[Address, str]]:
    """Ask the kernel for the way to each neighbor; connecting a UDP socket sends nothing."""
    for neighbor in profile.bgp.neighbors:
        family = sockets.AF_INET6 if ":" in str(neighbor.address) else sockets.AF_INET
        with contextlib.suppress(OSError), sockets.socket(family, sockets.SOCK_DGRAM) as probe:
            if neighbor.local_address in addresses:
                probe.bind((str(neighbor.local_address), 0))
            try:
                probe.connect((str(neighbor.address), BGP_PORT))
            except OSError as error:
                yield neighbor.address, error.strerror or str(error)


def _find_owners(tcp: Iterable[Socket], unread: list[str]) -> Mapping[int, Process]:
    """Find the processes of the sockets that have BGP's port; that takes root's rights."""
    wanted = {
        each.inode: each for each in tcp if each.inode and BGP_PORT in {each.port, each.remote_port}
    }
    if not wanted:
        return {}
    owners: dict[int, Process] = {}
    hidden = False
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            descriptors = os.listdir(f"/proc/{name}/fd")
        except PermissionError:
            hidden = True
            continue
        except OSError:  # it has ended meanwhile
            continue
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{name}/fd/{descriptor}")
                inode = int(target[8:-1]) if target.startswith("socket:[") else 0
                if inode in wanted and inode not in owners:
                    owners[inode] = _read_process(int(name))
    if hidden and len(owners) < len(wanted):
        unread.append("which process has which socket of port 179 (only root sees it)")
    return owners


def _read_process(pid: int) -> Process:
    text = ""
    with contextlib.suppress(OSError):
        text = Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace")
    words = text.split("\0")
    ours = any(before == "-m" and word.startswith("anycastd.") for before, word in pairwise(words))
    return Process(pid, make_printable(" ".join(words).strip(), _MAX_COMMAND), ours)


def _read_clock() -> bool | None:
    """Ask the kernel whether its clock is synchronised; adjtimex(2) with modes 0 only reads."""
    if ctypes.sizeof(ctypes.c_long) != 8:  # noqa: PLR2004 - the structure differs there
        return None
    timex = (ctypes.c_char * _TIMEX_SIZE)()
    try:
        if ctypes.CDLL(None).adjtimex(timex) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return not ctypes.c_int.from_buffer(timex, _STATUS_AT).value & _UNSYNCHRONISED


def _read_conntrack() -> tuple[int, int] | None:
    entries = _read_number(_SYSCTL / "netfilter/nf_conntrack_count")
    most = _read_number(_SYSCTL / "netfilter/nf_conntrack_max")
    return (entries, most) if entries is not None and most else None


def _read_legacy_tables(unread: list[str]) -> None:
    """Note tables of iptables-legacy, which nft does not show; only root sees their names."""
    for name in ("ip_tables_names", "ip6_tables_names"):
        with contextlib.suppress(OSError):
            if (_PROC_NET / name).read_text(encoding="ascii").strip():
                unread.append("rules of iptables-legacy")
                return


def _read_ruleset(unread: list[str]) -> tuple[Mapping[str, Any], ...] | None:
    """Ask ``nft`` for its rules; rules of iptables that it cannot show are in there as unknown."""
    _read_legacy_tables(unread)
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nft is None:
        unread.append("the firewall (there is no nft; rules of iptables are not looked at)")
        return None
    try:
        done = subprocess.run(
            [nft, "--json", "list", "ruleset"],
            capture_output=True,
            timeout=NFT_TIMEOUT,
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        listed = json.loads(done.stdout)["nftables"]
        return tuple(each for each in listed if isinstance(each, dict))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        unread.append("the firewall (nft lists its rules for root only)")
        return None
