"""The upsert without HTTP: `python -m scripts.bench.loop <job>`.

In: a Job as JSON. Out: how many statements were answered, how fast. Nothing but psycopg, the engine's statement, and
parameters that are ready.
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
from engine.store.raw import RawJson, register
from scripts.bench.load import words
from scripts.bench.text import TABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to write: the same bodies as over HTTP."""

    dsn: str
    org_id: str
    bodies: str
    connections: int
    seconds: float

    def words(self) -> str:
        return json.dumps(asdict(self))


def parameters(job: Job) -> Iterator[dict[str, Any]]:
    """The bodies as parameters, the document as its text; the marked field with a word of its own."""
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    lines = map(decoder.decode, Path(job.bodies).read_bytes().splitlines())
    rows = [{"org_id": job.org_id, "source_recorded_at": None, **dict(map(_value, row.items()))} for row in lines]
    for row, word in zip(cycle(rows), words(), strict=False):
        yield {**row, "parallel_run_id": word.decode()}


def _value(item: tuple[str, msgspec.Raw]) -> tuple[str, Any]:
    name, text = item
    return name, RawJson(bytes(text)) if name == "raw_parallel_output" else msgspec.json.decode(text)


async def run(job: Job) -> dict[str, float]:
    """Write for `seconds` over all connections at once; each takes the next row."""
    plan = plans.pick(plans.load(project.find()), TABLE)
    text, rows = upsert.live(plan), parameters(job)
    connections = [await AsyncConnection.connect(job.dsn, autocommit=True) for _ in range(job.connections)]
    began = time.perf_counter()
    done = await asyncio.gather(*(_write(item, text, rows, began + job.seconds) for item in connections))
    return {"requests": sum(done), "rate": sum(done) / (time.perf_counter() - began)}


async def _write(connection: AsyncConnection[Any], text: str, rows: Iterator[dict[str, Any]], stop: float) -> int:
    register(connection)
    count = 0
    async with connection, connection.cursor() as cursor:
        while time.perf_counter() < stop:
            await cursor.execute(text, next(rows))
            assert await cursor.fetchone()
            count += 1
    return count


def main() -> None:
    print(json.dumps(uvloop.run(run(Job(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
