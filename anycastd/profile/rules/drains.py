"""Rules for drains and for the list of regions, each with its reason.

Each looks at a Document and passes over what is missing from it: what the schema found wrong has
been cut out.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document, Problem
from anycastd.profile.rules.sections import AZURE, get_platform, iter_neighbors
from anycastd.profile.yaml_reader import Path, quote

# Azure's fabric may hold a second change for 30 s, and has taken up to 5 s to make one.
_AZURES_WINDOW = 30


def check_drain_wait(doc: Document) -> Iterator[Problem]:
    """Warn of a wait in which Azure may not even have made the path longer yet."""
    wait = doc.get("drain", "wait")
    if get_platform(doc) == AZURE and wait is not None and wait < _AZURES_WINDOW:
        message = f"Azure may hold the longer path back for {_AZURES_WINDOW} seconds"
        remedy = f"write {_AZURES_WINDOW + 10} or more"
        yield doc.problem(("drain", "wait"), message, remedy, warning=True)


def check_graceful_shutdown(doc: Document) -> Iterator[Problem]:
    """Warn where a community is counted on that Azure does not say to honour."""
    for path, neighbor in iter_neighbors(doc):
        if get_platform(doc) == AZURE and neighbor.get("graceful_shutdown"):
            message = "Azure does not say that it honours 65535:0; the longer path has to do"
            remedy = "remove it"
            yield doc.problem((*path, "graceful_shutdown"), message, remedy, warning=True)


def check_regions(doc: Document) -> Iterator[Problem]:
    """Ask for a list in which this region and another one stand, each once."""
    listed = doc.get("regions")
    if not listed or None in listed:
        return
    for key in ("name", "agent"):
        seen: dict[str, Path] = {}
        for index, region in enumerate(listed):
            at: Path = ("regions", index, key)
            text = str(region.get(key, ""))
            if text in seen:
                message = f"{quote(text)} stands in line {doc.line(seen[text])} already"
                yield doc.problem(at, message, "write each region once, with its own agent")
            elif text:
                seen[text] = at
    own = doc.get("region")
    names = [region.get("name") for region in listed]
    if own is not None and own not in names:
        remedy = f"add {{name: {own}, agent: ...}}: their order is the same in each profile"
        yield doc.problem(("regions",), f"this region, {quote(own)}, is not among them", remedy)
    elif len(names) == 1:
        message = "no other region is listed, so nothing can be drained without --force"
        yield doc.problem(("regions",), message, "add the other regions", warning=True)
    if "web" not in doc.tree:
        message = "the other regions cannot ask this one, which has no web"
        remedy = "add web: {listen: ADDRESS:PORT}, as this region's agent has it here"
        yield doc.problem(("regions",), message, remedy, warning=True)


RULES = (check_drain_wait, check_graceful_shutdown, check_regions)
