"""`metarl` and `python -m metarl`: the command line."""

import sys

from metarl.cli import main

if __name__ == "__main__":
    sys.exit(main())
