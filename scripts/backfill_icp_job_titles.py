"""Backfill `icp_job_titles` from the submissions its spec names.

    doppler run -p data-engine-x-api -c prd -- uv run python scripts/backfill_icp_job_titles.py

It has the options of `dex backfill`; `--org` and `--submission` replace the submissions of the spec.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # a script started by its path cannot import the project otherwise

try:
    from scripts.dex_backfill import run_dex_backfill
except ModuleNotFoundError as error:
    sys.exit(f"{error}: run `make setup` first")

if __name__ == "__main__":
    run_dex_backfill("icp_job_titles")
