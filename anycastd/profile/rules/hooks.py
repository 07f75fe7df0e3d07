"""Rules for hooks: a full path, and bounds.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document, Problem
from anycastd.profile.key_paths import quote_value

MAX_HOOKS = 16
"""Hooks of a profile."""
MAX_WORDS = 64
"""Words of a command."""


def check_hooks(doc: Document) -> Iterator[Problem]:
    """Require a full path for each command, and not too many of them."""
    hooks = doc.get("hooks") or []
    if len(hooks) > MAX_HOOKS:
        message = f"there are {len(hooks)} hooks, and {MAX_HOOKS} are allowed"
        yield doc.make_problem(("hooks",), message, "let one command do the work of several")
    for index, hook in enumerate(hooks):
        command = (hook or {}).get("command")
        if not command or command[0] is None:
            continue
        at = ("hooks", index, "command")
        if not command[0].startswith("/"):
            message = f"{quote_value(command[0])} is no full path"
            yield doc.make_problem((*at, 0), message, "write the path of the command from / on")
        if len(command) > MAX_WORDS:
            message = f"the command has {len(command)} words, and {MAX_WORDS} are allowed"
            yield doc.make_problem(at, message, "write a script, and its path here")


RULES = (check_hooks,)
