"""Name the value of a row that is too long for an index: Postgres reports neither the column nor what to do."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import psycopg

from engine.plan import Plan
from engine.rows.fold import list_indexed_fields

#: The functions of Postgres that report a value too long for an index; their message may be in any language.
_REPORTERS: Final = ("_bt_check_third_page", "index_form_tuple", "index_form_tuple_context")
#: The most bytes of an entry of a btree index, whose values are compressed if that helps.
_MOST_BYTES: Final = 2704


def describe_long_value(
    plan: Plan, rows: Iterable[Mapping[str, Any]], error: BaseException | None
) -> tuple[str, str] | None:
    """Return the column of the indexed text in `rows` that takes most room, and a sentence; None for other errors."""
    if not isinstance(error, psycopg.Error) or error.diag.source_function not in _REPORTERS:
        return None
    names = [column.name for column in list_indexed_fields(plan)]
    values = [(value, name) for row in rows for name in names if isinstance(value := row.get(name), str)]
    if not values:
        return None
    value, name = max(values, key=lambda pair: len(zlib.compress(pair[0].encode())))
    return name, (
        f"`{name}` has {len(value)} characters, more than its index takes ({_MOST_BYTES} bytes, compressed): shorten"
        " it, as the normalizer `fingerprint` does"
    )
