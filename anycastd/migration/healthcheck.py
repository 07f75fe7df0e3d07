"""Options of ExaBGP's healthcheck -> a draft: its check, its addresses, its metrics (pure).

docs/mapping.md says for each option what becomes of it.
"""

from __future__ import annotations

import itertools
import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from anycastd.migration.draft import (
    MAX_ITEMS,
    Draft,
    Flow,
    NeighborDraft,
    ServiceDraft,
    SourceError,
    find_own_path,
    make_name,
)
from anycastd.migration.healthcheck_options import Options
from anycastd.system.printable import make_printable

UNKNOWN_AS = 65020
"""Peer AS that is written, with a mark, where the input does not have one."""
MAX_CHECK_TIMEOUT = 60
"""Seconds; the longest timeout of a check."""
_MAX_EVERY = 3600
_SHOWN = 80
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")

_NOT_NEEDED = {
    "debug": "`anycastd history` and the log have every change",
    "silent": "the log goes to the journal",
    "syslog-facility": "the log goes to the journal",
    "no-syslog": "the log goes to the journal",
    "no-ack": "the lease process always waits for ExaBGP's answers",
    "config": "the file itself is read by `anycastd import exabgp-healthcheck`",
    "pid": "systemd knows the process",
    "sudo": "the agent sets the VIPs up with a capability of its own",
    "user": "the unit has its users",
    "group": "the unit has its users",
    "help": "it is no setting",
    "debounce": "a route is only sent when it changes",
    "fast-interval": "a check has one rhythm, `every`; write a shorter one if a failure must show "
    "sooner",
    "no-ip-setup": "the agent puts a VIP back that somebody removed; `interface` says where it is",
    "dynamic-ip-setup": "the VIP stays on its interface while the route is withdrawn",
    "label": "labels of addresses are not looked at",
    "label-exact-match": "labels of addresses are not looked at",
    "extended-community": "extended communities are not announced",
    "path-id": "ADD-PATH is not offered: a neighbor gets one route for each VIP",
}
"""Options that have no counterpart -> why, or what is there instead."""


def draft_healthcheck(options: Options) -> Draft:
    """Build a draft from the options alone: what BGP needs is marked.

    Raises SourceError where a value cannot be read.
    """
    draft = Draft()
    add_healthcheck(draft, options)
    for line, value in options.values.get("neighbor", []):
        if value == "*":
            draft.note(line, "--neighbor *: every neighbor gets the routes")
        elif len(draft.neighbors) < MAX_ITEMS:
            address = str(_read_network(line, "--neighbor", value).network_address)
            draft.neighbors.append(NeighborDraft(address, UNKNOWN_AS, edit="its AS number"))
    return draft


def add_healthcheck(draft: Draft, options: Options) -> None:
    """Add what one healthcheck announces to a draft; raises SourceError as above."""
    name = make_name(options.get("name") or options.get("label") or "app", "app")
    serve, healthy = _add_checks(draft, options, name)
    for service in _build_services(draft, options, name):
        service.keys["serve"] = serve
        if healthy is not None:
            service.keys["healthy"] = healthy
        _add_levels(draft, options, service, degrades=healthy is not None)
        draft.add_service(options.find_line("ip"), service)
    _add_hooks(draft, options)
    for option, text in _NOT_NEEDED.items():
        if option in options.values:
            draft.note(options.find_line(option), f"--{option}: {text}")


