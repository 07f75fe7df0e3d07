"""FRR, GoBGP and BIRD 2 as passive neighbors for tests: each shows what it has in its own table.

They run in the network namespace of the thread that starts them, on port 179, and touch no kernel's
routes.  Each takes both address families, and extended next hops (RFC 8950) where it can.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from support.peer import wait_for

_PATH = "/usr/lib/frr:" + os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class SeenRoute:
    """A route as a router has it; ``reflected``: it has an originator id and a cluster list.

    ``communities`` and ``large`` are sorted, as numbers.
    """

    as_path: tuple[int, ...]
    next_hop: str
    med: int | None
    local_pref: int | None
    communities: tuple[str, ...] = ()
    large: tuple[str, ...] = ()
    reflected: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A session of a router with ``neighbor`` (its address), which has the AS number ``asn``.

    ``client``: the router reflects the routes of the others to it (RFC 4456).  ``active``: the
    router dials; otherwise it waits.
    """

    neighbor: str
    asn: int
    client: bool = False
    active: bool = False


class Router(ABC):
    """A router at ``address`` with the AS number ``asn``; a context manager.

    ``directory`` gets its files.  Entering it raises AssertionError where it is not installed or
    does not start.
    """

    program = ""

    def __init__(self, directory: Path, address: str, asn: int, *links: Link) -> None:
        self.address, self.asn, self.links = address, asn, links
        self.router_id = f"192.0.2.{ip_address(address).packed[-1]}"
        self.directory = directory / f"{type(self).__name__}-{address.replace(':', '.')}"
        self.directory.mkdir()
        self.conf = self.directory / "router.conf"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which(self.program, path=_PATH)
        assert program is not None, f"{self.program} is not installed"
        self.conf.write_text(self.build_config(), encoding="utf-8")
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program, *self.list_arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        wait_for(self.is_ready, 60, f"{self.program}: see {self.directory / 'log'}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def is_ready(self) -> bool:
        """Return whether it answers questions."""
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text(encoding="utf-8")
        try:
            self.read_route("203.0.113.10/32")
        except (subprocess.SubprocessError, ValueError):
            return False
        return True

    def ask(self, program: str, *arguments: str) -> str:
        """Return what a command prints; raises CalledProcessError where it fails."""
        found = shutil.which(program, path=_PATH)
        assert found is not None
        done = subprocess.run(
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=True,
        )
        return done.stdout

    @abstractmethod
    def build_config(self) -> str:
        """Build its configuration."""

    @abstractmethod
    def list_arguments(self) -> list[str]:
        """List the arguments of its program."""

    @abstractmethod
    def read_route(self, prefix: str) -> SeenRoute | None:
        """Return the best route to ``prefix`` in its table, None where it has none."""


def _family(prefix: str) -> str:
    return "ipv6" if ":" in prefix else "ipv4"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


class Frr(Router):
    """FRR's bgpd alone."""

    program = "bgpd"

    def build_config(self) -> str:
        """Build bgpd.conf: it takes everything, against RFC 8212, and announces nothing unasked."""
        lines = ["log stdout", f"router bgp {self.asn}", f" bgp router-id {self.router_id}"]
        lines += [" no bgp ebgp-requires-policy", " no bgp network import-check"]
        for link in self.links:
            name = f" neighbor {link.neighbor}"
            lines += [f"{name} remote-as {link.asn}", f"{name} timers 3 9"]
            lines += [f"{name} update-source {self.address}", f"{name} disable-connected-check"]
            lines += [f"{name} capability extended-nexthop"]
            lines += [f"{name} timers connect 1" if link.active else f"{name} passive"]
        for family in ("ipv4", "ipv6"):
            lines.append(f" address-family {family} unicast")
            for link in self.links:
                lines.append(f"  neighbor {link.neighbor} activate")
                if link.client:
                    lines.append(f"  neighbor {link.neighbor} route-reflector-client")
            lines.append(" exit-address-family")
        return "\n".join(lines) + "\n"

    def list_arguments(self) -> list[str]:
        """List the arguments: no zebra, no other user, a socket in its directory."""
        place = ["-f", str(self.conf), "-i", str(self.directory / "pid")]
        return [
            "-Z",
            "-n",
            "-S",
            *place,
            "--vty_socket",
            str(self.directory),
            "-P",
            "0",
            "-l",
            self.address,
        ]

    def read_route(self, prefix: str) -> SeenRoute | None:
        """Read it by vtysh, as JSON."""
        command = f"show bgp {_family(prefix)} unicast {prefix} json"
        text = self.ask("vtysh", "--vty_socket", str(self.directory), "-d", "bgpd", "-c", command)
        paths = json.loads(text).get("paths", [])
        best = [path for path in paths if path.get("bestpath", {}).get("overall")]
        if not best:
            return None
        found = best[0]
        hops = [hop["ip"] for hop in found["nexthops"] if hop.get("scope", "global") == "global"]
        return SeenRoute(
            as_path=_numbers(found["aspath"].get("string", "").replace("Local", "")),
            next_hop=hops[0],
            med=found.get("metric", found.get("med")),
            local_pref=found.get("locPrf"),
            communities=_standard(found.get("community", {}).get("string", "").split()),
            large=tuple(sorted(found.get("largeCommunity", {}).get("string", "").split())),
            reflected="originatorId" in found and "clusterList" in found,
        )


_FRR_NAMES = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "local-AS": "65535:65283",
    "no-peer": "65535:65284",
    "blackhole": "65535:666",
    "graceful-shutdown": "65535:0",
}


