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


class Kind(Enum):
    """What a cap does: see the top."""

    FACT = "fact"
    WAIT = "wait"


class Source(Enum):
    """Everything that can cap a level: kind, level, what is so, in the profile's words."""

    SPEAKER = (Kind.FACT, Level.WITHDRAWN, "the speaker has not been heard yet")
    SERVE = (Kind.FACT, Level.WITHDRAWN, "`serve` is false (with `failed: standby`: standby)")
    VIP = (Kind.FACT, Level.WITHDRAWN, "the VIP is not on its interface")
    MAINTENANCE = (Kind.FACT, Level.STANDBY, "`maintenance`: its map has the entry")
    DRAIN = (Kind.FACT, Level.STANDBY, "a drain (later: withdrawn)")
    SESSIONS = (Kind.FACT, Level.STANDBY, "no BGP session is up")
    HEALTHY = (Kind.FACT, Level.DEGRADED, "`healthy` is false for `degraded.fall`")
    UNKNOWN = (Kind.WAIT, Level.WITHDRAWN, "`serve` is known again")
    PROOF = (Kind.WAIT, Level.WITHDRAWN, "`serve` is true for `standby.after`")
    RISE = (Kind.WAIT, Level.STANDBY, "`serve` is true, and a session up, for `return.rise`")
    HOLD_DOWN = (Kind.WAIT, Level.STANDBY, "the hold-down is over, if it failed before")
    MANUAL = (Kind.WAIT, Level.STANDBY, "`anycastd return`, if it failed and `return` is manual")
    SPACING = (Kind.WAIT, Level.STANDBY, "its last change is older than `return.spacing`")
    HEALTH = (Kind.WAIT, Level.DEGRADED, "`healthy` is true for `return.rise`")
    FALL = (Kind.WAIT, Level.PREFERRED, "below `healthy`, it waits for `fall` and `spacing`")

    def __init__(self, kind: Kind, level: Level, when: str) -> None:
        self.kind = kind
        self.level = level
        self.when = when

    @property
    def word(self) -> str:
        """The source as it is written everywhere."""
        return self.name.lower().replace("_", "-")
