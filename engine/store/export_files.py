"""Write an export as a file: CSV with a header, lines of JSON, or Parquet. The rows come from `stream_rows`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from importlib.util import find_spec
from typing import Any, Final

import anyio.to_thread
import msgspec

from engine.errors import EngineError
from engine.plan import Plan
from engine.rows.export_formats import ExportFormat
from engine.rows.query import Query
from engine.sql.export import list_export_columns
from engine.store.connection import Connection
from engine.store.export import Block, stream_rows
from engine.values.column_types import ColumnType

#: Bytes of CSV that become one row group of a Parquet file; they are in memory twice, as text and as columns.
_GROUP_BYTES: Final = 512 * 1024
_LISTS: Final[msgspec.json.Decoder[list[str | None]]] = msgspec.json.Decoder(list[str | None])


class ParquetMissing(EngineError):
    """The library that writes Parquet is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Parquet needs `pyarrow`", hint="install the optional part: `pip install data-engine-x[parquet]`"
        )


def check_format(format_: ExportFormat) -> None:
    """Raise ParquetMissing if the library that writes the format is not installed."""
    if format_ is ExportFormat.PARQUET and find_spec("pyarrow") is None:
        raise ParquetMissing


async def write_export(
    connection: Connection, plan: Plan, query: Query, format_: ExportFormat
) -> AsyncGenerator[bytes]:
    """Yield a file with every row that matches, as bytes. Raises ParquetMissing as `check_format` does."""
    check_format(format_)
    columns = list_export_columns(plan, query)
    async with aclosing(stream_rows(connection, plan, query, format_)) as blocks:
        async for part in _write_file(format_, columns, blocks):
            yield part


async def _write_file(
    format_: ExportFormat, columns: Mapping[str, ColumnType], blocks: AsyncGenerator[Block]
) -> AsyncGenerator[bytes]:
    match format_:
        case ExportFormat.NDJSON:
            async for block in blocks:
                yield b"".join(block)
        case ExportFormat.CSV:
            yield _write_csv_head(columns)
            async for block in blocks:
                yield b"".join(row[:-1] + b"\r\n" for row in block)  # RFC 4180 wants this line end
        case ExportFormat.PARQUET:
            async for part in _write_parquet(columns, blocks):
                yield part


def _write_csv_head(columns: Mapping[str, ColumnType]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(columns)
    return text.getvalue().encode()


async def _write_parquet(columns: Mapping[str, ColumnType], blocks: AsyncGenerator[Block]) -> AsyncGenerator[bytes]:
    file = _ParquetFile(columns)
    waiting, size = Block(), 0
    async for block in blocks:
        waiting.append(b"".join(block))
        size += len(waiting[-1])
        if size >= _GROUP_BYTES:
            yield await anyio.to_thread.run_sync(file.write_group, waiting)
            waiting, size = Block(), 0
    if waiting:
        yield await anyio.to_thread.run_sync(file.write_group, waiting)
    yield file.close()


class _ParquetFile:
    """A Parquet file that returns its bytes as they are written."""

    def __init__(self, columns: Mapping[str, ColumnType]) -> None:
        # Arrow's default memory pool keeps some 25 MB of one group. The first import of pyarrow reads the variable.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        import pyarrow as arrow
        from pyarrow import parquet

        self._columns = columns
        self._schema = arrow.schema([(name, _find_arrow_type(column)) for name, column in columns.items()])
        self._sink = _Sink()
        short = [name for name, column in columns.items() if column.name != "jsonb"]  # documents are rarely equal
        self._writer = parquet.ParquetWriter(
            arrow.PythonFile(self._sink, mode="w"), self._schema, compression="zstd", use_dictionary=short
        )

    def write_group(self, rows: Block) -> bytes:
        """Write rows of CSV as one row group; return the bytes that this added to the file."""
        import pyarrow as arrow
        from pyarrow import csv as arrow_csv

        data = b"".join(rows)
        rows.clear()  # `data` has them: keep only one copy
        numbers = {"date": arrow.int32(), "timestamptz": arrow.int64(), "text[]": arrow.string()}
        read = {name: numbers.get(column.name, self._schema.field(name).type) for name, column in self._columns.items()}
        table = arrow_csv.read_csv(
            arrow.BufferReader(data),
            arrow_csv.ReadOptions(column_names=list(self._columns), block_size=len(data) + 1, use_threads=False),
            # A row of one column without a value is an empty line.
            arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            arrow_csv.ConvertOptions(
                column_types=read,
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        del data  # the table has copies of its values
        columns = [self._convert_column(name, table[name].combine_chunks()) for name in self._columns]
        self._writer.write_table(arrow.table(columns, schema=self._schema))
        del table, columns
        arrow.default_memory_pool().release_unused()
        return self._sink.take_bytes()

    def _convert_column(self, name: str, column: Any) -> Any:
        """Return a column as it was read in the type of the file.

        Days and times were read as numbers, which stay as they are: `cast` would import `pyarrow.compute`, 10 MB of it.
        """
        import pyarrow as arrow

        type_ = self._schema.field(name).type
        if self._columns[name].name != "text[]":
            return column.view(type_)
        values = [None if text is None else _LISTS.decode(text) for text in column.to_pylist()]
        return arrow.array(values, type_)

    def close(self) -> bytes:
        """Finish the file; return its last bytes."""
        self._writer.close()
        return self._sink.take_bytes()


class _Sink(io.RawIOBase):
    """A writable stream that keeps the written bytes until `take_bytes` returns them."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._position += len(self._parts[-1])
        return len(self._parts[-1])

    def take_bytes(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _find_arrow_type(column: ColumnType) -> Any:
    """Return the Arrow type of a column; text for `numeric`, whose precision is unlimited, and for jsonb."""
    import pyarrow as arrow

    types = {
        "boolean": arrow.bool_(),
        "integer": arrow.int32(),
        "bigint": arrow.int64(),
        "double precision": arrow.float64(),
        "date": arrow.date32(),
        "timestamptz": arrow.timestamp("us", tz="UTC"),
        "text[]": arrow.list_(arrow.string()),
    }
    return types.get(column.name, arrow.string())
