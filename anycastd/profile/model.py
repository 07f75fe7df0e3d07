"""The values of a profile: what the operator wants, with defaults filled in and every type set.

``build`` makes them and ``validate`` is the way in.  Types, defaults and help of the keys stand in
``schema.json`` and nowhere else.  All times are in seconds.
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


class Endpoint(NamedTuple):
    """Where somebody listens: an address and a TCP port."""

    address: Address
    port: int

    def __str__(self) -> str:
        """Give it as it is written: an IPv6 address in brackets."""
        whole = f"[{self.address}]" if isinstance(self.address, IPv6Address) else self.address
        return f"{whole}:{self.port}"


class Platform(Enum):
    """Whose route server this is: it decides which rules apply."""

    AZURE = "azure"
    AWS = "aws"
    PLAIN = "plain"


class FailedAction(Enum):
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
    """True while ``backend`` has at least ``usable`` usable servers, or weight of such servers."""

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
    """What a limit is on: requests that wait in a backend's queues, or sessions."""

    QUEUE = "queue"
    SESSIONS = "sessions"

    @property
    def counted(self) -> str:
        """What is counted, for sentences such as ``5 sessions``."""
        return "requests queued" if self is LoadMetric.QUEUE else "sessions"


@dataclass(frozen=True)
class LimitRule(InstanceRule):
    """True while the frontend or backend ``proxy`` has less than ``below`` of ``load``.

    Of ``healthy`` only: overload must never take a VIP away from everybody.
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
class ReturnTimers:
    """Times in seconds; see the schema's help."""

    rise: float
    hold_down: float
    hold_down_max: float
    spacing: float
    manual: bool = False


@dataclass(frozen=True)
class Maintenance(InstanceRule):
    """Planned work: an entry ``key`` in HAProxy's map ``map``; ``then`` is what to announce."""

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
    failed: FailedAction
    return_timers: ReturnTimers
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
