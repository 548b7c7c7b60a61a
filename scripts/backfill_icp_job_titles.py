"""Backfill `icp_job_titles` from the submissions its spec names.

    doppler run -p data-engine-x-api -c prd -- uv run python scripts/backfill_icp_job_titles.py

Takes the options of `dex backfill`; `--org` or `--submission` replace the targets of the spec.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # a script run by its path cannot import the project yet

try:
    from scripts.backfill_targets import backfill_targets
except ModuleNotFoundError as error:
    sys.exit(f"{error}: run `make setup` first")

if __name__ == "__main__":
    backfill_targets("icp_job_titles")
