"""The live upsert over HTTP, beside a bare psycopg loop with the same statement.

In: a server. Out: a Group. Bodies of 29 KB over 2,000 keys, no two the same, so every request writes. 16 connections
over HTTP; 8 in the loop, as many as the API's own pool has.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench import load, loop
from scripts.bench.api_process import serve
from scripts.bench.dataset import Server, fill, ident
from scripts.bench.process import module, run
from scripts.bench.result import Group, Line
from scripts.bench.text import Author

SIZE = 28_500  # bytes of a document; with what is around it 29 KB
KEYS = 2_000
PATH = "/api/internal/company-intel-briefings/upsert"


def measure(server: Server, rounds: int, seconds: float, say: Callable[[str], None]) -> Group:
    """Let both write for `seconds`, in turns."""
    with server.database("live") as dsn, tempfile.TemporaryDirectory() as folder:
        fill(dsn, 4, 0)  # the organisations, submissions and runs that bodies name
        bodies = Path(folder) / "bodies"
        size = _write_bodies(bodies)
        with serve(dsn) as api:
            org = str(ident(1, 0))
            http = load.Job(
                port=api.port, path=PATH, headers=api.headers(org), bodies=str(bodies), connections=16, seconds=seconds
            )
            bare = loop.Job(dsn=dsn, org_id=org, bodies=str(bodies), connections=8, seconds=seconds)
            found: list[tuple[dict[str, Any], dict[str, Any]]] = []
            for number in range(rounds + 1):  # the first fills the table and is not counted
                say(f"live upsert: round {number} of {rounds}")
                bare_words = run(module("loop", bare.words()), {}).words
                found.append((run(module("load", http.words()), {}).words, bare_words))
    title = (
        f"live upsert over HTTP: bodies of {size / 1000:.0f} KB, {KEYS:,} keys, 16 connections; {server.name};"
        f" median of {rounds}"
    )
    return _group(title, found[1:])


def _group(title: str, found: list[tuple[dict[str, Any], dict[str, Any]]]) -> Group:
    ratio = median(http["rate"] / bare["rate"] for http, bare in found)
    rate, loop_rate, middle, slow = (
        median(words)
        for words in (
            [http["rate"] for http, _ in found],
            [bare["rate"] for _, bare in found],
            [http["p50"] for http, _ in found],
            [http["p99"] for http, _ in found],
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


def _write_bodies(file: Path) -> int:
    """A body for each key; return the size of one."""
    bodies = list(_bodies())
    file.write_text("\n".join(bodies))
    return len(bodies[0])


def _bodies() -> Iterator[str]:
    author = Author.of(2)
    source = {"source_submission_id": str(ident(2, 0)), "source_pipeline_run_id": str(ident(3, 0))}
    for key in range(KEYS):
        yield json.dumps(
            {
                "company_domain": f"company-{key}.example",
                "company_name": f"Company {key}",
                "client_company_name": f"Client {key % 4}",
                "client_company_description": author.sentences[key % 4],
                "raw_parallel_output": author.content(key, SIZE),
                "parallel_run_id": load.MARK.decode(),
                "processor": "ultra",
                **source,
            },
            separators=(",", ":"),
        )