def _add_checks(draft: Draft, options: Options, name: str) -> tuple[Flow, Flow | None]:
    """Add the checks; returns the conditions `serve` and `healthy` (None: there is none)."""
    rules: list[Flow] = []
    if (command := options.get("command")) is not None:
        every = _read_number(options, "interval", 5, most=_MAX_EVERY)
        if every <= 0:
            draft.note(options.find_line("interval"), "--interval 0: a check never ends; 5 is used")
            every = 5
        timeout = _read_number(options, "timeout", 5, most=86400)
        if not 0 < timeout <= MAX_CHECK_TIMEOUT:
            line = options.find_line("timeout")
            text = f"--timeout {timeout:g}: a check may take {MAX_CHECK_TIMEOUT} s at most"
            draft.note(line, text)
            timeout = MAX_CHECK_TIMEOUT
        draft.checks[_free_name(draft, name)] = {
            "command": ["/bin/sh", "-c", _one_line(options.find_line("command"), command)],
            "every": every,
            "timeout": timeout,
            "rise": _read_count(options, "rise"),
            "fall": _read_count(options, "fall"),
        }
        rules.append({"check": list(draft.checks)[-1]})
    else:
        draft.note(0, "--command is missing: healthcheck announces always, which is not possible")
    if (path := options.get("disable")) is None:
        return _join(draft, rules), None
    off = _free_name(draft, f"{name}-enabled")
    if not path.startswith("/"):
        draft.note(options.find_line("disable"), f"--disable {_show(path)}: write its full path")
        path = f"/{path}"
    line = options.find_line("disable")
    draft.checks[off] = {"file": _one_line(line, path), "exists": False}
    if "withdraw-on-down" in options.values:
        return _join(draft, [*rules, {"check": off}]), None
    return _join(draft, rules), {"check": off}


def _join(draft: Draft, rules: list[Flow]) -> Flow:
    """Return one condition; without a rule it is a file that the operator makes."""
    if not rules:
        name = _free_name(draft, "ready")
        draft.checks[name] = {"file": "/run/anycastd-ready"}
        rules = [{"check": name}]
    return rules[0] if len(rules) == 1 else {"all": rules}


def _free_name(draft: Draft, name: str) -> str:
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(
        each for each in (name, *itertools.islice(numbered, MAX_ITEMS)) if each not in draft.checks
    )


def _build_services(draft: Draft, options: Options, name: str) -> list[ServiceDraft]:
    addresses = list(_iter_addresses(draft, options))
    if not addresses:
        draft.note(0, "--ip is missing: healthcheck takes the addresses of the loopback")
        service = ServiceDraft(name, {"vip": "203.0.113.10/32"})
        service.edits["vip"] = "the address that is announced"
        return [service]
    start = int(_read_number(options, "start-ip", 0, least=0, most=MAX_ITEMS))
    shift = start % len(addresses)
    step = int(_read_number(options, "increase", 1, least=-(2**31), most=2**31))
    first = int(_read_number(options, "up-metric", 100, least=0, most=2**32 - 1))
    interfaces = dict(_iter_interfaces(options))
    found = []
    for place, (line, vip) in enumerate(addresses[shift:] + addresses[:shift]):
        service = ServiceDraft(name if len(addresses) == 1 else f"{name}-{place + 1}", {"vip": vip})
        service.keys["med"] = min(max(first + place * step, 0), 2**32 - 1)
        if (interface := interfaces.get(vip)) is not None:
            service.keys["interface"] = interface
        _add_attributes(options, service)
        found.append(service)
        if len(found) > MAX_ITEMS:
            raise SourceError(line, f"more than {MAX_ITEMS} addresses")
    return found


def _iter_addresses(draft: Draft, options: Options) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for line, value in options.values.get("ip", []):
        network = _read_network(line, "--ip", value)
        if network.prefixlen == network.max_prefixlen:
            found.append((line, str(network)))
        elif "deaggregate-networks" not in options.values:
            draft.note(line, f"--ip {network}: a VIP is one address, so this network is left out")
        elif network.num_addresses > MAX_ITEMS:
            raise SourceError(line, f"--ip {network} is more than {MAX_ITEMS} addresses")
        else:
            found += [(line, f"{each}/{network.max_prefixlen}") for each in network]
    return found


def _iter_interfaces(options: Options) -> list[tuple[str, str]]:
    found = []
    for line, value in options.values.get("ip-ifname", []):
        address, _, interface = value.partition("%")
        if not _INTERFACE.fullmatch(interface):
            raise SourceError(line, f"--ip-ifname {_show(value)}: not ADDRESS%INTERFACE")
        found.append((str(_read_network(line, "--ip-ifname", address)), interface))
    return found


