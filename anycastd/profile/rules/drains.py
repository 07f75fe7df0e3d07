"""Rules for drains, for the list of regions, and for who may read the status by HTTP.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from anycastd.profile.document import Document, Problem
from anycastd.profile.key_paths import Path, quote_value
from anycastd.profile.rules.sections import AZURE, AZURE_CHANGE_DELAY, get_platform, iter_neighbors

_REGION = 2  # keys in the path of a region: regions, and its index

# Keys of `web` with which not everybody may read.
_WEB_GUARDS = ("token_file", "allow")


def check_drain_wait(doc: Document) -> Iterator[Problem]:
    """Warn of a wait (seconds) that may end before Azure has taken over the longer path."""
    wait = doc.get("drain", "wait")
    if get_platform(doc) == AZURE and wait is not None and wait < AZURE_CHANGE_DELAY:
        message = f"Azure may delay the longer path for {AZURE_CHANGE_DELAY} seconds"
        remedy = f"write {AZURE_CHANGE_DELAY + 10} or more"
        yield doc.make_problem(("drain", "wait"), message, remedy, warning=True)


def check_graceful_shutdown(doc: Document) -> Iterator[Problem]:
    """Warn of ``graceful_shutdown`` (RFC 8326) on Azure, which does not document support for it."""
    for path, neighbor in iter_neighbors(doc):
        if get_platform(doc) == AZURE and neighbor.get("graceful_shutdown"):
            message = "Azure does not document support for 65535:0, so only the longer path counts"
            remedy = "remove it"
            yield doc.make_problem((*path, "graceful_shutdown"), message, remedy, warning=True)


def check_regions(doc: Document) -> Iterator[Problem]:
    """Require a list that has this region, each region and agent once, and at least two agents."""
    listed = doc.get("regions")
    if not listed or None in listed:
        return
    yield from _check_region_keys(doc, listed)
    agents = list(_iter_agents(listed))
    yield from _check_unique(
        doc, ((("regions", index, "name"), each.get("name")) for index, each in enumerate(listed))
    )
    yield from _check_unique(doc, (((*path, "agent"), each.get("agent")) for path, each in agents))
    own = doc.get("region")
    names = [region.get("name") for region in listed]
    if own is not None and own not in names:
        remedy = f"add {{name: {own}, agent: ...}}; the order is the same in each profile"
        yield doc.make_problem(
            ("regions",), f"this region, {quote_value(own)}, is not in the list", remedy
        )
    elif len(names) == 1 and len(agents) <= 1:
        message = "no other region is listed, so nothing can be drained without --force"
        yield doc.make_problem(("regions",), message, "add the other regions", warning=True)
    if "web" not in doc.tree:
        message = "the other regions cannot query this one, because web is missing"
        remedy = "add web: {listen: ADDRESS:PORT} with this region's agent as listed here"
        yield doc.make_problem(("regions",), message, remedy, warning=True)


_Agents = Iterator[tuple[Path, Mapping[str, Any]]]


def _iter_agents(listed: Iterable[Mapping[str, Any]]) -> _Agents:
    """Yield the key path and the block of each agent; a region with one agent is its block."""
    for index, region in enumerate(listed):
        if "agent" in region:
            yield ("regions", index), region
        for place, each in enumerate(region.get("agents") or ()):
            yield ("regions", index, "agents", place), each or {}


def _check_unique(doc: Document, values: Iterable[tuple[Path, object]]) -> Iterator[Problem]:
    seen: dict[str, Path] = {}
    for at, value in values:
        text = "" if value is None else str(value)
        if text in seen:
            message = f"{quote_value(text)} is already in line {doc.find_line(seen[text])}"
            what = "region" if len(at) == _REGION + 1 else "appliance"
            remedy = f"write each {what} once, with its own agent"
            yield doc.make_problem(at, message, remedy)
        elif text:
            seen[text] = at


def _check_region_keys(doc: Document, listed: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Require `agent` or `agents` in each region, and this appliance's name among the latter."""
    own, appliance = doc.get("region"), doc.get("appliance")
    for index, region in enumerate(listed):
        at: Path = ("regions", index)
        if ("agent" in region) == ("agents" in region):
            message = "has both agent and agents" if "agent" in region else "has no agent"
            yield doc.make_problem(
                at, message, "write agent: ADDRESS:PORT, or agents: with a list of appliances"
            )
            continue
        agents = [each or {} for each in region.get("agents") or ()]
        names = [str(each.get("name")) for each in agents]
        yield from _check_unique(
            doc, (((*at, "agents", place, "name"), name) for place, name in enumerate(names))
        )
        if region.get("name") != own:
            continue
        if agents and appliance not in names:
            known = " or ".join(names)
            message = f"{own} has several appliances, and this profile does not say which it is"
            if appliance is not None:
                message = f"this appliance, {appliance}, is not among those of {own}"
            place = ("appliance",) if appliance is not None else (*at, "agents")
            yield doc.make_problem(place, message, f"write appliance: {known}")
        elif appliance is not None and not agents:
            message = f"{own} has one agent in regions, so it has only one appliance"
            remedy = f"write agents: [{{name: {appliance}, agent: ...}}, ...] there, or remove it"
            yield doc.make_problem(("appliance",), message, remedy)


def check_web(doc: Document) -> Iterator[Problem]:
    """Warn of a status over HTTP that everybody may read: at any address, or at a public one.

    A token or a list of allowed clients is reason enough not to warn.
    """
    listen = doc.get("web", "listen")
    if listen is None or any(doc.get("web", key) is not None for key in _WEB_GUARDS):
        return
    address = listen.address
    if address.is_unspecified:
        message = (
            f"{listen} listens at every address of this appliance, the VIPs too, and everybody who "
            "reaches one of them can read the status"
        )
    elif address.is_global:
        message = f"{address} is a public address, and everybody who reaches it can read the status"
    else:
        return
    remedy = (
        "add allow: [NETWORK] or token_file:, or write the private address that the other regions "
        "and monitoring use"
    )
    yield doc.make_problem(("web", "listen"), message, remedy, warning=True)


def check_own_agent(doc: Document) -> Iterator[Problem]:
    """Warn where the other regions would ask at another port or address than this one listens."""
    listen, own = doc.get("web", "listen"), doc.get("region")
    listed = [each or {} for each in doc.get("regions") or ()]
    for path, each in _iter_agents(listed):
        agent, several = each.get("agent"), len(path) > _REGION
        mine = listed[int(path[1])].get("name") == own
        if several:
            mine = mine and each.get("name") == doc.get("appliance")
        if listen is None or agent is None or not mine:
            continue
        # The address may be a translated one; at every address, or at this one: it may fit.
        if agent.port != listen.port and agent.address == listen.address:
            message = f"the other regions ask at {agent}, and web.listen is {listen}"
            at: Path = (*path, "agent")
            yield doc.make_problem(at, message, "write the same port in both", warning=True)


RULES = (check_drain_wait, check_graceful_shutdown, check_regions, check_web, check_own_agent)
"""All rules of this file: Document -> Problems."""
