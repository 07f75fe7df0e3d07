"""What a service requires: rules, and conditions that join them.

``build`` creates them.  Each rule has a ``description`` for operators and is evaluated by its type
(``EVALUATORS`` in ``evidence/sources``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class FailedAction(Enum):
    """What to do with the route while HAProxy runs and ``serve`` is false."""

    WITHDRAW = "withdraw"
    STANDBY = "standby"


class Threshold(NamedTuple):
    """A number of servers, or a share of them in percent; exactly one is not None."""

    number: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class InstanceRule:
    """Base of the rules about one HAProxy process, ``instance``.

    ``show_instance`` is True where the profile has several processes: descriptions name it then.
    """

    instance: str
    show_instance: bool = field(default=False, compare=False, kw_only=True)

    def _qualify(self, name: str) -> str:
        return f"{name} in HAProxy {self.instance}" if self.show_instance else name


@dataclass(frozen=True, slots=True)
class BackendRule(InstanceRule):
    """True while ``backend`` has at least ``usable`` usable servers.

    With ``by_weight`` the sum of their weights is compared instead of their number.  With
    ``count_unchecked`` a server counts as usable although HAProxy does not check it.
    """

    backend: str
    usable: Threshold
    count_unchecked: bool = False
    by_weight: bool = False

    @property
    def description(self) -> str:
        """Describe the rule as a sentence for operators."""
        number, share = self.usable
        least = f"{share:g} %" if number is None else f"{number}"
        of = " of its weight" if self.by_weight else ""
        return f"backend {self._qualify(self.backend)} has at least {least}{of} usable"


@dataclass(frozen=True, slots=True)
class FrontendRule(InstanceRule):
    """True while ``frontend`` is open."""

    frontend: str

    @property
    def description(self) -> str:
        """Describe the rule as a sentence for operators."""
        return f"frontend {self._qualify(self.frontend)} is open"


class LoadMetric(Enum):
    """What a limit counts: requests in the queues of a backend, or sessions."""

    QUEUE = "queue"
    SESSIONS = "sessions"

    @property
    def counted(self) -> str:
        """Return the noun for what is counted, for sentences such as ``5 sessions``."""
        return "requests queued" if self is LoadMetric.QUEUE else "sessions"


@dataclass(frozen=True, slots=True)
class LimitRule(InstanceRule):
    """True while ``load`` of the frontend or backend ``proxy`` is less than ``below``.

    ``frontend``: the proxy is a frontend.  Such a rule stands only in ``healthy``: overload must
    not withdraw a VIP in all regions.
    """

    proxy: str
    frontend: bool
    load: LoadMetric
    below: int

    @property
    def description(self) -> str:
        """Describe the rule as a sentence for operators."""
        kind = "frontend" if self.frontend else "backend"
        proxy = self._qualify(self.proxy)
        return f"{kind} {proxy} has fewer than {self.below} {self.load.counted}"


@dataclass(frozen=True, slots=True)
class CheckRule:
    """True while the check named ``check`` passes, after its `rise` and `fall`."""

    check: str

    @property
    def description(self) -> str:
        """Describe the rule as a sentence for operators."""
        return f"check {self.check} passes"


@dataclass(frozen=True, slots=True)
class AllOf:
    """True while all of ``rules`` are true."""

    rules: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True while at least one of ``rules`` is true."""

    rules: tuple[Condition, ...]


Condition = BackendRule | FrontendRule | LimitRule | CheckRule | AllOf | AnyOf
"""What ``serve`` or ``healthy`` requires: one rule, or a tree of rules."""


@dataclass(frozen=True, slots=True)
class Maintenance(InstanceRule):
    """Planned work while ``key`` is in HAProxy's map ``map``.

    ``then`` is what to do with the route.
    """

    map: str
    key: str
    then: FailedAction

    @property
    def description(self) -> str:
        """Describe the rule as a sentence for operators: true while there is no planned work."""
        return f"maintenance is off (map {self._qualify(self.map)}, key {self.key})"


Rule = BackendRule | FrontendRule | LimitRule | Maintenance
"""A rule about one HAProxy process."""
