"""The query endpoint, beside psql fetching the same rows as JSON text.

In: a server. Out: a Group. Pages of 100 rows of 30 KB: the newest, and one deep in the table, by cursor. One connection
on either side: one page after the other.
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
from scripts.bench.api_process import Served, serve
from scripts.bench.dataset import Server, ident, people, settle
from scripts.bench.process import module, run
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE, Author

SIZE = 30_000
PAGE = 100
PATH = "/api/v1/company-intel-briefings/query"
_ORG = str(ident(1, 0))
_COPY = f"""
copy {TABLE} (org_id, company_domain, company_name, client_company_name, raw_parallel_output, processor, created_at)
from stdin
"""
#: The rows as JSON text, by the index that ends in the order of the answer: no offset, no sort.
_PSQL = f"""
select row_to_json(page) from (
    select * from {TABLE} where org_id = '{_ORG}' and (created_at, id) < ('{{at}}', '{{row}}')
    order by created_at desc, id desc limit {PAGE}
) as page;
"""


def measure(server: Server, rows: int, rounds: int, seconds: float, say: Callable[[str], None]) -> Group:
    """Fetch the newest page and one near the end of a tenant that has a third of `rows`, in turns."""
    depth = rows // 3 - 2 * PAGE
    with server.database("page") as dsn, tempfile.TemporaryDirectory() as folder, serve(dsn) as api:
        say(f"query: making {rows:,} rows")
        _fill(dsn, rows)
        deep = {"cursor": _cursor(api, depth)}
        at, row = _place(dsn, depth)
        first = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")
        found: list[dict[str, float]] = []
        for number in range(rounds):
            say(f"query: round {number + 1} of {rounds}")
            found.append(
                {
                    "first": _http(api, {}, Path(folder), seconds),
                    "psql": _psql(server, dsn, first, seconds),
                    "deep": _http(api, deep, Path(folder), seconds),
                    "psql deep": _psql(server, dsn, (at, row), seconds),
                }
            )
    title = (
        f"query over HTTP: pages of {PAGE} rows of {SIZE / 1000:.0f} KB, {rows:,} rows, a third of them the tenant's;"
        f" {server.name}; median of {rounds}"
    )
    return _group(title, depth, found)


def _group(title: str, depth: int, found: Sequence[dict[str, float]]) -> Group:
    rates = {name: median(round_[name] for round_ in found) for name in found[0]}
    first, deep, depths = (
        median(round_[left] / round_[right] for round_ in found)
        for left, right in (("first", "psql"), ("deep", "psql deep"), ("deep", "first"))
    )
    lines = [
        Line("newest page: rate, against psql fetching the rows as JSON text", first, least=0.6),
        Line(f"page at {depth:,} rows by cursor: the same", deep, least=0.6),
        Line("that page against the newest: rate", depths, least=0.9),
        Line("rate", rates["first"], "/s", note=f"psql {rates['psql']:.0f} pages/s"),
    ]
    return Group(title, lines, [f"psql, without HTTP, checks and tenant, is {1 / first:.1f} times as fast"])


def _fill(dsn: str, rows: int) -> None:
    author = Author.of(3)
    contents = [orjson.dumps(author.content(number, SIZE)).decode() for number in range(500)]
    with psycopg.connect(dsn) as connection:
        people(connection, range(4))
        with connection.cursor().copy(_COPY) as copy:
            for number in range(rows):
                names = (f"company-{number}.example", f"Company {number}", "Client 1")
                when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
                copy.write_row((ident(1, number % 3), *names, contents[number % 500], "ultra", when))
    settle(dsn)


def _cursor(api: Served, depth: int) -> str:
    """The cursor behind the first `depth` rows, as a caller comes to it."""
    cursor: dict[str, Any] = {}
    for _ in range(depth // PAGE):
        body = json.dumps({"fields": ["id"], "limit": PAGE, **cursor}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{api.port}{PATH}", body, {**api.headers(_ORG), "content-type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:  # noqa: S310
            cursor = {"cursor": json.load(answer)["meta"]["next_cursor"]}
    return str(cursor["cursor"])


def _place(dsn: str, depth: int) -> tuple[str, str]:
    """Where the same page starts, for psql."""
    order = f"from {TABLE} where org_id = '{_ORG}' order by created_at desc, id desc"
    with psycopg.connect(dsn) as connection:
        found = connection.execute(f"select created_at::text, id::text {order} offset {depth - 1} limit 1").fetchone()
    assert found
    return found[0], found[1]


def _http(api: Served, body: dict[str, Any], folder: Path, seconds: float) -> float:
    file = folder / "body"
    file.write_text(json.dumps(body))
    job = load.Job(
        port=api.port, path=PATH, headers=api.headers(_ORG), bodies=str(file), connections=1, seconds=seconds
    )
    return float(run(module("load", job.words()), {}).words["rate"])


def _psql(server: Server, dsn: str, place: tuple[str, str], seconds: float) -> float:
    """Pages per second of one psql that is told to fetch the page again and again, its start not counted."""
    few = _seconds(server, dsn, place, 5)
    pages = max(10, int(seconds / (few / 5)))
    empty = _seconds(server, dsn, place, 0)
    return pages / (_seconds(server, dsn, place, pages) - empty)


def _seconds(server: Server, dsn: str, place: tuple[str, str], pages: int) -> float:
    command = [str(server.programs / "psql"), "-X", "-q", "-A", "-t", "-o", "/dev/null", "-d", dsn]
    text = _PSQL.format(at=place[0], row=place[1]) * pages
    began = time.perf_counter()
    subprocess.run(command, input=text, text=True, check=True)
    return time.perf_counter() - began
