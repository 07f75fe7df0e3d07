"""`python -m anycastd`."""

import sys

from anycastd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
