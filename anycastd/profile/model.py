"""The values of a profile: what the operator wants, with defaults filled in and every type set.

``build`` creates them; other code calls ``validate``.  Types, defaults and help of the keys are in
``schema.json`` only.  All times are in seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

IPV6 = 6
"""``version`` of IPv6 addresses and networks in ``ipaddress``."""


class Endpoint(NamedTuple):
    """An IP address and a TCP port; ``str()`` puts an IPv6 address in brackets."""

    address: Address
    port: int

    def __str__(self) -> str:
        """Return ``ADDRESS:PORT`` as it is written in a profile."""
        whole = f"[{self.address}]" if isinstance(self.address, IPv6Address) else self.address
        return f"{whole}:{self.port}"


class Platform(Enum):
    """The kind of network around the appliance; decides which rules apply."""

    AZURE = "azure"
    AWS = "aws"
    PLAIN = "plain"


class FailedAction(Enum):
    """What to do with the route while HAProxy runs and ``serve`` is false."""

    WITHDRAW = "withdraw"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP neighbor; values that it inherits from ``bgp`` are filled in.

    ``multihop`` is the TTL of our packets (None: the system's default).  ``prepend`` is added to
    each path for this neighbor.  ``med``, ``communities`` and ``next_hop`` replace those of the
    service where they are not None.
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
    """BFD (RFC 5880): ``multiplier`` missing packets, one per ``interval``, mean down."""

    interval: float
    multiplier: int


@dataclass(frozen=True, slots=True)
class Bgp:
    """The BGP speaker and its neighbors.

    ``prepends_steer`` is False where longer paths do not move traffic: degraded means withdrawn
    there.
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
    """One HAProxy process: its stats socket, and its event ring (None: it is polled)."""

    name: str
    socket: str
    ring: str | None
    deadline: float
    poll: float


class Threshold(NamedTuple):
    """A number of servers, or a share of them in percent; exactly one is not None."""

    number: int | None = None
    share: float | None = None


@dataclass(frozen=True)  # without slots, because rules cache their description
class InstanceRule:
    """Base of the rules about one HAProxy process, ``instance``.

    ``show_instance`` is True where the profile has several processes: descriptions name it then.
    """

    instance: str
    show_instance: bool = field(default=False, compare=False, kw_only=True)

    def _qualify(self, name: str) -> str:
        return f"{name} in HAProxy {self.instance}" if self.show_instance else name


@dataclass(frozen=True)
class BackendRule(InstanceRule):
    """True while ``backend`` has at least ``usable`` usable servers.

    With ``by_weight`` their weights are compared instead of their number.
    """

    backend: str
    usable: Threshold
    count_unchecked: bool = False
    by_weight: bool = False

    @functools.cached_property
    def description(self) -> str:
        """The rule as a sentence for operators; cached, because each pass uses it."""
        number, share = self.usable
        least = f"{share:g} %" if number is None else f"{number}"
        of = " of its weight" if self.by_weight else ""
        return f"backend {self._qualify(self.backend)} has at least {least}{of} usable"


@dataclass(frozen=True)
class FrontendRule(InstanceRule):
    """True while ``frontend`` is open."""

    frontend: str

    @functools.cached_property
    def description(self) -> str:
        """The rule as a sentence for operators."""
        return f"frontend {self._qualify(self.frontend)} is open"


class LoadMetric(Enum):
    """What a limit counts: requests in the queues of a backend, or sessions."""

    QUEUE = "queue"
    SESSIONS = "sessions"

    @property
    def counted(self) -> str:
        """What is counted, for sentences such as ``5 sessions``."""
        return "requests queued" if self is LoadMetric.QUEUE else "sessions"


@dataclass(frozen=True)
class LimitRule(InstanceRule):
    """True while ``load`` of the frontend or backend ``proxy`` is less than ``below``.

    Only in ``healthy``: overload must not withdraw a VIP in all regions.
    """

    proxy: str
    frontend: bool
    load: LoadMetric
    below: int

    @functools.cached_property
    def description(self) -> str:
        """The rule as a sentence for operators."""
        kind = "frontend" if self.frontend else "backend"
        proxy = self._qualify(self.proxy)
        return f"{kind} {proxy} has fewer than {self.below} {self.load.counted}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """True while all of ``rules`` are true."""

    rules: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True while at least one of ``rules`` is true."""

    rules: tuple[Condition, ...]


Condition = BackendRule | FrontendRule | LimitRule | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Degraded:
    """The degraded level; ``prepend`` is the total number of prepends at it.

    ``fall`` is how long ``healthy`` must be false before the level is used.
    """

    prepend: int
    fall: float
    med: int | None = None
    communities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standby:
    """The standby level; ``prepend`` is the total number of prepends at it.

    ``after`` is how long ``serve`` must be true before a withdrawn route is announced.
    """

    prepend: int
    after: float


@dataclass(frozen=True, slots=True)
class ReturnTimers:
    """Times of the return from standby to preferred; see the schema's help."""

    rise: float
    hold_down: float
    hold_down_max: float
    spacing: float
    manual: bool = False


@dataclass(frozen=True)
class Maintenance(InstanceRule):
    """Planned work while ``key`` is in HAProxy's map ``map``; ``then`` is what to do."""

    map: str
    key: str
    then: FailedAction

    @functools.cached_property
    def description(self) -> str:
        """The rule as a sentence for operators: True while there is no planned work."""
        return f"map {self._qualify(self.map)} has no {self.key}"


Rule = BackendRule | FrontendRule | LimitRule | Maintenance


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A test request to the VIP from this machine; exactly one of ``tcp`` and ``http`` is a port.

    ``host`` is the Host header; None means the VIP.
    """

    tcp: int | None
    http: int | None
    path: str
    host: str | None
    every: float
    timeout: float

    @property
    def port(self) -> int:
        """The port of the VIP that is tested."""
        return self.http or self.tcp or 0


@dataclass(frozen=True)  # without slots, because it caches its prefix
class Service:
    """A service: a VIP, its conditions, and its route at each level.

    ``next_hop`` None means the local address of each session.  ``prepends_steer`` is a copy of
    ``Bgp.prepends_steer``.
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
    failed: FailedAction
    return_timers: ReturnTimers
    ecmp: bool
    maintenance: Maintenance | None = None
    prepends_steer: bool = True

    def __hash__(self) -> int:
        """Return the hash of the name: hashing all fields in each pass is ten times slower."""
        return hash(self.name)

    @functools.cached_property
    def prefix(self) -> str:
        """The VIP as text."""
        return str(self.vip)


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Times of a drain; see the schema's help."""

    wait: float = 40
    linger: float = 60
    stop: float = 20


@dataclass(frozen=True, slots=True)
class Region:
    """The name of a region, and where its agent answers by HTTP."""

    name: str
    agent: Endpoint


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole profile.

    ``networks`` are the prefixes of the VNet or VPC.  ``ttl`` is the duration of the lease.
    ``regions`` has all regions including this one, most important first.  ``web`` is where the
    agent answers by HTTP (None: nowhere).
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
        """Return the hash of the region: a dictionary has no hash."""
        return hash(self.region)
