"""`python -m scripts.bench`: measure the engine, and hand-written programs that do the same, in one run.

It prints medians with their bounds, and marks a missed bound; the exit status does not depend on them. `--full` uses
the amounts of data for which the bounds were chosen, and takes half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator

from scripts.bench import backfill, coverage, export, files, live, page, several_specs, sizes, sweep
from scripts.bench.dataset import Server, find_lz4_binaries, start_server
from scripts.bench.result import Group, format_groups


def main() -> None:
    options = _parse_options()
    groups = []
    for group in _measure_parts(options):
        groups.append(group)
        if not options.json:
            print("\n".join(format_groups([group])), flush=True)
    if options.json:
        report = [group.as_dict() for group in groups]
        print(json.dumps({"cores": os.cpu_count(), "full": options.full, "groups": report}))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the sizes the bounds were set for; half an hour")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--only", choices=[*PARTS, "sweep"], action="append", help="only this part; repeatable")
    parser.add_argument("--rows", type=int, help="step results of the backfill instead of 5,000 (--full: 20,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the median counts")
    return parser.parse_args()


def _measure_parts(options: argparse.Namespace) -> Iterator[Group]:
    with start_server(find_lz4_binaries()) as server:
        for name, part in PARTS.items():
            if not options.only or name in options.only:
                yield part(server, options)
        if not options.only or "sweep" in options.only:
            yield from sweep.measure_sweeps(
                server,
                1_000_000 if options.full else 100_000,
                options.rows or (20_000 if options.full else 5_000),
                _print_progress,
            )
    again = [name for name in ("backfill", "sizes") if not options.only or name in options.only]
    if server.lz4 and again:
        with start_server(None) as server:  # once more without lz4, which the embedded wheel lacks
            for name in again:
                yield PARTS[name](server, options)


def _measure_backfill(server: Server, options: argparse.Namespace) -> Group:
    rows = options.rows or (20_000 if options.full else 5_000)
    return backfill.measure_backfill(server, rows, options.rounds if server.lz4 else 1, _print_progress)


def _measure_live(server: Server, options: argparse.Namespace) -> Group:
    return live.measure_live_upsert(server, options.rounds, 10 if options.full else 4, _print_progress)


def _measure_queries(server: Server, options: argparse.Namespace) -> Group:
    return page.measure_pages(
        server, 60_000 if options.full else 6_000, options.rounds, 6 if options.full else 2, _print_progress
    )


def _measure_exports(server: Server, options: argparse.Namespace) -> Group:
    rows, narrow_rows = (20_000, 1_000_000) if options.full else (4_000, 200_000)
    return export.measure_exports(server, rows, narrow_rows, options.rounds, _print_progress)


def _measure_files(server: Server, options: argparse.Namespace) -> Group:
    return files.measure_files(server, 100_000 if options.full else 10_000, options.rounds, _print_progress)


def _measure_coverage(server: Server, options: argparse.Namespace) -> Group:
    return coverage.measure_coverage(server, 1_000_000 if options.full else 100_000, options.rounds, _print_progress)


def _measure_several_specs(server: Server, options: argparse.Namespace) -> Group:
    rows = options.rows or (20_000 if options.full else 5_000)
    return several_specs.measure_several_specs(server, rows, options.rounds, _print_progress)


def _measure_sizes(server: Server, options: argparse.Namespace) -> Group:
    rows = 20_000 if options.full else 5_000
    return sizes.measure_sizes(server, {20_000: rows, 300_000: rows // 20}, _print_progress)


def _measure_layers(server: Server, options: argparse.Namespace) -> Group:
    from scripts.bench import layers  # it imports packages that only `bootstrap.py --bench` installs

    return layers.measure_layers(server, options.rounds, 6 if options.full else 2, _print_progress)


PARTS: dict[str, Callable[[Server, argparse.Namespace], Group]] = {
    "backfill": _measure_backfill,
    "live": _measure_live,
    "query": _measure_queries,
    "export": _measure_exports,
    "files": _measure_files,
    "coverage": _measure_coverage,
    "specs": _measure_several_specs,
    "sizes": _measure_sizes,
    "layers": _measure_layers,
}


def _print_progress(sentence: str) -> None:
    print(f"bench: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
