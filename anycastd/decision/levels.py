"""The four levels, and the table of everything that can cap them."""

from __future__ import annotations

from enum import Enum, IntEnum


class Level(IntEnum):
    """What is announced, best last, so that the lowest cap is ``min``."""

    WITHDRAWN = 0
    STANDBY = 1
    DEGRADED = 2
    PREFERRED = 3

    @property
    def word(self) -> str:
        """The level as it is written everywhere."""
        return self.name.lower()


class CapKind(Enum):
    """What a cap does: see the top."""

    FACT = "fact"
    WAIT = "wait"


class CapSource(Enum):
    """Everything that can cap a level: kind, level, what is so, in the profile's words."""

    SPEAKER = (CapKind.FACT, Level.WITHDRAWN, "the speaker has not been heard yet")
    SERVE = (CapKind.FACT, Level.WITHDRAWN, "`serve` is false (with `failed: standby`: standby)")
    VIP = (CapKind.FACT, Level.WITHDRAWN, "the VIP is not on its interface")
    MAINTENANCE = (CapKind.FACT, Level.STANDBY, "`maintenance`: its map has the entry")
    DRAIN = (CapKind.FACT, Level.STANDBY, "a drain (later: withdrawn)")
    SESSIONS = (CapKind.FACT, Level.STANDBY, "no BGP session is up")
    HEALTHY = (CapKind.FACT, Level.DEGRADED, "`healthy` is false for `degraded.fall`")
    UNKNOWN = (CapKind.WAIT, Level.WITHDRAWN, "`serve` is known again")
    PROOF = (CapKind.WAIT, Level.WITHDRAWN, "`serve` is true for `standby.after`")
    RISE = (CapKind.WAIT, Level.STANDBY, "`serve` is true, and a session up, for `return.rise`")
    HOLD_DOWN = (CapKind.WAIT, Level.STANDBY, "the hold-down is over, if it failed before")
    MANUAL = (CapKind.WAIT, Level.STANDBY, "`anycastd return`, if it failed and `return` is manual")
    SPACING = (CapKind.WAIT, Level.STANDBY, "its last change is older than `return.spacing`")
    HEALTH = (CapKind.WAIT, Level.DEGRADED, "`healthy` is true for `return.rise`")
    FALL = (CapKind.WAIT, Level.PREFERRED, "below `healthy`, it waits for `fall` and `spacing`")

    def __init__(self, kind: CapKind, level: Level, when: str) -> None:
        self.kind = kind
        self.level = level
        self.when = when

    @property
    def word(self) -> str:
        """The source as it is written everywhere."""
        return self.name.lower().replace("_", "-")
