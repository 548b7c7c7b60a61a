"""`python -m scripts.bench`: measure against what one would write by hand.

Both sides in one run, one after the other, medians. Nothing is asserted: a bound that is missed is marked. `--full`
takes the sizes the bounds were set for, and half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator

from scripts.bench import backfill, coverage, live, page
from scripts.bench.dataset import Server, serve, with_lz4
from scripts.bench.result import Group, show


def main() -> None:
    options = _options()
    groups = []
    for group in _measure(options):
        groups.append(group)
        if not options.json:
            print("\n".join(show([group])), flush=True)
    if options.json:
        print(
            json.dumps({"cores": os.cpu_count(), "full": options.full, "groups": [item.as_dict() for item in groups]})
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the sizes the bounds were set for; half an hour")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; repeatable")
    parser.add_argument("--rows", type=int, help="step results of the backfill instead of 5,000 (--full: 20,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the median counts")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> Iterator[Group]:
    system = with_lz4()
    with serve(system) as server:
        for name, part in PARTS.items():
            if not options.only or name in options.only:
                yield part(server, options)
    if server.lz4 and (not options.only or "backfill" in options.only):
        with serve(None) as server:  # and once without lz4: the embedded wheel has none
            yield _backfill(server, options)


def _backfill(server: Server, options: argparse.Namespace) -> Group:
    rows = options.rows or (20_000 if options.full else 5_000)
    return backfill.measure(server, rows, options.rounds if server.lz4 else 1, _say)


def _live(server: Server, options: argparse.Namespace) -> Group:
    return live.measure(server, options.rounds, 10 if options.full else 4, _say)


def _page(server: Server, options: argparse.Namespace) -> Group:
    return page.measure(server, 60_000 if options.full else 6_000, options.rounds, 6 if options.full else 2, _say)


def _coverage(server: Server, options: argparse.Namespace) -> Group:
    return coverage.measure(server, 1_000_000 if options.full else 100_000, options.rounds, _say)


PARTS: dict[str, Callable[[Server, argparse.Namespace], Group]] = {
    "backfill": _backfill,
    "live": _live,
    "query": _page,
    "coverage": _coverage,
}


def _say(sentence: str) -> None:
    print(f"bench: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
