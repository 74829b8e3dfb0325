"""`metarl` and `python -m metarl`: the command line."""

import os
import sys

from metarl import cli


def main() -> int:
    """Run one command and end the process with its exit code."""
    code = cli.main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from metarl import distributed  # torch: only where there are ranks

        distributed.end(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
