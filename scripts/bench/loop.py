"""Benchmark of the upsert without HTTP: `python -m scripts.bench.loop <job>` (JSON).

It executes the engine's statement with psycopg; the parameters are built before the measurement.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from psycopg import AsyncConnection

from engine import plans, project
from engine.sql import upsert
from engine.store.connection import RawJson, register_raw_json
from engine.store.upsert import Upsert
from scripts.bench.load import count_marks
from scripts.bench.text import TABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to write: the bodies from the benchmark over HTTP, and for how long."""

    dsn: str
    org_id: str
    bodies: str
    connections: int
    seconds: float

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def build_parameters(job: Job) -> Iterator[dict[str, Any]]:
    """Yield the bodies as parameters of the statement; MARK is replaced by a different text in each."""
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    lines = map(decoder.decode, Path(job.bodies).read_bytes().splitlines())
    statement = Upsert.build(plans.find_plan(plans.load_plans(project.find_project()), TABLE))
    rows = [statement.build_parameters(job.org_id, dict(map(_parse_column, row.items()))) for row in lines]
    for row, mark in zip(cycle(rows), count_marks(), strict=False):
        yield {**row, "parallel_run_id": mark.decode()}


def _parse_column(column: tuple[str, msgspec.Raw]) -> tuple[str, Any]:
    name, text = column
    return name, RawJson(bytes(text)) if name == "raw_parallel_output" else msgspec.json.decode(text)


async def write_rows(job: Job) -> dict[str, float]:
    """Write rows for the job's `seconds` over all connections concurrently; return their number and rate."""
    plan = plans.find_plan(plans.load_plans(project.find_project()), TABLE)
    text, rows = upsert.build_upsert_sql(plan), build_parameters(job)
    connections = [await AsyncConnection.connect(job.dsn, autocommit=True) for _ in range(job.connections)]
    began = time.perf_counter()
    done = await asyncio.gather(
        *(_write_until(began + job.seconds, connection, text, rows) for connection in connections)
    )
    return {"requests": sum(done), "rate": sum(done) / (time.perf_counter() - began)}


async def _write_until(stop: float, connection: AsyncConnection[Any], text: str, rows: Iterator[dict[str, Any]]) -> int:
    register_raw_json(connection)
    count = 0
    async with connection, connection.cursor() as cursor:
        while time.perf_counter() < stop:
            await cursor.execute(text, next(rows))
            assert await cursor.fetchone()
            count += 1
    return count


def main() -> None:
    print(json.dumps(uvloop.run(write_rows(Job(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
