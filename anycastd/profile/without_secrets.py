"""The text of a profile without its secrets, for recordings (pure).

Comments are left out, since they may hold anything, and so are `hooks`, whose commands may have a
token among their words.  So may commands and URLs of `checks`: commands lose their arguments, URLs
their queries.  Files that hold a secret lose their paths.  What decides stays.
"""

from __future__ import annotations

import json
from typing import Any

from anycastd.profile.yaml_reader import read_yaml

SECRET_FILES = frozenset({"md5_file", "token_file"})
"""Keys that name a file with a secret, wherever they stand."""
REMOVED = "/removed"
"""What stands in the place of such a path."""


def remove_secrets(text: str) -> str:
    """Return a profile's text as one line of JSON, which is YAML too, without its secrets.

    It validates as ``text`` does.  Raises ValueError where ``text`` is no YAML.
    """
    yaml = read_yaml(text)
    if yaml.problems or not isinstance(yaml.value, dict):
        raise ValueError("the profile cannot be read")
    tree = {key: value for key, value in yaml.value.items() if key != "hooks"}
    for check in _list_blocks(tree.get("checks")):
        if isinstance(command := check.get("command"), list):
            check["command"] = command[:1]
        if isinstance(url := check.get("http"), str):
            check["http"] = url.partition("?")[0]
    return json.dumps(_clean(tree), ensure_ascii=False)


def _list_blocks(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any value of YAML
    """List the blocks of keys in a block of them."""
    members = value.values() if isinstance(value, dict) else ()
    return [each for each in members if isinstance(each, dict)]


def _clean(value: Any) -> Any:  # noqa: ANN401 - any value of YAML
    if isinstance(value, dict):
        return {
            key: REMOVED if key in SECRET_FILES else _clean(each) for key, each in value.items()
        }
    return [_clean(each) for each in value] if isinstance(value, list) else value
