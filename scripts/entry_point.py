"""Start `dex`; ^C while it is still importing its commands, which takes half a second, ends it without a traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and run it."""
    try:
        from scripts import dex

        dex.main()
    except KeyboardInterrupt:
        sys.exit(130)
