"""The names of a haproxy.cfg -> a draft: what BGP needs is marked (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from anycastd.evidence.haproxy.config_names import ConfigNames, Frontend, parse_config_names
from anycastd.migration.draft import (
    Draft,
    Flow,
    HaproxyDraft,
    ServiceDraft,
    SourceError,
    make_name,
)


def draft_haproxy_cfg(text: str) -> Draft:
    """Build a draft from a configuration: a service for each address that a frontend binds.

    Raises SourceError where it has neither a frontend nor a backend.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if any(ord(char) < 32 and char not in "\t\r" for char in line):  # noqa: PLR2004 - a space
            raise SourceError(number, "a control character: this is no haproxy.cfg")
    names = parse_config_names(text)
    if not names.frontends and not names.backends:
        raise SourceError(0, "it has no frontend and no backend")
    draft = Draft(haproxy=build_haproxy(names))
    seen: set[str] = set()
    for frontend in names.frontends:
        for vip in _iter_vips(frontend):
            if vip not in seen:
                seen.add(vip)
                draft.add_service(0, _build_service(names, frontend, vip))
    if not draft.services:
        frontend = names.frontends[0] if names.frontends else Frontend("web")
        service = _build_service(names, frontend, "203.0.113.10/32")
        service.edits["vip"] = "the anycast address; no frontend binds one by itself"
        draft.add_service(0, service)
    if names.ring is None:
        draft.note(
            0,
            "no ring: HAProxy is polled; the shipped haproxy.cfg has one, which wakes the agent",
        )
    return draft


def build_haproxy(names: ConfigNames) -> HaproxyDraft:
    """Build the part about HAProxy from the names of its configuration."""
    if names.socket is None:
        return HaproxyDraft(ring=names.ring)
    return HaproxyDraft(names.socket, names.ring, "")


def complete_service(service: ServiceDraft, names: ConfigNames) -> None:
    """Write the names of a configuration into a condition that was only a mark."""
    if "serve" not in service.edits:
        return
    vip = str(service.keys["vip"]).partition("/")[0]
    frontend, backend = names.choose(vip)
    rules: list[Flow] = [{"backend": backend}] if backend else []
    if frontend:
        rules.append({"frontend": frontend})
    if rules:
        service.keys["serve"] = rules[0] if len(rules) == 1 else {"all": rules}
        del service.edits["serve"]


def _build_service(names: ConfigNames, frontend: Frontend, vip: str) -> ServiceDraft:
    service = ServiceDraft(make_name(frontend.name), {"vip": vip})
    backend = frontend.backend if frontend.backend in names.backends else None
    rules: list[Flow] = [] if backend is None else [{"backend": backend}]
    rules.append({"frontend": frontend.name})
    service.keys["serve"] = {"all": rules} if len(rules) > 1 else rules[0]
    if backend is None:
        service.edits["serve"] = "add {backend: NAME}: this frontend has no default_backend"
    else:
        service.keys["healthy"] = {"backend": backend, "usable": "50%"}
    service.keys["failed"] = "withdraw"
    return service


def _iter_vips(frontend: Frontend) -> Iterator[str]:
    """Yield the addresses that are bound and can be a VIP: no wildcard, no loopback, no socket."""
    for bind in frontend.binds:
        text = re.sub(r"^(?:ipv4|ipv6)@", "", bind).rpartition(":")[0].strip("[]")
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if not (address.is_unspecified or address.is_loopback or address.is_multicast):
            yield f"{address}/{address.max_prefixlen}"
