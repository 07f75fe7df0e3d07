"""Write docs/profile.md from the schema: ``PYTHONPATH=. python scripts/profile_reference.py``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.profile.schema import load_schema, resolve_ref
from anycastd.profile.schema_errors import format_flow

_HEAD = """\
# The profile, key by key

This page is generated from `anycastd/profile/schema.json`. Start with the profiles
`profiles/primary.yaml` and `profiles/secondary.yaml`. `profiles/graded.yaml` uses every kind of
rule. `profiles/circuit.yaml` is for networks where longer paths do not move traffic.
`anycastd check FILE...` lists all errors in a profile and compares the profiles of several regions.
"""
INTRODUCTION = """\
A profile is YAML 1.2: only `true`, `false`, `null` and numbers are special, so `65535:0` and `off`
are text, and `010` is ten. Each key may be used only once in its block. Times are in seconds. With
*N* prepends the AS path contains our own AS number *N* + 1 times.

A VIP is written with its prefix length, `203.0.113.10/32`. Levels, best first, are preferred,
degraded, standby and withdrawn.
"""
"""What both this page and the manual page say first."""
BLOCKS = (
    ("Top level", ()),
    ("`lease`", ("properties", "lease")),
    ("`bgp`", ("properties", "bgp")),
    ("`bgp.bfd`", ("properties", "bgp", "properties", "bfd")),
    ("A neighbor, in `bgp.neighbors`", ("$defs", "neighbor")),
    ("`drain`", ("properties", "drain")),
    ("A region, in `regions`", ("$defs", "region")),
    ("An appliance, in `agents` of a region", ("$defs", "region_agent")),
    ("`web`", ("properties", "web")),
    ("`control`", ("properties", "control")),
    ("A hook, in `hooks`", ("$defs", "hook")),
    ("An instance, `haproxy.NAME`", ("$defs", "instance")),
    ("A service, `services.NAME`", ("$defs", "service")),
    ("`services.NAME.med`", ("$defs", "service", "properties", "med")),
    ("A next hop, in `services.NAME.next_hops`", ("$defs", "next_hop")),
    ("`services.NAME.degraded`", ("$defs", "service", "properties", "degraded")),
    ("`services.NAME.standby`", ("$defs", "service", "properties", "standby")),
    ("`services.NAME.return`", ("$defs", "service", "properties", "return")),
    ("`services.NAME.self_test`", ("$defs", "self_test")),
    ("`services.NAME.maintenance`", ("$defs", "maintenance")),
    ("A condition, in `serve` and `healthy`", ("$defs", "condition")),
)
"""Heading, and path of the block in the schema."""
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
    "object": "block",
}


def render_page() -> str:
    """Return the text of docs/profile.md."""
    return "\n".join(_render_lines(load_schema()))


def _render_lines(root: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_HEAD}\n{INTRODUCTION}"
    for heading, path in BLOCKS:
        block: Any = root
        for step in path:
            block = block[step]
        yield f"## {heading}\n\n{block['description']}\n"
        yield "| key | type | default | unit | meaning |"
        yield "|---|---|---|---|---|"
        for key, raw in block["properties"].items():
            each = resolve_ref(raw, root)
            default = "**required**" if key in block.get("required", ()) else render_default(each)
            cells = (
                f"`{key}`",
                render_type(each),
                default,
                each.get("x-unit", ""),
                each["description"],
            )
            yield f"| {' | '.join(cells)} |"
        yield ""


def render_default(each: Mapping[str, Any]) -> str:
    """Return the default of a key as code, or "" for none."""
    return f"`{format_flow(each['default'])}`" if "default" in each else ""


def render_type(each: Mapping[str, Any]) -> str:
    """Return what a key takes, with its limits."""
    if "enum" in each:
        return ", ".join(f"`{word}`" for word in each["enum"])
    kinds = [each["type"]] if isinstance(each["type"], str) else each["type"]
    text = " or ".join(_TYPES[kind] for kind in kinds)
    if "minimum" in each:
        text += f", {each['minimum']} to {each['maximum']}"
    return text


if __name__ == "__main__":
    sys.stdout.write(render_page())