def _add_attributes(options: Options, service: ServiceDraft) -> None:
    if (hop := options.get("next-hop")) is not None:
        line = options.find_line("next-hop")
        service.keys["next_hop"] = str(_read_network(line, "--next-hop", hop).network_address)
    communities = _read_list(options, "community") + _read_list(options, "large-community")
    if communities:
        service.keys["communities"] = list(communities)
    if "local-preference" in options.values:
        value = int(_read_number(options, "local-preference", -1, least=-1, most=2**32 - 1))
        if value >= 0:
            service.keys["local_pref"] = value


def _add_levels(draft: Draft, options: Options, service: ServiceDraft, *, degrades: bool) -> None:
    """Add paths and metrics of the levels: up is preferred, disabled degraded, down standby."""
    usual = _read_path(options, "as-path")
    up, down, disabled = (
        _read_path(options, f"{state}-as-path") or usual for state in ("up", "down", "disabled")
    )
    prepend = find_own_path(up, None)
    service.keys["prepend"] = prepend
    if degrades:
        degraded: dict[str, Flow] = {"prepend": max(find_own_path(disabled, None), prepend + 1)}
        degraded["fall"] = 0
        degraded["med"] = int(
            _read_number(options, "disabled-metric", 500, least=0, most=2**32 - 1)
        )
        if communities := _read_list(options, "disabled-community"):
            degraded["communities"] = list(communities)
        service.keys["degraded"] = degraded
    elif "disabled-community" in options.values:
        line = options.find_line("disabled-community")
        draft.note(line, "--disabled-community: there is no level for it here")
    least = prepend + 1 + degrades
    standby = max(find_own_path(down, None), least, 6 if not down else 0)
    service.keys["standby"] = {"prepend": standby}
    if "withdraw-on-down" in options.values:
        service.keys["failed"] = "withdraw"
        return
    service.keys["failed"] = "standby"
    line = options.find_line("down-metric")
    draft.note(line, "--down-metric: the level standby has a longer path, and no MED of its own")


def _add_hooks(draft: Draft, options: Options) -> None:
    for option in ("execute", "up-execute", "down-execute", "disabled-execute"):
        for line, command in options.values.get(option, []):
            if len(draft.hooks) < MAX_ITEMS:
                value: list[Flow] = ["/bin/sh", "-c", _one_line(line, command)]
                draft.hooks.append({"command": value, "events": ["transition"]})
            draft.note(
                line,
                f"--{option}: a hook runs at each change of level, and reads which one on its "
                "standard input as JSON; there is no $STATE",
            )


# Values ------------------------------------------------------------------------------------------


def _read_network(line: int, option: str, value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value.strip())
    except ValueError:
        raise SourceError(line, f"{option} {_show(value)}: no address or network") from None


def _read_number(
    options: Options, option: str, default: float, *, least: float = 0.0, most: float
) -> float:
    text = options.get(option)
    if text is None:
        return default
    if re.fullmatch(r"-?[0-9]{1,12}(?:\.[0-9]{1,6})?", text.strip()):
        number = float(text)
        if least <= number <= most:
            return int(number) if number == int(number) else number
    line = options.find_line(option)
    raise SourceError(line, f"--{option} {_show(text)}: no number from {least:g} to {most:g}")


def _read_count(options: Options, option: str) -> int:
    return min(max(int(_read_number(options, option, 3, least=0, most=2**31)), 1), 100)


def _read_list(options: Options, option: str) -> tuple[str, ...]:
    text = re.sub(r"[\[\],]", " ", options.get(option) or "")
    return tuple(dict.fromkeys(text.split()))[:MAX_ITEMS]


def _read_path(options: Options, option: str) -> list[int]:
    words = _split_list(options.get(option) or "")
    try:
        return [int(word) for word in words]
    except ValueError:
        line = options.find_line(option)
        raise SourceError(line, f"--{option}: no list of AS numbers") from None


def _split_list(text: str) -> list[str]:
    return re.sub(r"[\[\](),{}]", " ", text).split()[:255]


def _one_line(line: int, text: str) -> str:
    if not text.isprintable():
        raise SourceError(line, "a command or path with a character that cannot be printed")
    return text


def _show(text: str) -> str:
    return make_printable(text, _SHOWN)
