"""Backfill `company_intel_briefings` from the submissions its spec names.

    doppler run -p data-engine-x-api -c prd -- uv run python scripts/backfill_company_intel_briefings.py

Takes what `dex backfill` takes; `--org` or `--submission` stand in for the spec's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run by its path, the project is not yet importable

try:
    from scripts.backfill_targets import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: run `make setup` first")

if __name__ == "__main__":
    main("company_intel_briefings")
