"""Benchmark of the upsert over HTTP, compared with a psycopg loop that executes the same statement.

The bodies have 29 KB and 2,000 different keys; no two are equal, so that every request writes. There are 16 HTTP
connections; the loop has 8 database connections, as many as the API's pool.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench import load, loop
from scripts.bench.api_process import start_api
from scripts.bench.dataset import Server, build_id, fill_step_results
from scripts.bench.process import build_module_command, run_measured
from scripts.bench.result import Group, Line
from scripts.bench.text import Author

SIZE = 28_500  # bytes of a document; the body around it makes 29 KB
KEYS = 2_000
PATH = "/api/internal/company-intel-briefings/upsert"


def measure_live_upsert(server: Server, rounds: int, seconds: float, report: Callable[[str], None]) -> Group:
    """Measure the API and the loop alternately, `rounds` times, each for `seconds`."""
    with server.create_database("live") as dsn, tempfile.TemporaryDirectory() as folder:
        fill_step_results(dsn, 4, 0)  # inserts the organisations, submissions and runs that the bodies refer to
        bodies = Path(folder) / "bodies"
        size = write_bodies(bodies)
        with start_api(dsn) as api:
            org = str(build_id(1, 0))
            http = load.Job(
                port=api.port,
                path=PATH,
                headers=api.build_headers(org),
                bodies=str(bodies),
                connections=16,
                seconds=seconds,
            )
            bare = loop.Job(dsn=dsn, org_id=org, bodies=str(bodies), connections=8, seconds=seconds)
            results: list[tuple[dict[str, Any], dict[str, Any]]] = []
            for number in range(rounds + 1):  # the first round fills the table and is not counted
                report(f"live upsert: round {number} of {rounds}")
                of_loop = run_measured(build_module_command("loop", bare.as_json()), {}).report
                results.append((run_measured(build_module_command("load", http.as_json()), {}).report, of_loop))
    title = (
        f"live upsert over HTTP: bodies of {size / 1000:.0f} KB, {KEYS:,} keys, 16 connections; {server.name};"
        f" median of {rounds}"
    )
    return _build_group(title, results[1:])


def _build_group(title: str, results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Group:
    ratio = median(http["rate"] / bare["rate"] for http, bare in results)
    rate, loop_rate, middle, slow = (
        median(values)
        for values in (
            [http["rate"] for http, _ in results],
            [bare["rate"] for _, bare in results],
            [http["p50"] for http, _ in results],
            [http["p99"] for http, _ in results],
        )
    )
    lines = [
        Line("rate, against a bare psycopg loop of 8 connections", ratio, least=0.45),
        Line(
            "rate",
            rate,
            "/s",
            note=f"the loop {loop_rate:,.0f}/s; half of the requests within {middle:.0f} ms, 99 % within {slow:.0f} ms",
        ),
    ]
    return Group(title, lines, [f"the loop without HTTP, checks and tenant is {1 / ratio:.1f} times as fast"])


def write_bodies(file: Path) -> int:
    """Write one body per key to a file, one per line; return the bytes of a body."""
    bodies = list(_build_bodies())
    file.write_text("\n".join(bodies))
    return len(bodies[0])


def _build_bodies() -> Iterator[str]:
    author = Author.from_seed(2)
    source = {"source_submission_id": str(build_id(2, 0)), "source_pipeline_run_id": str(build_id(3, 0))}
    for key in range(KEYS):
        yield json.dumps(
            {
                "company_domain": f"company-{key}.example",
                "company_name": f"Company {key}",
                "client_company_name": f"Client {key % 4}",
                "client_company_description": author.sentences[key % 4],
                "raw_parallel_output": author.write_content(key, SIZE),
                "parallel_run_id": load.MARK.decode(),
                "processor": "ultra",
                **source,
            },
            separators=(",", ":"),
        )
