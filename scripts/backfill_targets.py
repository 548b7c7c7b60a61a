"""The backfill scripts: `dex backfill` with a spec's own targets as defaults.

In: a spec's name and the command line. Out: its backfill. It must not know what a backfill does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts import dex

_ROOT = Path(__file__).resolve().parent.parent


def main(spec: str) -> None:
    """Run `dex backfill` on `spec`, in this project wherever it is called from."""
    os.chdir(_ROOT)
    dex.main(["backfill", spec, "--targets", *sys.argv[1:]])
