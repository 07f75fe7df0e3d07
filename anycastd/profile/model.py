"""The values of a profile: what the operator wants, with defaults filled in and every type set.

``build`` creates them; other code calls ``validate_profile``.  Types, defaults and help of the keys
are in ``schema.json`` only.  All durations are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from anycastd.bgp.negotiated import name_family
from anycastd.profile.checks import Check
from anycastd.profile.conditions import Condition, FailedAction, Maintenance
from anycastd.profile.regions import RegionAgent, Web, format_agent_name
from anycastd.profile.route_choice import MedSteps, NextHop

Address = IPv4Address | IPv6Address
"""An IP address."""
Network = IPv4Network | IPv6Network
"""A CIDR prefix; a VIP is one with the length of an address."""

IPV6 = 6
"""``version`` of IPv6 addresses and networks in ``ipaddress``."""


class Platform(Enum):
    """The kind of network around the appliance; it decides which rules of a profile apply."""

    AZURE = "azure"
    AWS = "aws"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP neighbor; values that it inherits from ``bgp`` are filled in.

    ``hold_time`` is in seconds (RFC 4271 section 4.2).  ``multihop`` is the TTL of our packets
    (None: the system's default).  ``md5_file`` is the path of a file with the password of RFC 2385.
    ``prepend`` is added to the prepends of each path.  ``med``, ``communities`` and ``next_hop``
    replace those of the service where they are not None.  ``graceful_shutdown``: a route that is
    drained gets the community of RFC 8326.  ``families``: those of the session,
    ``ipv4``, ``ipv6`` or both.  ``internal``: it has our own AS number (iBGP).
    ``extended_next_hop``: it gets IPv4 VIPs with an IPv6 next hop (RFC 8950).
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
    families: tuple[str, ...] = ()
    internal: bool = False
    extended_next_hop: bool = False


@dataclass(frozen=True, slots=True)
class Bfd:
    """Parameters of BFD (RFC 5880): ``multiplier`` missing packets mean that the neighbor is down.

    ``interval``: seconds between two packets.
    """

    interval: float
    multiplier: int


@dataclass(frozen=True, slots=True)
class Bgp:
    """The BGP speaker and its neighbors.

    ``hold_time`` (seconds) and ``local_address`` are for neighbors without their own.
    ``prepends_steer`` is False where longer paths do not move traffic: degraded means withdrawn
    there.  ``bfd`` is None where BFD is not used.
    """

    local_as: int
    router_id: IPv4Address
    local_address: Address
    hold_time: int
    neighbors: tuple[Neighbor, ...]
    prepends_steer: bool = True
    bfd: Bfd | None = None

    def __hash__(self) -> int:
        """Return the hash of the AS number: hashing all fields takes longer, for each service."""
        return hash(self.local_as)


LOOKS_IN_DEADLINE = 3
"""Looks at a HAProxy that fit into its deadline: each of them has a third of it to be answered."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One HAProxy process, the master and its workers.

    ``socket`` is the path of its stats socket, ``ring`` the name of its event ring (None: it is
    polled).  ``deadline``: seconds without an answer after which it counts as hung.  ``poll``:
    seconds between two looks while it is polled.  ``ask_servers``: its servers are asked by TCP
    when there is reason to doubt them.
    """

    name: str
    socket: str
    ring: str | None
    deadline: float
    poll: float
    ask_servers: bool = True

    @property
    def look_timeout(self) -> float:
        """Return how long a look may take, and how far apart two are at most, in seconds."""
        return self.deadline / LOOKS_IN_DEADLINE


@dataclass(frozen=True, slots=True)
class Degraded:
    """The degraded level; ``prepend`` is the total number of prepends at it.

    ``fall``: seconds for which ``healthy`` must be false before the level is used.  ``med`` and
    ``communities`` replace those of the service unless None or empty.  ``local_pref``: for iBGP.
    """

    prepend: int
    fall: float
    med: int | None = None
    communities: tuple[str, ...] = ()
    local_pref: int | None = None


@dataclass(frozen=True, slots=True)
class Standby:
    """The standby level; ``prepend`` is the total number of prepends at it.

    ``after``: seconds for which ``serve`` must be true before a withdrawn route is announced.
    """

    prepend: int
    after: float
    local_pref: int | None = None


@dataclass(frozen=True, slots=True)
class ReturnTimers:
    """Timers of the return from standby to preferred, in seconds.

    ``rise``: how long the service must be healthy before a shorter path is announced.
    ``hold_down``: how long it stays at standby after a failure; it doubles with each further
    failure, up to ``hold_down_max``.  ``spacing``: shortest time between the last change of the
    route and a step up.  ``manual``: an operator ends the hold-down.
    """

    rise: float
    hold_down: float
    hold_down_max: float
    spacing: float
    manual: bool = False


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A test request to the VIP from this machine; exactly one of ``tcp`` and ``http`` is a port.

    ``path`` is the path of the HTTP request, ``host`` its Host header (None: the VIP).  ``every``:
    seconds between two requests.  ``timeout``: seconds to wait for an answer.
    """

    tcp: int | None
    http: int | None
    path: str
    host: str | None
    every: float
    timeout: float

    @property
    def port(self) -> int:
        """Return the TCP port of the VIP that is tested."""
        return self.http or self.tcp or 0


