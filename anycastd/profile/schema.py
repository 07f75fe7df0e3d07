"""The JSON Schema of a profile: types, defaults, help and examples of every key (pure)."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

Schema = Mapping[str, Any]
"""A JSON Schema, or a part of one."""


@functools.cache
def load_schema() -> dict[str, Any]:
    """Read the JSON Schema of a profile (draft 2020-12) from ``schema.json``."""
    text = resources.files("anycastd.profile").joinpath("schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def resolve_ref(schema: Schema, root: Schema) -> Schema:
    """Replace the ``$ref`` of a schema by its target; keys beside the ``$ref`` win.

    ``root`` is the whole schema.  Raises KeyError where it does not have the target.
    """
    if "$ref" not in schema:
        return schema
    target: Any = root
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
