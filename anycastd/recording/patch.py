"""What differs between two JSON values (pure): a JSON merge patch (RFC 7396).

A patch of objects names the members that differ; null means that a member went.  So no member of
an object may be null itself: ``codec`` leaves it out.
"""

from __future__ import annotations

from typing import Any


def make_patch(old: Any, new: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return what turns ``old`` into ``new``: an empty object where two objects are equal."""
    if type(old) is not dict or type(new) is not dict:
        return new
    patch = {name: None for name in old if name not in new}
    for name, value in new.items():
        if name not in old:
            patch[name] = value
        elif old[name] is not value and old[name] != value:
            patch[name] = make_patch(old[name], value)
    return patch


def apply_patch(old: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return ``old`` with what ``patch`` names; ``old`` stays as it is."""
    if type(patch) is not dict:
        return patch
    found = dict(old) if type(old) is dict else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = apply_patch(found.get(name), value)
    return found
