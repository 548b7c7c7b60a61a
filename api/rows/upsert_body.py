"""The body of an upsert -> admitted rows.

In: a body. Out: a row per element, its values normalized and cast by the same `admit` that backfill uses; documents
stay text. It must not know the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Raw

from api.http import body
from api.http.errors import Fault, invalid
from api.rows.json_schemas import MOST_ROWS, SOURCES
from engine.plan import Field, Plan
from engine.rows import given_values
from engine.rows.extract import Reason, Rejected, Row, admit
from engine.store.raw import RawJson
from engine.values.exact_json import Json, loads

_NULL = b"null"
_ROWS: msgspec.json.Decoder[list[dict[str, Raw]]] = msgspec.json.Decoder(list[dict[str, Raw]])


@dataclass(slots=True)
class Admitted:
    """The rows to write, in the order of their keys, which element of the body each is, and why others are none."""

    rows: list[Row] = field(default_factory=list)
    elements: list[int] = field(default_factory=list)
    rejected: list[Reason] = field(default_factory=list)


@dataclass(frozen=True)
class Admission:
    """Admits the bodies of one plan."""

    plan: Plan

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The fields of a body."""
        names = ("rows",) if self.plan.many else self._columns
        return (*names, *SOURCES)

    def admit(self, raw: bytes) -> Admitted:
        """Return what a body holds. Raises Fault 422 naming every field that cannot be stored.

        Of a spec with `rows` one bad element does not sink the others, as long as any is good.
        """
        fields = body.split(raw, self.known)
        sources = _sources(fields)
        if self.plan.many:
            return self._many(fields.get("rows"), sources)
        row, reasons = given_values.row(self.plan, fields, _value)
        if reasons:
            raise refused(reasons)
        return Admitted([{**row, **sources}])

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.plan.fields)

    def _many(self, rows: Raw | None, sources: Row) -> Admitted:
        found = Admitted()
        last: dict[tuple[Any, ...], int] = {}  # of repeats of a key
        for index, fields in enumerate(_elements(rows)):
            if unknown := [name for name in fields if name not in self._columns]:
                raise body.unknown(unknown, self._columns, f"rows[{index}]")
            row, reasons = given_values.row(self.plan, fields, _value)
            found.rejected += [replace(reason, element=index) for reason in reasons]
            if not reasons:
                found.rows.append({**row, **sources})
                last[self._key(row)] = index
        if not found.rows:
            raise refused(found.rejected)
        found.rows = given_values.fold(self.plan, found.rows)
        found.elements = [last[self._key(row)] for row in found.rows]
        return found

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[item.name] for item in self.plan.key_fields)


def refused(reasons: list[Reason]) -> Fault:
    """Return the 422 for values that cannot be stored."""
    first = reasons[0].message
    more = f" (and {len(reasons) - 1} more)" if reasons[1:] else ""
    place = f"`{reasons[0].field}`: " if reasons[0].field and f"`{reasons[0].field}`" not in first else ""
    hint = "nothing was written; each entry of `detail` names a field and what is wrong with it"
    return Fault(422, reasons[0].code, f"{place}{first}{more}", detail=[item.as_dict() for item in reasons], hint=hint)


def _elements(rows: Raw | None) -> list[dict[str, Raw]]:
    if rows is None:
        raise invalid("`rows` is missing", field="rows", hint="send `rows`, an array of objects")
    try:
        elements = _ROWS.decode(rows)
    except msgspec.ValidationError as error:
        raise invalid(f"`rows` is not an array of objects: {error}", field="rows") from error
    if not 1 <= len(elements) <= MOST_ROWS:
        raise invalid(f"`rows` holds {len(elements)} elements", field="rows", hint=f"send 1 to {MOST_ROWS} at once")
    return elements


def _value(item: Field, raw: Raw | None) -> Any:
    if raw is None:
        return admit(item, None)
    text = bytes(raw)
    if text == _NULL:
        return admit(item, None)
    if item.type.name == "jsonb" and not item.normalizers:
        return _document(item, text)
    return admit(item, _opened(item, text))


def _document(item: Field, text: bytes) -> RawJson:
    """A document passes as it is, once it is known to hold nothing that Postgres cannot store."""
    if bad := body.unstorable(text):
        raise Rejected(Reason("wrong_type", item.name, f"it holds `{bad}`, which Postgres cannot store", None))
    return RawJson(text)


def _opened(item: Field, text: bytes) -> Json:
    if text.startswith(b'"'):
        return msgspec.json.decode(text, type=str)  # many times faster, and strings hold no numbers
    try:
        return loads(text)
    except ValueError as error:
        raise Rejected(Reason("wrong_type", item.name, str(error))) from error


def _sources(fields: Mapping[str, Raw]) -> Row:
    """The source columns that were sent. Raises Fault 422 for what is no UUID and no time."""
    row, reasons = given_values.sources({name: loads(bytes(fields[name])) for name in SOURCES if name in fields})
    if reasons:
        raise refused(reasons)
    return row
