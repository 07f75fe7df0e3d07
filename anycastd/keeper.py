"""Forward to the lease process: speakers of 0.1.0 that still run start it by this name."""

from __future__ import annotations

import sys

from anycastd.speaker.lease_process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
