"""Say in one sentence how a status is, for whoever is in a hurry (pure).

It works on a status as JSON, also on that of an older agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.views.severity import find_state

_ORDER = (
    *("preferred", "degraded", "standby", "drained", "withdrawn"),
    *("not announced", "not known"),
)


def summarize_status(status: Mapping[str, Any]) -> str:
    """Return the verdict: the region, its services, its neighbors, and what else is wrong.

    For example ``northeurope: 2 of 3 services preferred, 1 standby; 2 of 2 neighbors up``.
    Raises KeyError where ``status`` is not a complete status.
    """
    parts = (_count_services(status["services"]), *_describe_rest(status))
    return f"{status['region']}: {'; '.join(parts)}"


def name_state(service: Mapping[str, Any]) -> str:
    """Return the state of a service in one or two words, ``drained`` among them."""
    state = find_state(service)
    return "drained" if state == "withdrawn" and service.get("drains") else state


def _count_services(services: Mapping[str, Any]) -> str:
    if len(services) == 1:
        ((name, service),) = services.items()
        for_now = ", for now" if service.get("held") else ""
        return f"{name} is {name_state(service)}{for_now}"
    counts: dict[str, int] = dict.fromkeys(_ORDER, 0)
    for service in services.values():
        state = name_state(service)
        counts[state] = counts.get(state, 0) + 1
    preferred = counts.pop("preferred")
    others = [f"{number} {each}" for each, number in counts.items() if number]
    held = sum(bool(service.get("held")) for service in services.values())
    if held:
        others.append(f"{held} for now")
    return ", ".join((f"{preferred} of {len(services)} services preferred", *others))


def _describe_rest(status: Mapping[str, Any]) -> Iterator[str]:
    neighbors = status["neighbors"]
    up = sum(each["session"] == "up" for each in neighbors.values())
    yield f"{up} of {len(neighbors)} neighbor{'' if len(neighbors) == 1 else 's'} up"
    for name, instance in status["haproxy"].items():
        if instance["state"] != "answers":
            yield f"HAProxy {name} is {_STATES.get(instance['state'], instance['state'])}"
    down = len(neighbors) - up
    others = len(status["problems"]) - down
    if others > 0 and up:
        yield f"{others} other problem{'' if others == 1 else 's'}"


_STATES = {"gone": "not running", "silent": "not answering", "unseen": "not asked yet"}
