"""Hold statuses to the published schema, docs/status.schema.json."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

MAX_SERVICES = 20
FILE = Path(__file__).resolve().parents[2] / "docs" / "status.schema.json"


@cache
def read_validator() -> Any:
    """Return the validator for the schema; the schema itself is checked, too."""
    schema = json.loads(FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check_status(document: dict[str, Any]) -> dict[str, Any]:
    """Return a status; AssertionError where it does not fit the schema.

    Of very many services the first ones are checked, since it takes time.
    """
    some = dict(list(document["services"].items())[:MAX_SERVICES])
    wrong = [
        f"{'/'.join(map(str, each.absolute_path))}: {each.message[:200]}"
        for each in read_validator().iter_errors({**document, "services": some})
    ]
    assert not wrong, "\n".join(["docs/status.schema.json does not have:", *wrong[:10]])
    return document
