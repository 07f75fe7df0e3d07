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
        wrong = f"Azure may hold the longer path back for {_AZURES_WINDOW} seconds"
        instead = f"write {_AZURES_WINDOW + 10} or more"
        yield doc.problem(("drain", "wait"), wrong, instead, warning=True)


def check_graceful_shutdown(doc: Document) -> Iterator[Problem]:
    """Warn where a community is counted on that Azure does not say to honour."""
    for path, neighbor in iter_neighbors(doc):
        if get_platform(doc) == AZURE and neighbor.get("graceful_shutdown"):
            wrong = "Azure does not say that it honours 65535:0; the longer path has to do"
            instead = "remove it"
            yield doc.problem((*path, "graceful_shutdown"), wrong, instead, warning=True)


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
                wrong = f"{quote(text)} stands in line {doc.line(seen[text])} already"
                yield doc.problem(at, wrong, "write each region once, with its own agent")
            elif text:
                seen[text] = at
    own = doc.get("region")
    names = [region.get("name") for region in listed]
    if own is not None and own not in names:
        instead = f"add {{name: {own}, agent: ...}}: their order is the same in each profile"
        yield doc.problem(("regions",), f"this region, {quote(own)}, is not among them", instead)
    elif len(names) == 1:
        wrong = "no other region is listed, so nothing can be drained without --force"
        yield doc.problem(("regions",), wrong, "add the other regions", warning=True)
    if "web" not in doc.tree:
        wrong = "the other regions cannot ask this one, which has no web"
        instead = "add web: {listen: ADDRESS:PORT}, as this region's agent has it here"
        yield doc.problem(("regions",), wrong, instead, warning=True)


RULES = (check_drain_wait, check_graceful_shutdown, check_regions)
