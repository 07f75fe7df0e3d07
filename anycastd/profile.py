"""A profile: YAML text and schema -> Profile, each problem with its line.

``read`` gives a Document, which the rules look at; ``build`` makes a Profile of a Document that
has no errors.  ``anycastd.rules.accept`` does both and is what everybody calls.  Types, defaults
and help are in ``profile.schema.json`` and nowhere else.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from anycastd import document, formats
from anycastd.document import Document

Address = formats.Address
Network = formats.Network
Endpoint = formats.Endpoint


class Platform(Enum):
    """Whose route server this is: it decides which rules apply."""

    AZURE = "azure"
    AWS = "aws"
    PLAIN = "plain"


class Failed(Enum):
    """What is announced when HAProxy lives and nobody behind it can serve."""

    WITHDRAW = "withdraw"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP neighbor, with everything it inherits from ``bgp`` already filled in.

    ``multihop`` is the TTL of our packets (None: the system's), ``prepend`` is added to each
    path for this neighbor, ``med`` and ``communities`` replace the service's where not None.
    """

    address: Address
    peer_as: int
    local_address: Address
    hold_time: int
    multihop: int | None = None
    md5_file: str | None = None
    prepend: int = 0
    med: int | None = None
    communities: tuple[str, ...] | None = None
    next_hop: Address | None = None
    graceful_shutdown: bool = False


@dataclass(frozen=True, slots=True)
class Bfd:
    """``interval`` in seconds; ``multiplier`` packets that are missing mean death (RFC 5880)."""

    interval: float
    multiplier: int


@dataclass(frozen=True, slots=True)
class Bgp:
    """The speaker's own side, and its neighbors; ``hold_time`` in seconds.

    Without ``prepends_steer`` a longer path moves no traffic: degraded is withdrawn then.
    """

    local_as: int
    router_id: IPv4Address
    local_address: Address
    hold_time: int
    neighbors: tuple[Neighbor, ...]
    prepends_steer: bool = True
    bfd: Bfd | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One HAProxy process: its stats socket, event ring (None: poll), times in seconds."""

    name: str
    socket: str
    ring: str | None
    deadline: float
    poll: float


class Threshold(NamedTuple):
    """A number of servers or a share of them in percent; exactly one is not None."""

    number: int | None = None
    share: float | None = None


@dataclass(frozen=True)  # without slots, because it keeps a text
class BackendRule:
    """True while ``backend`` has at least ``usable`` usable servers, or weight of such servers."""

    instance: str
    backend: str
    usable: Threshold
    count_unchecked: bool = False
    by_weight: bool = False

    @functools.cached_property
    def words(self) -> str:
        """Say it as an operator would, once: each pass asks."""
        number, share = self.usable
        least = f"{share:g} %" if number is None else f"{number}"
        of = " of its weight" if self.by_weight else ""
        return f"backend {self.backend} has at least {least}{of} usable"


@dataclass(frozen=True, slots=True)
class FrontendRule:
    """True while ``frontend`` is open."""

    instance: str
    frontend: str


class Load(Enum):
    """What a limit is on: requests that wait in a backend's queues, or sessions."""

    QUEUE = "queue"
    SESSIONS = "sessions"


@dataclass(frozen=True, slots=True)
class LimitRule:
    """True while the frontend or backend ``proxy`` has less than ``below`` of ``load``.

    Of ``healthy`` only: overload must never take a VIP away from everybody.
    """

    instance: str
    proxy: str
    frontend: bool
    load: Load
    below: int


