"""Extract one file of step results to one file of outputs, a batch at a time; skip a file that was extracted before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import msgspec

from engine.files.cells import NOT_FOUND
from engine.files.extractor import Extractor
from engine.files.schemas import INPUT, arrow, build_output_schema, parquet
from engine.plan import Plan
from engine.rows.outcomes import ExtractionOutcome, Outcome
from engine.values.uuid_text import parse_uuid

#: The endings of the names of files with step results.
INPUT_ENDINGS: Final = (".parquet", ".jsonl", ".ndjson")
#: The counts of an account (step results per outcome) beside `found` and the outcomes.
COUNTS: Final = ("elements", "rows", "duplicates", "refused", "skipped")
#: The most step results, and their bytes, that are held in memory.
_BATCH_ROWS: Final = 100
_BATCH_BYTES: Final = 4 * 1024 * 1024
_UNFINISHED: Final = ".unfinished"
_ACCOUNT_KEY: Final = b"dex_account"
_OUTCOMES: Final = {
    ExtractionOutcome.ROW.value: Outcome.WRITTEN,
    ExtractionOutcome.FILTERED.value: Outcome.FILTERED,
    ExtractionOutcome.REJECTED.value: Outcome.REJECTED,
}
_LINE: Final[msgspec.json.Decoder[dict[str, msgspec.Raw]]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


def extract_file(extractor: Extractor, source: Path, target: Path) -> dict[str, int]:
    """Write the output of every step result in `source` to `target`; return the account: step results per outcome.

    A target that the same version of the spec made from the same file is left as it is. An unfinished file has another
    name; those that a killed process left are removed. Raises OSError, and pyarrow's errors for an unreadable file.
    """
    plan, state = extractor.plan, _describe_source(source)
    known = _read_account(target, plan, state)
    if known is not None:
        return known
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{escape(target.name)}.*{_UNFINISHED}"):
        left.unlink(missing_ok=True)
    unfinished = target.with_name(f"{target.name}.{token_hex(4)}{_UNFINISHED}")
    try:
        account = _write_outputs(extractor, source, unfinished, state)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    unfinished.replace(target)
    return dict(account)


def _write_outputs(extractor: Extractor, source: Path, target: Path, state: list[int]) -> Counter[str]:
    plan = extractor.plan
    account: Counter[str] = Counter()
    with parquet.ParquetWriter(target, build_output_schema(plan), compression="zstd") as writer:
        for table in _read_tables(plan, source):
            output = extractor(table)
            _count_outcomes(account, output)
            writer.write_table(output)
        entry = {"spec_digest": plan.digest, "source": state, "account": dict(account)}
        writer.add_key_value_metadata({_ACCOUNT_KEY: json.dumps(entry)})
    return account


def _describe_source(source: Path) -> list[int]:
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _read_account(target: Path, plan: Plan, state: list[int]) -> dict[str, int] | None:
    """Return the account stored in `target` if this version of the spec made it from the source as it is; else None.

    `state` is the size and the modification time of the source.
    """
    try:
        metadata = parquet.read_metadata(target).metadata or {}
        entry = json.loads(metadata[_ACCOUNT_KEY])
    except (OSError, KeyError, ValueError, arrow.ArrowException):
        return None
    is_present = entry["spec_digest"] == plan.digest and entry["source"] == state
    return {name: int(count) for name, count in entry["account"].items()} if is_present else None


def _count_outcomes(account: Counter[str], output: Any) -> None:
    outcomes = Counter(output["outcome"].to_pylist())
    account["skipped"] += outcomes.pop(NOT_FOUND, 0)
    account["found"] += sum(outcomes.values())
    account.update({_OUTCOMES[outcome].value: count for outcome, count in outcomes.items()})
    for name in ("elements", "duplicates", "refused"):
        account[name] += sum(output[name].to_pylist())
    account["rows"] += sum(map(len, output["rows"].to_pylist()))


# --- step results of a file -----------------------------------------------------------------------------------------


def _read_tables(plan: Plan, source: Path) -> Iterator[Any]:
    """Yield the step results of a file as tables, some at a time."""
    if source.suffix == ".parquet":
        # With `pre_buffer`, pyarrow's default, everything read of a file stays in memory.
        with parquet.ParquetFile(source, pre_buffer=False) as file:
            known = [name for name in INPUT.names if name in file.schema_arrow.names]
            for batch in file.iter_batches(_choose_batch_rows(file.metadata), columns=known):
                yield arrow.Table.from_batches([batch])
        return
    results, size = list[dict[str, Any]](), 0
    with source.open("rb") as lines:
        for line in filter(bytes.strip, lines):
            results.append(read_line(plan, line))
            size += len(line)
            if size >= _BATCH_BYTES:
                yield arrow.Table.from_pylist(results, schema=INPUT)
                results, size = [], 0
    if results:
        yield arrow.Table.from_pylist(results, schema=INPUT)


def _choose_batch_rows(metadata: Any) -> int:
    """Return how many rows of a Parquet file to hold in memory, by the row group whose rows are largest on average."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size / group.num_rows for group in groups if group.num_rows), default=1)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(largest, 1))))


def read_line(plan: Plan, line: bytes) -> dict[str, Any]:
    """Return the step result in a line of JSON.

    The line is an object with the columns of a step result, an `output_payload`, or only an output. The text of
    documents stays as written. A line that is no object becomes an `output_payload`, which extraction then rejects with
    a reason.
    """
    try:
        fields = _LINE.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return {"output_payload": line.decode(errors="replace")}
    if "output_payload" not in fields:
        whole = line if "operation_result" in fields else _wrap_output(plan, line)
        return {"output_payload": whole.decode(errors="replace")}
    result: dict[str, Any] = {}
    for name in INPUT.names:
        raw = bytes(fields.get(name, b"null"))
        value = None if raw == b"null" else raw.decode(errors="replace")
        result[name] = value if value is None else _read_field(name, value)
    return result


def _wrap_output(plan: Plan, output: bytes) -> bytes:
    """Return an `output_payload` around an output; its context is the output itself, as after a first step."""
    operation = msgspec.json.encode(plan.operations[0])
    head = b'{"operation_result":{"status":"found","operation_id":%b,"output":%b}' % (operation, output)
    return b'%b,"cumulative_context":%b}' % (head, output)


def _read_field(name: str, text: str) -> Any:
    """Return a column's value from its JSON text; None for a value that the column cannot hold."""
    if name in ("input_payload", "output_payload"):
        return json.loads(text) if text.startswith('"') else text
    value = json.loads(text)
    match name:
        case "step_position":
            return value if isinstance(value, int) and abs(value) < 2**31 else None
        case "recorded_at":
            return _read_moment(value)
        case "status":
            return value if isinstance(value, str) else None
    return parse_uuid(value)


def _read_moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None
