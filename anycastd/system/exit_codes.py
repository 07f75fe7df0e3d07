"""Every exit code of ours (sysexits.h), in one table."""

from __future__ import annotations

EX_UNAVAILABLE = 69
EX_NOPERM = 77
EX_CONFIG = 78
