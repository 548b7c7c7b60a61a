"""Benchmark of the query endpoint, compared with psql fetching the same rows as JSON text.

A page has 100 rows of 30 KB: the newest page, and one deep in the table by cursor. Both sides use one connection and
fetch one page after the other.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psycopg

from scripts.bench import load
from scripts.bench.api_process import RunningApi, start_api
from scripts.bench.dataset import Server, build_id, insert_runs, vacuum_database
from scripts.bench.process import build_module_command, run_measured
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE, Author

SIZE = 30_000
PAGE = 100
PATH = "/api/v1/company-intel-briefings/query"
_ORG = str(build_id(1, 0))
_COPY = f"""
copy {TABLE} (org_id, company_domain, company_name, client_company_name, raw_parallel_output, processor, created_at)
from stdin
"""
#: Selects a page as JSON text, by the index of the page's order, without OFFSET or a sort.
_PSQL = f"""
select row_to_json(page) from (
    select * from {TABLE} where org_id = '{_ORG}' and (created_at, id) < ('{{at}}', '{{row}}')
    order by created_at desc, id desc limit {PAGE}
) as page;
"""


def measure_pages(server: Server, rows: int, rounds: int, seconds: float, report: Callable[[str], None]) -> Group:
    """Measure the newest page and one near the end, by API and psql in turn; the tenant has a third of `rows`."""
    depth = rows // 3 - 2 * PAGE
    with server.create_database("page") as dsn, tempfile.TemporaryDirectory() as folder, start_api(dsn) as api:
        report(f"query: making {rows:,} rows")
        insert_page_rows(dsn, rows, organisations=3)
        deep = {"cursor": _read_cursor(api, depth)}
        at, row = _read_position(dsn, depth)
        first = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")
        rates: list[dict[str, float]] = []
        for number in range(rounds):
            report(f"query: round {number + 1} of {rounds}")
            rates.append(
                {
                    "first": _measure_api(api, {}, Path(folder), seconds),
                    "psql": _measure_psql(server, dsn, first, seconds),
                    "deep": _measure_api(api, deep, Path(folder), seconds),
                    "psql deep": _measure_psql(server, dsn, (at, row), seconds),
                }
            )
    title = (
        f"query over HTTP: pages of {PAGE} rows of {SIZE / 1000:.0f} KB, {rows:,} rows, a third of them the tenant's;"
        f" {server.name}; median of {rounds}"
    )
    return _build_group(title, depth, rates)


def _build_group(title: str, depth: int, rounds: Sequence[dict[str, float]]) -> Group:
    rates = {name: median(rate[name] for rate in rounds) for name in rounds[0]}
    first, deep, depths = (
        median(rate[left] / rate[right] for rate in rounds)
        for left, right in (("first", "psql"), ("deep", "psql deep"), ("deep", "first"))
    )
    lines = [
        Line("newest page: rate, against psql fetching the rows as JSON text", first, least=0.75),
        Line(f"page at {depth:,} rows by cursor: the same", deep, least=0.75),
        Line("that page against the newest: rate", depths, least=0.9),
        Line("rate", rates["first"], "/s", note=f"psql {rates['psql']:.0f} pages/s"),
    ]
    return Group(title, lines, [f"psql, without HTTP, checks and tenant, is {1 / first:.1f} times as fast"])


def insert_page_rows(dsn: str, rows: int, organisations: int) -> None:
    """Insert rows of SIZE bytes, distributed over `organisations` tenants."""
    author = Author.from_seed(3)
    contents = [orjson.dumps(author.write_content(number, SIZE)).decode() for number in range(500)]
    with psycopg.connect(dsn) as connection:
        insert_runs(connection, range(4))
        with connection.cursor().copy(_COPY) as copy:
            for number in range(rows):
                names = (f"company-{number}.example", f"Company {number}", "Client 1")
                when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
                copy.write_row((build_id(1, number % organisations), *names, contents[number % 500], "ultra", when))
    vacuum_database(dsn)


def _read_cursor(api: RunningApi, depth: int) -> str:
    """Query pages until the first `depth` rows are read; return the cursor after them."""
    cursor: dict[str, Any] = {}
    for _ in range(depth // PAGE):
        body = json.dumps({"fields": ["id"], "limit": PAGE, **cursor}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{api.port}{PATH}", body, {**api.build_headers(_ORG), "content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            cursor = {"cursor": json.load(answer)["meta"]["next_cursor"]}
    return str(cursor["cursor"])


def _read_position(dsn: str, depth: int) -> tuple[str, str]:
    """Return `created_at` and `id` of the last row before the page at `depth`, from which psql continues."""
    order = f"from {TABLE} where org_id = '{_ORG}' order by created_at desc, id desc"
    with psycopg.connect(dsn) as connection:
        row = connection.execute(f"select created_at::text, id::text {order} offset {depth - 1} limit 1").fetchone()
    assert row
    return row[0], row[1]


def _measure_api(api: RunningApi, body: dict[str, Any], folder: Path, seconds: float) -> float:
    file = folder / "body"
    file.write_text(json.dumps(body))
    job = load.Job(
        port=api.port, path=PATH, headers=api.build_headers(_ORG), bodies=str(file), connections=1, seconds=seconds
    )
    return float(run_measured(build_module_command("load", job.as_json()), {}).report["rate"])


def _measure_psql(server: Server, dsn: str, position: tuple[str, str], seconds: float) -> float:
    """Return how many pages per second one psql process fetches, not counting its start."""
    few = _run_psql(server, dsn, position, 5)
    pages = max(10, int(seconds / (few / 5)))
    empty = _run_psql(server, dsn, position, 0)
    return pages / (_run_psql(server, dsn, position, pages) - empty)


def _run_psql(server: Server, dsn: str, position: tuple[str, str], pages: int) -> float:
    """Fetch a page `pages` times in one psql process; return the seconds."""
    command = [str(server.programs / "psql"), "-X", "-q", "-A", "-t", "-o", "/dev/null", "-d", dsn]
    text = _PSQL.format(at=position[0], row=position[1]) * pages
    began = time.perf_counter()
    subprocess.run(command, input=text, text=True, check=True)
    return time.perf_counter() - began
