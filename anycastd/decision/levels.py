"""The four levels, and the table of everything that can cap them (pure)."""

from __future__ import annotations

from enum import Enum, IntEnum


class Level(IntEnum):
    """Level of a service; ``policy`` explains the four.

    They are ordered, worst first, so that ``min`` finds the lowest cap.
    """

    WITHDRAWN = 0
    STANDBY = 1
    DEGRADED = 2
    PREFERRED = 3

    @property
    def label(self) -> str:
        """Return the level's name in the status, in the log and in messages."""
        return self.name.lower()


class CapKind(Enum):
    """Kind of a cap: a fact or a wait; ``policy`` explains them."""

    FACT = "fact"
    WAIT = "wait"


class CapSource(Enum):
    """Source of a cap: everything that can cap a level.

    ``kind``: fact or wait.  ``level``: the level at which it caps.  ``condition``: text for
    docs/policy.md; for a fact it says when the cap applies, for a wait when it is over.
    """

    SPEAKER = (CapKind.FACT, Level.WITHDRAWN, "the lease process has not reported yet")
    SERVE = (CapKind.FACT, Level.WITHDRAWN, "`serve` is false (with `failed: standby`: standby)")
    VIP = (CapKind.FACT, Level.WITHDRAWN, "the VIP is not on its interface")
    MAINTENANCE = (CapKind.FACT, Level.STANDBY, "the map of `maintenance` has the key")
    DRAIN = (CapKind.FACT, Level.STANDBY, "a drain (after its wait: withdrawn)")
    DRAINS_FILE = (CapKind.FACT, Level.STANDBY, "drains could not be read, until `undrain`")
    SESSIONS = (CapKind.FACT, Level.STANDBY, "no BGP session carries its VIP")
    UNHEALTHY = (CapKind.FACT, Level.DEGRADED, "`healthy` is false for `degraded.fall`")
    UNKNOWN = (CapKind.WAIT, Level.WITHDRAWN, "`serve` is known again")
    PROOF = (CapKind.WAIT, Level.WITHDRAWN, "`serve` is true for `standby.after`")
    RISE = (CapKind.WAIT, Level.STANDBY, "`serve` is true, and a session up, for `return.rise`")
    HOLD_DOWN = (CapKind.WAIT, Level.STANDBY, "the hold-down is over, if the service failed before")
    MANUAL = (CapKind.WAIT, Level.STANDBY, "`anycastd return`, if it failed and `return` is manual")
    SPACING = (CapKind.WAIT, Level.STANDBY, "the last change is older than `return.spacing`")
    HEALTH_RISE = (CapKind.WAIT, Level.DEGRADED, "`healthy` is true for `return.rise`")
    FALL = (CapKind.WAIT, Level.PREFERRED, "`healthy` is false; `fall` or `spacing` is not over")

    def __init__(self, kind: CapKind, level: Level, condition: str) -> None:
        self.kind = kind
        self.level = level
        self.condition = condition

    @property
    def label(self) -> str:
        """Return the source's name in `anycastd explain` and in docs/policy.md."""
        return _LABELS.get(self.name) or self.name.lower().replace("_", "-")


# Programs read these two in `anycastd explain --json`.
_LABELS = {"UNHEALTHY": "healthy", "HEALTH_RISE": "health"}
