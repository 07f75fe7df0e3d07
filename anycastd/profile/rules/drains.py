"""Rules for drains, for the list of regions, and for who may read the status by HTTP.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document, Problem
from anycastd.profile.key_paths import Path, quote_value
from anycastd.profile.rules.sections import AZURE, AZURE_CHANGE_DELAY, get_platform, iter_neighbors

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
    """Require a list that has this region, each region once, and at least two of them."""
    listed = doc.get("regions")
    if not listed or None in listed:
        return
    for key in ("name", "agent"):
        seen: dict[str, Path] = {}
        for index, region in enumerate(listed):
            at: Path = ("regions", index, key)
            text = str(region.get(key, ""))
            if text in seen:
                message = f"{quote_value(text)} is already in line {doc.find_line(seen[text])}"
                yield doc.make_problem(at, message, "write each region once, with its own agent")
            elif text:
                seen[text] = at
    own = doc.get("region")
    names = [region.get("name") for region in listed]
    if own is not None and own not in names:
        remedy = f"add {{name: {own}, agent: ...}}; the order is the same in each profile"
        yield doc.make_problem(
            ("regions",), f"this region, {quote_value(own)}, is not in the list", remedy
        )
    elif len(names) == 1:
        message = "no other region is listed, so nothing can be drained without --force"
        yield doc.make_problem(("regions",), message, "add the other regions", warning=True)
    if "web" not in doc.tree:
        message = "the other regions cannot query this one, because web is missing"
        remedy = "add web: {listen: ADDRESS:PORT} with this region's agent as listed here"
        yield doc.make_problem(("regions",), message, remedy, warning=True)


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
    for index, region in enumerate(doc.get("regions") or ()):
        agent = (region or {}).get("agent")
        if listen is None or agent is None or region.get("name") != own:
            continue
        # The address may be a translated one; at every address, or at this one: it may fit.
        if agent.port != listen.port and agent.address == listen.address:
            message = f"the other regions ask at {agent}, and web.listen is {listen}"
            at: Path = ("regions", index, "agent")
            yield doc.make_problem(at, message, "write the same port in both", warning=True)


RULES = (check_drain_wait, check_graceful_shutdown, check_regions, check_web, check_own_agent)
"""All rules of this file: Document -> Problems."""
