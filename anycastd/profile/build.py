"""Build a Profile from a Document: every value gets its type (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anycastd.profile import formats
from anycastd.profile.checks import (
    Check,
    CheckKind,
    CommandCheck,
    FileCheck,
    HttpCheck,
    LoadCheck,
    TcpCheck,
)
from anycastd.profile.conditions import (
    AllOf,
    AnyOf,
    BackendRule,
    CheckRule,
    Condition,
    FailedAction,
    FrontendRule,
    LimitRule,
    LoadMetric,
    Maintenance,
    Threshold,
)
from anycastd.profile.document import Document
from anycastd.profile.model import (
    IPV6,
    LOOKS_IN_DEADLINE,
    Bfd,
    Bgp,
    Degraded,
    DrainTimes,
    Hook,
    Instance,
    Neighbor,
    Platform,
    Profile,
    ReturnTimers,
    SelfTest,
    Service,
    Standby,
)
from anycastd.profile.regions import RegionAgent, Web
from anycastd.profile.route_choice import MedSteps, NextHop

DEADLINE_RUNS = 3
"""A check without a `deadline` has the time of so many runs."""


def build_profile(doc: Document) -> Profile:
    """Build a Profile from a Document in which neither the schema nor the rules found an error.

    Raises KeyError, TypeError or ValueError for any other Document, such as one without a key that
    the schema requires.
    """
    tree = doc.tree
    bgp = tree["bgp"]
    haproxy = {name: _build_instance(name, each) for name, each in tree["haproxy"].items()}
    instances = tuple(haproxy) or ("",)  # without any, no rule names one
    # IPv6 only where a service needs it: some route servers close sessions that offer it.
    ipv6 = any(each["vip"].version == IPV6 for each in tree["services"].values())
    families = ("ipv4", "ipv6") if ipv6 else ("ipv4",)
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
            neighbors=tuple(_build_neighbor(bgp, each, families) for each in bgp["neighbors"]),
            prepends_steer=bgp["prepends_steer"],
            bfd=_build_bfd(bgp.get("bfd")),
        ),
        haproxy=haproxy,
        services={
            name: _build_service(name, each, instances, steer=bgp["prepends_steer"])
            for name, each in tree["services"].items()
        },
        drain=DrainTimes(**tree["drain"]),
        regions=tuple(_iter_agents(tree["regions"])),
        web=_build_web(tree["web"]) if "web" in tree else None,
        admin_group=tree["control"]["admin_group"] if "control" in tree else None,
        hooks=tuple(
            _build_hook(each, doc.find_line(("hooks", index, "command")))
            for index, each in enumerate(tree["hooks"])
        ),
        checks={name: _build_check(name, each) for name, each in tree["checks"].items()},
        appliance=tree.get("appliance"),
    )


def _build_instance(name: str, each: Mapping[str, Any]) -> Instance:
    deadline, poll = each["deadline"], each["poll"]
    # Also the default of `poll` follows a short deadline.
    poll = min(poll, deadline / LOOKS_IN_DEADLINE)
    return Instance(name, each["socket"], each.get("ring"), deadline, poll, each["ask_servers"])


def _build_check(name: str, each: Mapping[str, Any]) -> Check:
    every, timeout = float(each["every"]), float(each["timeout"])
    deadline = float(each.get("deadline", DEADLINE_RUNS * (every + timeout)))
    asks = _build_asked(each)
    # There is nothing to count where a single look at a file is certain.
    rise, fall = (1, 1) if isinstance(asks, FileCheck) else (int(each["rise"]), int(each["fall"]))
    return Check(name, asks, every, timeout, rise, fall, deadline)


def _build_asked(each: Mapping[str, Any]) -> CheckKind:
    if "tcp" in each:
        return TcpCheck(each["tcp"])
    if "command" in each:
        return CommandCheck(tuple(each["command"]))
    if "file" in each:
        return FileCheck(each["file"], each["exists"])
    if "load" in each:
        load = each["load"]
        return LoadCheck(
            tuple(map(float, load.get("load_average", ()))),
            tuple(map(float, load.get("memory_available", ()))),
            float(load["hysteresis"]),
        )
    return HttpCheck(
        url=each["http"],
        host=each.get("host"),
        status=tuple(map(int, each.get("status", ()))),
        contains=each.get("contains"),
        tls_verify=each["tls_verify"],
        ca_file=each.get("ca_file"),
        follow_redirects=int(each["follow_redirects"]),
    )


def _iter_agents(regions: Sequence[Mapping[str, Any]]) -> Iterator[RegionAgent]:
    """Yield the agents of all regions, in the order of the profile."""
    for index, region in enumerate(regions):
        name, token_file = region["name"], region.get("token_file")
        if "agent" in region:
            yield RegionAgent(name, region["agent"], token_file, path=("regions", index))
        for place, each in enumerate(region.get("agents") or ()):
            path = ("regions", index, "agents", place)
            token = each.get("token_file", token_file)
            yield RegionAgent(name, each["agent"], token, each["name"], path)


def _build_hook(each: Mapping[str, Any], line: int) -> Hook:
    return Hook(tuple(each["command"]), tuple(each["events"]), float(each["timeout"]), line)


def _build_web(each: Mapping[str, Any]) -> Web:
    allow = each.get("allow")
    return Web(each["listen"], each.get("token_file"), None if allow is None else tuple(allow))


def _build_bfd(each: Mapping[str, Any] | None) -> Bfd | None:
    return Bfd(each["interval"], int(each["multiplier"])) if each is not None else None


def _build_neighbor(
    bgp: Mapping[str, Any], each: Mapping[str, Any], families: Sequence[str]
) -> Neighbor:
    """Build a neighbor; ``families`` are those of one that names none."""
    if each["extended_next_hop"]:
        families = ("ipv4", "ipv6")
    local = each.get("local_address", bgp["local_address"])
    next_hop = each.get("next_hop")
    communities = each.get("communities")
    return Neighbor(
        address=each["address"],
        peer_as=int(each["peer_as"]),
        local_address=local,
        hold_time=int(each.get("hold_time", bgp["hold_time"])),
        multihop=_to_int(each.get("multihop")),
        md5_file=each.get("md5_file"),
        prepend=int(each["prepend"]),
        med=_to_int(each.get("med")),
        communities=None if communities is None else tuple(communities),
        next_hop=local if next_hop == formats.NEXT_HOP_SELF else next_hop,
        graceful_shutdown=each["graceful_shutdown"],
        internal=each["peer_as"] == bgp["local_as"],
        extended_next_hop=each["extended_next_hop"],
        families=tuple(sorted(each.get("families", families))),
    )


def _build_service(
    name: str, each: Mapping[str, Any], instances: Sequence[str], *, steer: bool
) -> Service:
    degraded, standby, timers = each["degraded"], each["standby"], each["return"]
    next_hop, med = each["next_hop"], each.get("med")
    steps = None
    if isinstance(med, Mapping):
        steps, med = MedSteps(med["check"], tuple(map(int, med["steps"]))), None
    return Service(
        name=name,
        vip=each["vip"].network,
        interface=None if each["interface"] == formats.NO_INTERFACE else each["interface"],
        prepend=int(each["prepend"]),
        med=_to_int(med),
        communities=tuple(each["communities"]),
        next_hop=None if next_hop == formats.NEXT_HOP_SELF else next_hop,
        serve=_build_condition(each["serve"], instances) if "serve" in each else None,
        healthy=_build_condition(each["healthy"], instances) if "healthy" in each else None,
        self_test=_build_self_test(each["self_test"]) if "self_test" in each else None,
        degraded=Degraded(
            prepend=int(degraded["prepend"]),
            fall=degraded["fall"],
            med=_to_int(degraded.get("med")),
            communities=tuple(degraded["communities"]),
            local_pref=_to_int(degraded.get("local_pref")),
        ),
        standby=Standby(
            prepend=int(standby["prepend"]),
            after=standby["after"],
            local_pref=_to_int(standby.get("local_pref")),
        ),
        failed=FailedAction(each["failed"]),
        return_timers=ReturnTimers(
            timers["rise"],
            timers["hold_down"],
            timers["hold_down_max"],
            timers["spacing"],
            timers["manual"],
        ),
        ecmp=each["ecmp"],
        maintenance=_build_maintenance(each["maintenance"], instances)
        if "maintenance" in each
        else None,
        prepends_steer=steer,
        local_pref=_to_int(each.get("local_pref")),
        next_hops=tuple(_build_next_hop(one, instances) for one in each.get("next_hops") or ()),
        med_steps=steps,
    )


def _build_next_hop(each: Mapping[str, Any], instances: Sequence[str]) -> NextHop:
    healthy = each.get("healthy")
    return NextHop(
        each["address"],
        _build_condition(each["serve"], instances),
        None if healthy is None else _build_condition(healthy, instances),
    )


def _build_self_test(each: Mapping[str, Any]) -> SelfTest:
    return SelfTest(
        tcp=_to_int(each.get("tcp")),
        http=_to_int(each.get("http")),
        path=each["path"],
        host=each.get("host"),
        every=each["every"],
        timeout=each["timeout"],
    )


def _build_maintenance(each: Mapping[str, Any], instances: Sequence[str]) -> Maintenance:
    return Maintenance(
        instance=each.get("haproxy", instances[0]),
        map=each["map"],
        key=each["key"],
        then=FailedAction(each["then"]),
        show_instance=len(instances) > 1,
    )


def _build_condition(each: Mapping[str, Any], instances: Sequence[str]) -> Condition:
    """Build a condition; ``instances`` are the names of all HAProxy processes.

    If there is only one process, a rule need not name it.
    """
    instance, several = each.get("haproxy", instances[0]), len(instances) > 1
    if "all" in each:
        return AllOf(tuple(_build_condition(rule, instances) for rule in each["all"]))
    if "any" in each:
        return AnyOf(tuple(_build_condition(rule, instances) for rule in each["any"]))
    for load in LoadMetric:
        if f"{load.value}_below" in each:
            proxy, below = each.get("frontend") or each["backend"], int(each[f"{load.value}_below"])
            return LimitRule(
                instance, proxy, "frontend" in each, load, below, show_instance=several
            )
    if "check" in each:
        return CheckRule(each["check"])
    if "frontend" in each:
        return FrontendRule(instance, each["frontend"], show_instance=several)
    usable, by_weight = _build_threshold(each["usable"]), each["by"] == "weight"
    return BackendRule(
        instance,
        each["backend"],
        usable,
        count_unchecked=each["count_unchecked"],
        by_weight=by_weight,
        show_instance=several,
    )


def _build_threshold(usable: float | str) -> Threshold:
    if isinstance(usable, str):
        return Threshold(share=float(usable.removesuffix("%")))
    return Threshold(number=int(usable))


def _to_int(value: float | None) -> int | None:
    """Convert a whole number to int: JSON Schema accepts 5.0 as one, BGP needs 5."""
    return None if value is None else int(value)
