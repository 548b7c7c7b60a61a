"""Encode extracted rows as JSON in which every number keeps its digits."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from engine.plan import Plan
from engine.rows.extract import Extraction, Row
from engine.values import exact_json


def dump_json(value: Any, *, indent: bool = False) -> bytes:
    """Encode `value` as JSON; besides JSON values it may contain results of `render_rows`, decimals and dates."""
    return orjson.dumps(value, default=_encode_value, option=orjson.OPT_INDENT_2 if indent else None)


def embed_json(text: str | bytes) -> orjson.Fragment:
    """Return a value that `dump_json` writes as this JSON text, without parsing it."""
    return orjson.Fragment(text)


def embed_value(value: exact_json.Json) -> orjson.Fragment:
    """Return a JSON value as `dump_json` writes it: each number in its own text, and what Postgres cannot store too."""
    return embed_json("".join(exact_json.write_chunks(value)).encode("utf-8", "backslashreplace"))


def render_rows(plan: Plan, extracted: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Return the rows for `dump_json`, with each document as embedded JSON instead of text."""
    documents = {column.name for column in plan.fields if column.type.name == "jsonb"}
    return [
        {
            name: embed_json(value) if name in documents and isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in extracted
    ]


def render_extraction(plan: Plan, extraction: Extraction) -> dict[str, Any]:
    """Return the extraction for `dump_json`, as `{"outcome", "rows", "reasons"}`."""
    return {
        "outcome": extraction.outcome,
        "rows": render_rows(plan, extraction.rows),
        "reasons": [reason.as_dict() for reason in extraction.reasons],
    }


def _encode_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"`{type(value).__name__}` is no column value")
