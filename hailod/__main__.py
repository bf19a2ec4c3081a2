"""`python -m hailod` is the `hailod` command."""

import sys

from hailod.cli import main

if __name__ == "__main__":
    sys.exit(main())
