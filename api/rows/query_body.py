"""Parse the body of a query and build the query from it, once it is known whose rows the caller may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from api.http.body import split_fields
from api.http.errors import Fault, InvalidBody
from api.rows.cursor import CursorSigner
from api.rows.json_schemas import MAX_FILTER_VALUES
from engine.plan import Plan
from engine.rows.query import OPTIONS, Query, QueryRejected, build_query
from engine.values.exact_json import ExactError, Json, loads
from engine.values.uuid_text import parse_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryBody:
    """The body of a query. `org_id` is the organisation it names, which the caller need not be allowed to see."""

    parameters: Mapping[str, Json]  # filters, `limit`, `offset` and `fields`
    cursor: str | None
    org_id: str | None

    @classmethod
    def parse(cls, plan: Plan, raw: bytes) -> QueryBody:
        """Parse the body of a query; an empty one asks for every row. Raises Fault 422."""
        known = (*(column.name for column in plan.filters), *OPTIONS, "cursor", "org_id")
        fields = {name: _decode_value(name, bytes(value)) for name, value in split_fields(raw or b"{}", known).items()}
        cursor, org_id = fields.pop("cursor", None), fields.pop("org_id", None)
        if not isinstance(cursor, str | None):
            hint = "send `meta.next_cursor` of the page before"
            raise InvalidBody("`cursor` is not a string", field="cursor", hint=hint)
        fields |= {name: _convert_whole_number(fields[name]) for name in ("limit", "offset") if name in fields}
        for name, value in fields.items():
            if isinstance(value, list) and len(value) > MAX_FILTER_VALUES:
                hint = f"list at most {MAX_FILTER_VALUES}"
                raise InvalidBody(f"`{name}` lists {len(value)} values", field=name, hint=hint)
        return cls(parameters=fields, cursor=cursor, org_id=_parse_organisation(org_id))

    def build_query(self, plan: Plan, org_id: str, signer: CursorSigner) -> Query:
        """Build the query for the rows of `org_id`. Raises Fault 422 for a parameter, 400 for the cursor."""
        try:
            query = build_query(plan, org_id, self.parameters)
        except QueryRejected as error:
            detail = [reason.as_dict() for reason in error.reasons]
            raise Fault(error.reasons[0].code, error.message, detail=detail, hint=error.hint) from error
        if self.cursor is None:
            return query
        return replace(query, after=signer.decode_cursor(plan.name, org_id, query.filters, self.cursor))


def _decode_value(name: str, text: bytes) -> Any:
    try:
        return loads(text)
    except ExactError as error:
        raise InvalidBody(f"`{name}`: {error}", field=name) from error


def _convert_whole_number(value: Json) -> Json:
    """Return 10 for 10.0, which JSON does not distinguish."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parse_organisation(value: Json) -> str | None:
    if value is None:
        return None
    org_id = parse_uuid(value)
    if org_id is None:
        raise InvalidBody("`org_id` is not a UUID", field="org_id")
    return org_id
