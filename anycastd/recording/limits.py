"""Bounds of a recording, and its version (pure, light: commands and the agent both need them)."""

from __future__ import annotations

VERSION = 1
"""Version of the format.  Another version is refused."""
MAGIC = "anycastd_recording"
"""Key of the version, first in the header."""
MAX_LINE = 32 * 1024 * 1024
"""Bytes of a line at most: 10,000 servers take about one million."""
DEFAULT_SIZE, MIN_SIZE, MAX_SIZE = 64 << 20, 64 << 10, 1 << 30
"""Bytes of a recording: by default, at least and at most."""
DEFAULT_DURATION, MIN_DURATION, MAX_DURATION = 3600.0, 1.0, 31 * 86400.0
"""Seconds of a recording: by default, at least and at most."""
MAX_STEADY = 60.0
"""Seconds after which a line is written although nothing changed."""
MAX_WALL_ERROR = 0.05
"""Seconds by which wall time may differ from what the last line says of it."""