@dataclass(frozen=True, slots=True)
class Service:
    """A service: a VIP, its conditions, and its route at each level.

    ``prepend`` is that of the level preferred.  ``local_pref``: for iBGP (None: by the prepends).
    ``next_hop`` None means the local address of each session.  ``ecmp``: regions may have equal
    paths, so that traffic is split.  ``prepends_steer`` is a copy of ``Bgp.prepends_steer``.
    ``interface`` is None where the VIP is not on this machine.  ``next_hops``: the first that
    serves is announced (empty: ``next_hop`` is); ``serve`` is None only with them.  ``med_steps``
    is the MED by a check (None: ``med`` is).

    ``prefix`` is the VIP as text, such as ``203.0.113.10/32``, and ``family`` its address family,
    ``ipv4`` or ``ipv6``.  ``has_choice``: its route has a next hop or a MED by choice, besides its
    level.
    """

    name: str
    vip: Network
    interface: str | None
    prepend: int
    med: int | None
    communities: tuple[str, ...]
    next_hop: Address | None
    serve: Condition | None
    healthy: Condition | None
    self_test: SelfTest | None
    degraded: Degraded
    standby: Standby
    failed: FailedAction
    return_timers: ReturnTimers
    ecmp: bool
    maintenance: Maintenance | None = None
    prepends_steer: bool = True
    local_pref: int | None = None
    next_hops: tuple[NextHop, ...] = ()
    med_steps: MedSteps | None = None
    prefix: str = field(init=False, compare=False, repr=False)
    family: str = field(init=False, compare=False, repr=False)
    has_choice: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Compute once what each pass needs."""
        prefix = str(self.vip)
        object.__setattr__(self, "prefix", prefix)
        object.__setattr__(self, "family", name_family(prefix))
        object.__setattr__(self, "has_choice", bool(self.next_hops) or self.med_steps is not None)

    def __hash__(self) -> int:
        """Return the hash of the name: hashing all fields in each pass is ten times slower."""
        return hash(self.name)

    @property
    def conditions(self) -> tuple[tuple[tuple[str | int, ...], Condition], ...]:
        """Return all conditions, each with its key path in the service."""
        found: list[tuple[tuple[str | int, ...], Condition | None]] = [
            (("serve",), self.serve),
            (("healthy",), self.healthy),
        ]
        for index, each in enumerate(self.next_hops):
            found.append((("next_hops", index, "serve"), each.serve))
            found.append((("next_hops", index, "healthy"), each.healthy))
        return tuple((path, condition) for path, condition in found if condition is not None)


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Times of a drain, in seconds.

    ``wait``: at the longest path before the withdrawal.  ``linger``: after the withdrawal, for open
    sessions to end.  ``stop``: how long a stop of the agent may drain; half of it at the longest
    path.
    """

    wait: float = 40
    linger: float = 60
    stop: float = 20


@dataclass(frozen=True, slots=True)
class Hook:
    """A command that runs for events.

    ``command`` is the path and the arguments, ``events`` the groups of events, ``timeout`` the
    seconds that it may take.  ``line`` is that of the command in the profile.
    """

    command: tuple[str, ...]
    events: tuple[str, ...]
    timeout: float = 10
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole profile.

    ``networks`` are the prefixes of the VNet or VPC.  ``ttl`` is the duration of the lease in
    seconds.  ``haproxy``: name -> Instance.  ``services``: name -> Service.  ``regions`` has the
    agents of all regions, this one too, most important first.  ``appliance`` is the name of this
    appliance where its region has several (None: it is the only one).  ``web`` is where the agent
    answers by HTTP (None: nowhere).  ``admin_group`` is the group whose members may drain, return
    and reload (None: every user who can connect to the control socket).  ``hooks`` are commands
    that run for events.  ``checks``: name -> Check.
    """

    region: str
    platform: Platform
    networks: tuple[Network, ...]
    ttl: float
    bgp: Bgp
    haproxy: Mapping[str, Instance]
    services: Mapping[str, Service]
    drain: DrainTimes
    regions: tuple[RegionAgent, ...] = ()
    web: Web | None = None
    admin_group: str | None = None
    hooks: tuple[Hook, ...] = ()
    checks: Mapping[str, Check] = field(default_factory=dict)
    appliance: str | None = None

    @property
    def local_vips(self) -> tuple[tuple[Network, str], ...]:
        """Return the VIPs that belong on this machine, each with its interface."""
        services = self.services.values()
        return tuple((each.vip, each.interface) for each in services if each.interface is not None)

    @property
    def agent_name(self) -> str:
        """Return the name of this agent among those of all ``regions``."""
        return format_agent_name(self.region, self.appliance)

    def __hash__(self) -> int:
        """Return the hash of the region: a dictionary has no hash."""
        return hash(self.region)
