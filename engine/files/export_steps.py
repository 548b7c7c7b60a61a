"""Write step results to Parquet files, one per organisation and month, with the columns that an extraction reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from engine.files.schemas import INPUT, arrow, parquet
from engine.sql.step_files import SELECT_FILES_SQL, SELECT_STEPS_SQL
from engine.store.connection import Connection, connect, fetch_rows
from engine.store.errors import wrap_errors

#: Step results per fetch, and bytes of documents per row group: they bound what is held in memory.
_FETCH_SIZE: Final = 50
_GROUP_BYTES: Final = 8 * 1024 * 1024


async def write_step_files(
    dsn: str,
    folder: Path,
    org_id: str | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Write the step results that have an output as `ORG/YYYY-MM.parquet` below `folder`.

    Returns the numbers of files and of step results. `progress` is called after each file with the number of step
    results written so far and in total. Raises OSError when a file cannot be written.
    """
    done = 0
    async with wrap_errors(), await connect(dsn) as connection:
        files = await fetch_rows(connection, SELECT_FILES_SQL, {"org_id": org_id})
        total = sum(count for _, _, count in files)
        for org, month, _ in files:
            done += await _write_month(connection, folder / org / f"{month}.parquet", org, month)
            progress(done, total)
    return len(files), done


async def _write_month(connection: Connection, target: Path, org_id: str, month: str) -> int:
    """Write the step results of one organisation and month, under another name until complete; return their number."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.unfinished")
    count = 0
    with parquet.ParquetWriter(unfinished, INPUT, compression="zstd") as writer:
        async with connection.transaction(), connection.cursor(name="dex_export_steps") as cursor:
            await cursor.execute(SELECT_STEPS_SQL, {"org_id": org_id, "month": month})
            waiting, size = list[tuple[Any, ...]](), 0
            while rows := await cursor.fetchmany(_FETCH_SIZE):
                waiting += rows
                size += sum(len(text or "") for row in rows for text in row[-2:])
                if size >= _GROUP_BYTES:
                    count += _write_group(writer, waiting)
                    waiting, size = [], 0
            count += _write_group(writer, waiting)
    unfinished.replace(target)
    return count


def _write_group(writer: Any, rows: list[tuple[Any, ...]]) -> int:
    if rows:
        writer.write_table(arrow.Table.from_pylist([dict(zip(INPUT.names, row, strict=True)) for row in rows], INPUT))
    return len(rows)
