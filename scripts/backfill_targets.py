"""Run `dex backfill SPEC --targets` for the three backfill scripts, with their arguments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts import dex

_ROOT = Path(__file__).resolve().parent.parent


def backfill_targets(spec: str) -> None:
    """Run `dex backfill` on `spec` with the arguments of this process, whatever folder it was started in."""
    os.chdir(_ROOT)
    dex.main(["backfill", spec, "--targets", *sys.argv[1:]])