@dataclass(frozen=True, slots=True)
class AllOf:
    """True while each of ``rules`` is."""

    rules: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True while at least one of ``rules`` is."""

    rules: tuple[Condition, ...]


Condition = BackendRule | FrontendRule | LimitRule | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Degraded:
    """``prepend`` is the whole number of prepends at this level; ``fall`` in seconds."""

    prepend: int
    fall: float
    med: int | None = None
    communities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standby:
    """``prepend`` is the whole number of prepends at this level; ``after``: seconds of proof."""

    prepend: int
    after: float


@dataclass(frozen=True, slots=True)
class Return:
    """Times in seconds; see the schema's help."""

    rise: float
    hold_down: float
    hold_down_max: float
    spacing: float
    manual: bool = False


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Planned work: an entry ``key`` in HAProxy's map ``map``; ``then`` is what to announce."""

    instance: str
    map: str
    key: str
    then: Failed


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A request to the VIP from this machine; exactly one of the ports ``tcp`` and ``http``.

    ``host`` None means the VIP; ``every`` and ``timeout`` in seconds.
    """

    tcp: int | None
    http: int | None
    path: str
    host: str | None
    every: float
    timeout: float

    @property
    def port(self) -> int:
        """The port of the VIP that is asked."""
        return self.http or self.tcp or 0


@dataclass(frozen=True)  # without slots, because it keeps a text
class Service:
    """``next_hop`` None means self: the neighbor's local address.

    Without ``prepends_steer`` a longer path moves nobody, so degraded is withdrawn.
    """

    name: str
    vip: Network
    interface: str
    prepend: int
    med: int | None
    communities: tuple[str, ...]
    next_hop: Address | None
    serve: Condition
    healthy: Condition | None
    self_test: SelfTest | None
    degraded: Degraded
    standby: Standby
    failed: Failed
    back: Return
    ecmp: bool
    maintenance: Maintenance | None = None
    prepends_steer: bool = True

    def __hash__(self) -> int:
        """Hash its name alone: each pass asks, and all fields take ten times as long."""
        return hash(self.name)

    @functools.cached_property
    def prefix(self) -> str:
        """The VIP as text."""
        return str(self.vip)


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Times of a drain in seconds; see the schema's help."""

    wait: float = 40
    linger: float = 60
    stop: float = 20


@dataclass(frozen=True, slots=True)
class Region:
    """A region by its name, and where its agent answers by HTTP."""

    name: str
    agent: Endpoint


@dataclass(frozen=True, slots=True)
class Profile:
    """``networks`` are the VNet's or VPC's own prefixes; ``ttl`` is the lease in seconds.

    ``regions``: all of them, this one too, most important first.  ``web``: where to answer by HTTP.
    """

    region: str
    platform: Platform
    networks: tuple[Network, ...]
    ttl: float
    bgp: Bgp
    haproxy: Mapping[str, Instance]
    services: Mapping[str, Service]
    drain: DrainTimes
    regions: tuple[Region, ...] = ()
    web: Endpoint | None = None

    def __hash__(self) -> int:
        """Hash its region alone: a dictionary has no hash."""
        return hash(self.region)


# Text -> values ----------------------------------------------------------------------------------


@functools.cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile."""
    text = resources.files("anycastd").joinpath("profile.schema.json").read_text("utf-8")
    whole: dict[str, Any] = json.loads(text)
    return whole


def read(text: str, file: str) -> Document:
    """Read a profile's text by the schema; ``file`` is its name in problems."""
    return document.read(text, file, schema(), formats.FORMATS)


def build(doc: Document) -> Profile:
    """Make a Profile of a Document in which neither the schema nor the rules found an error."""
    tree = doc.tree
    bgp = tree["bgp"]
    haproxy = {
        name: Instance(name, each["socket"], each.get("ring"), each["deadline"], each["poll"])
        for name, each in tree["haproxy"].items()
    }
    only = next(iter(haproxy))
    return Profile(
        region=tree["region"],
        platform=Platform(tree["platform"]),
        networks=tuple(tree["networks"]),
        ttl=tree["lease"]["ttl"],
        bgp=Bgp(
            local_as=int(bgp["local_as"]),
            router_id=bgp["router_id"],
            local_address=bgp["local_address"],
            hold_time=int(bgp["hold_time"]),
            neighbors=tuple(_neighbor(bgp, each) for each in bgp["neighbors"]),
            prepends_steer=bgp["prepends_steer"],
            bfd=_bfd(bgp.get("bfd")),
        ),
        haproxy=haproxy,
        services={
            name: _service(name, each, only, steer=bgp["prepends_steer"])
            for name, each in tree["services"].items()
        },
        drain=DrainTimes(**tree["drain"]),
        regions=tuple(Region(each["name"], each["agent"]) for each in tree["regions"]),
        web=tree["web"]["listen"] if "web" in tree else None,
    )


