"""What the three backfill scripts share: they start `dex backfill SPEC --targets` with their own arguments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts import dex

_ROOT = Path(__file__).resolve().parent.parent


def run_dex_backfill(spec: str) -> None:
    """Run `dex backfill SPEC --targets` with the arguments of this process, from any working directory."""
    os.chdir(_ROOT)
    dex.main(["backfill", spec, "--targets", *sys.argv[1:]])
