"""The backfill scripts: `dex backfill` with a spec's own targets as defaults.

In: a spec's name and the command line. Out: its backfill, one target after the other, and their summary.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from engine import load, project
from engine.account import OUTCOMES
from engine.diagnostic import EngineError
from engine.plan import Plan
from engine.sql.find import Scope
from scripts import console
from scripts.commands.accounts import run_backfill
from scripts.database import database

_ROOT = Path(__file__).resolve().parent.parent


def main(spec: str) -> None:
    """Run the backfill of `spec` over its targets; exit 1 when something goes wrong, what was committed is kept."""
    options = _options(spec)
    try:
        here = project.find(_ROOT)
        plan = load.pick(load.load(here), spec)
        with database(here) as dsn:
            found = [run_backfill(dsn, plan, scope, dry_run=options.dry_run) for scope in _scopes(plan, options)]
    except EngineError as error:
        console.complain(error)
        sys.exit(1)
    words = _total(spec, found)
    if options.json:
        console.emit(words)
    else:
        console.account(words)
        console.note(f"{words['seconds']} s{'; nothing was written' if options.dry_run else ''}")


def _options(spec: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Backfill {spec} from the submissions its spec names.")
    parser.add_argument("--dry-run", action="store_true", help="count and show, write nothing")
    parser.add_argument("--all", action="store_true", help="also what the ledger knows already")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return parser.parse_args()


def _scopes(plan: Plan, options: argparse.Namespace) -> list[Scope]:
    scopes = []
    for target in plan.targets:
        console.note(f"{plan.name}: organisation {target.org_id}, submissions {', '.join(target.submissions)}")
        scopes.append(Scope(org_id=target.org_id, submissions=target.submissions, all=options.all))
    return scopes


def _total(spec: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """One account out of one per target."""
    reasons: Counter[tuple[str, str | None]] = Counter()
    for words in found:
        reasons.update({(item["code"], item["field"]): item["count"] for item in words["reasons"]})
    return {
        "spec": spec,
        **{name: sum(words[name] for words in found) for name in ("found", *OUTCOMES, "pending")},
        "reasons": [{"code": code, "field": field, "count": count} for (code, field), count in reasons.most_common()],
        "seconds": round(sum(words["seconds"] for words in found), 3),
    }