def _standard(words: list[str]) -> tuple[str, ...]:
    """Return communities as numbers, sorted; FRR writes some as words, in one word or another."""
    known = {name.lower().replace("-", ""): value for name, value in _FRR_NAMES.items()}
    return tuple(sorted(known.get(word.lower().replace("-", ""), word) for word in words))


class Gobgp(Router):
    """GoBGP's daemon."""

    program = "gobgpd"

    def build_config(self) -> str:
        """Build gobgpd.toml."""
        text = f"""
[global.config]
  as = {self.asn}
  router-id = "{self.router_id}"
  port = 179
  local-address-list = ["{self.address}"]
"""
        for link in self.links:
            text += f"""
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{link.neighbor}"
    peer-as = {link.asn}
  [neighbors.transport.config]
    passive-mode = {str(not link.active).lower()}
    local-address = "{self.address}"
  [neighbors.timers.config]
    hold-time = 9
    keepalive-interval = 3
  [neighbors.ebgp-multihop.config]
    enabled = true
    multihop-ttl = 255
  [neighbors.route-reflector.config]
    route-reflector-client = {str(link.client).lower()}
    route-reflector-cluster-id = "{self.router_id}"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
"""
        return text

    def list_arguments(self) -> list[str]:
        """List the arguments: its API on a socket in its directory."""
        return ["-f", str(self.conf), "--api-hosts", f"unix://{self.directory}/api"]

    def read_route(self, prefix: str) -> SeenRoute | None:
        """Read it by gobgp, as JSON."""
        target = ["--target", f"unix://{self.directory}/api"]
        text = self.ask("gobgp", *target, "-j", "global", "rib", prefix, "-a", _family(prefix))
        table = json.loads(text) if text.lstrip().startswith(("{", "[")) else {}
        paths = table.get(prefix, []) if isinstance(table, dict) else table
        if not paths:
            return None
        attributes: Mapping[int, Any] = {each["type"]: each for each in paths[0]["attrs"]}
        segments = attributes.get(2, {}).get("as_paths") or []
        numbers = attributes.get(8, {}).get("communities", [])
        large = attributes.get(32, {}).get("value", [])
        return SeenRoute(
            as_path=tuple(asn for segment in segments for asn in segment["asns"]),
            next_hop=(attributes.get(3) or attributes[14])["nexthop"],
            med=attributes.get(4, {}).get("metric"),
            local_pref=attributes.get(5, {}).get("value"),
            communities=tuple(sorted(f"{each >> 16}:{each & 65535}" for each in numbers)),
            large=tuple(sorted(f"{a['ASN']}:{a['LocalData1']}:{a['LocalData2']}" for a in large)),
            reflected=9 in attributes and 10 in attributes,
        )


class Bird2(Router):
    """BIRD 2, without a kernel protocol."""

    program = "bird"

    def build_config(self) -> str:
        """Build bird.conf."""
        text = f"""
log stderr all;
router id {self.router_id};
protocol device {{}}
protocol static reach4 {{ ipv4; route 0.0.0.0/0 blackhole; }}
protocol static reach6 {{ ipv6; route ::/0 blackhole; }}
"""
        for number, link in enumerate(self.links):
            text += f"""
protocol bgp peer{number} {{
  local {self.address} as {self.asn};
  neighbor {link.neighbor} as {link.asn};
  {"" if link.active else "passive;"} multihop; strict bind on;
  hold time 9;
  {"rr client;" if link.client else ""}
  ipv4 {{ import all; export where source = RTS_BGP; extended next hop on; }};
  ipv6 {{ import all; export where source = RTS_BGP; }};
}}
"""
        return text

    def list_arguments(self) -> list[str]:
        """List the arguments: its control socket in its directory."""
        return ["-f", "-c", str(self.conf), "-s", str(self.directory / "ctl"), "-P", "pid"]

    def read_route(self, prefix: str) -> SeenRoute | None:
        """Read it by birdc."""
        question = f"show route {prefix} primary all"
        try:
            text = self.ask("birdc", "-s", str(self.directory / "ctl"), *question.split())
        except subprocess.CalledProcessError as error:
            if "not found" in error.stdout:
                return None
            raise
        found = dict(re.findall(r"^\s*BGP\.(\w+): ?(.*)$", text, re.MULTILINE))
        if "as_path" not in found:
            return None
        tuples = {
            name: tuple(
                sorted(
                    re.sub(r"[(\s]", "", each).replace(",", ":")
                    for each in found[name].split(")")
                    if each.strip()
                )
            )
            for name in ("community", "large_community")
            if name in found
        }
        return SeenRoute(
            as_path=_numbers(found["as_path"]),
            next_hop=found["next_hop"].split()[0],
            med=int(found["med"]) if "med" in found else None,
            local_pref=int(found["local_pref"]) if "local_pref" in found else None,
            communities=tuples.get("community", ()),
            large=tuples.get("large_community", ()),
            reflected="originator_id" in found and "cluster_list" in found,
        )


MAKES: Mapping[str, type[Router]] = {"frr": Frr, "gobgp": Gobgp, "bird": Bird2}
"""Name of a make -> its class."""
