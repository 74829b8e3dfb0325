"""`metarl` and `python -m metarl`: the command line."""

import os
import sys

from metarl import cli


def main() -> int:
    """Run one command and end the process with its exit code."""
    code = cli.main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Threads of gloo can outlive their group for a moment, and abort an interpreter that ends meanwhile.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