def _bfd(each: Mapping[str, Any] | None) -> Bfd | None:
    return Bfd(each["interval"], int(each["multiplier"])) if each is not None else None


def _neighbor(bgp: Mapping[str, Any], each: Mapping[str, Any]) -> Neighbor:
    local = each.get("local_address", bgp["local_address"])
    next_hop = each.get("next_hop")
    communities = each.get("communities")
    return Neighbor(
        address=each["address"],
        peer_as=int(each["peer_as"]),
        local_address=local,
        hold_time=int(each.get("hold_time", bgp["hold_time"])),
        multihop=_whole(each.get("multihop")),
        md5_file=each.get("md5_file"),
        prepend=int(each["prepend"]),
        med=_whole(each.get("med")),
        communities=None if communities is None else tuple(communities),
        next_hop=local if next_hop == formats.SELF else next_hop,
        graceful_shutdown=each["graceful_shutdown"],
    )


def _service(name: str, each: Mapping[str, Any], only: str, *, steer: bool) -> Service:
    degraded, standby, back = each["degraded"], each["standby"], each["return"]
    next_hop = each["next_hop"]
    return Service(
        name=name,
        vip=each["vip"].network,
        interface=each["interface"],
        prepend=int(each["prepend"]),
        med=_whole(each.get("med")),
        communities=tuple(each["communities"]),
        next_hop=None if next_hop == formats.SELF else next_hop,
        serve=_condition(each["serve"], only),
        healthy=_condition(each["healthy"], only) if "healthy" in each else None,
        self_test=_self_test(each["self_test"]) if "self_test" in each else None,
        degraded=Degraded(
            prepend=int(degraded["prepend"]),
            fall=degraded["fall"],
            med=_whole(degraded.get("med")),
            communities=tuple(degraded["communities"]),
        ),
        standby=Standby(prepend=int(standby["prepend"]), after=standby["after"]),
        failed=Failed(each["failed"]),
        back=Return(
            back["rise"], back["hold_down"], back["hold_down_max"], back["spacing"], back["manual"]
        ),
        ecmp=each["ecmp"],
        maintenance=_maintenance(each["maintenance"], only) if "maintenance" in each else None,
        prepends_steer=steer,
    )


def _self_test(each: Mapping[str, Any]) -> SelfTest:
    return SelfTest(
        tcp=_whole(each.get("tcp")),
        http=_whole(each.get("http")),
        path=each["path"],
        host=each.get("host"),
        every=each["every"],
        timeout=each["timeout"],
    )


def _maintenance(each: Mapping[str, Any], only: str) -> Maintenance:
    then = Failed(each["then"])
    return Maintenance(each.get("haproxy", only), each["map"], each["key"], then)


def _condition(each: Mapping[str, Any], only: str) -> Condition:
    """``only`` is the HAProxy that is meant where a rule names none: the one that there is."""
    instance = each.get("haproxy", only)
    if "all" in each:
        return AllOf(tuple(_condition(rule, only) for rule in each["all"]))
    if "any" in each:
        return AnyOf(tuple(_condition(rule, only) for rule in each["any"]))
    for load in Load:
        if f"{load.value}_below" in each:
            proxy, below = each.get("frontend") or each["backend"], int(each[f"{load.value}_below"])
            return LimitRule(instance, proxy, "frontend" in each, load, below)
    if "frontend" in each:
        return FrontendRule(instance, each["frontend"])
    usable, by_weight = _threshold(each["usable"]), each["by"] == "weight"
    return BackendRule(instance, each["backend"], usable, each["count_unchecked"], by_weight)


def _threshold(usable: float | str) -> Threshold:
    if isinstance(usable, str):
        return Threshold(share=float(usable.removesuffix("%")))
    return Threshold(number=int(usable))


def _whole(value: float | None) -> int | None:
    """JSON Schema takes 5.0 for a whole number; the wire does not."""
    return None if value is None else int(value)
