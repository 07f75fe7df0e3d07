"""What the shim mends in ExaBGP's queue of routes; its docstring says why (stdlib + exabgp)."""

# ruff: noqa: ANN401, SLF001 - ExaBGP carries no types, and its insides are what is mended

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from importlib import import_module
from typing import Any

MAX_STEPS = 2000  # steps in one turn of the loop, two for a route: no longer than 0.2 s

# Each looks first and returns what then changes ExaBGP.


def _at_once() -> Callable[[], None]:
    queue = import_module("exabgp.reactor.asynchronous").ASYNC
    run = getattr(queue, "_run_async", queue.run)
    if "LIMIT" not in run.__code__.co_names:
        raise AttributeError("exabgp.reactor.asynchronous: ASYNC.run has no limit")

    def apply() -> None:
        queue.LIMIT = MAX_STEPS

    return apply


def _copies() -> Callable[[], None]:
    neighbor = import_module("exabgp.bgp.neighbor").Neighbor
    if not hasattr(neighbor, "remove_self"):
        return lambda: None  # Debian 12's 4.2.21 makes no copies
    original = neighbor.remove_self
    if not {"deepcopy", "nlri", "nexthop", "SELF"} <= set(original.__code__.co_names):
        raise AttributeError("exabgp.bgp.neighbor: Neighbor.remove_self is another")

    def remove_self(self: Any, change: Any) -> Any:
        if change.nlri.nexthop.SELF:
            return original(self, change)
        its = copy(change)  # the attributes are never changed once they are read
        its.nlri = copy(change.nlri)
        return its

    def apply() -> None:
        neighbor.remove_self = remove_self

    return apply


def _newest() -> Callable[[], None]:
    rib = import_module("exabgp.rib.outgoing").OutgoingRIB
    original = rib.add_to_rib
    names = {*original.__code__.co_names}
    if "_update_rib" in names:  # 5.0
        names |= {*rib._update_rib.__code__.co_names}
    if not {"_new_nlri", "_new_attr_af_nlri"} <= names:
        raise AttributeError("exabgp.rib.outgoing: OutgoingRIB.add_to_rib is another")

    def add_to_rib(self: Any, change: Any, *more: Any) -> None:
        index = change.index()
        before = self._new_nlri.get(index)
        original(self, change, *more)
        if before is None or self._new_nlri.get(index) is before:
            return
        for queued in self._new_attr_af_nlri.get(before.attributes.index(), {}).values():
            if queued.get(index) is before:
                del queued[index]

    def apply() -> None:
        rib.add_to_rib = add_to_rib

    return apply


PATCHES = (_at_once, _copies, _newest)
