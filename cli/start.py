"""Where the process of the `strongroom` command begins and ends."""

from __future__ import annotations

import gc
import sys

_ALLOCATIONS_BEFORE_COLLECTION = 100_000
"""Python's own 700 make it look for garbage dozens of times while modules are imported, which make none."""


def main() -> None:
    """Entry point of the console script: never a traceback, always a documented exit code."""
    gc.set_threshold(_ALLOCATIONS_BEFORE_COLLECTION)
    from cli.main import run

    code = run(sys.argv[1:])
    # Nothing is looked for at exit either: it costs more than all the signatures of a command.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
