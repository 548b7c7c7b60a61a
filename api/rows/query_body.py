"""Parse the request body of a query or an export, and build from it the query for one organisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from api.http.body import decode_value, split_fields
from api.http.errors import Fault, InvalidBody
from engine.columns import list_query_columns
from engine.plan import Plan
from engine.rows.cursor import CursorRejected, CursorSigner
from engine.rows.query import OPTIONS, Query, QueryRejected, build_query, describe_unknown_parameter
from engine.values.exact_json import Json
from engine.values.uuid_text import parse_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryBody:
    """The body of a query. `org_id` is the organisation that the body names, unchecked against the caller's."""

    parameters: Mapping[str, Json]  # filters and options
    options: Sequence[str]
    cursor: str | None = None
    org_id: str | None = None

    @classmethod
    def parse(cls, plan: Plan, raw: bytes, options: Sequence[str] = OPTIONS, *, paged: bool = True) -> QueryBody:
        """Parse the body of a query; an empty body has no filters. Raises Fault 422 for invalid fields.

        Besides filters and `org_id`, the body may have the fields named in `options`, and with `paged` a `cursor`.
        """
        known = (*list_query_columns(plan), *options, *(("cursor",) if paged else ()), "org_id")
        raw_fields = split_fields(raw or b"{}", known, partial(describe_unknown_parameter, plan, known))
        fields = {name: decode_value(name, bytes(value)) for name, value in raw_fields.items()}
        cursor, org_id = fields.pop("cursor", None), fields.pop("org_id", None)
        if not isinstance(cursor, str | None):
            hint = "send `meta.next_cursor` of the page before"
            raise InvalidBody("`cursor` is not a string", field="cursor", hint=hint)
        fields |= {name: _convert_whole_number(fields[name]) for name in ("limit", "offset") if name in fields}
        return cls(parameters=fields, options=options, cursor=cursor, org_id=parse_organisation(org_id))

    def build_query(self, plan: Plan, org_id: str, signer: CursorSigner | None = None) -> Query:
        """Build the query for rows of `org_id`. Raises Fault 422 for invalid parameters, 400 for an invalid cursor."""
        try:
            query = build_query(plan, org_id, self.parameters, self.options)
        except QueryRejected as error:
            raise build_query_fault(error) from error
        if signer is None:
            return query
        try:
            return signer.apply_cursor(plan, query, self.cursor)
        except CursorRejected as error:
            raise Fault("invalid_cursor", error.message, hint=error.hint) from error


def build_query_fault(error: QueryRejected) -> Fault:
    """Return the Fault 422 of an invalid query, with an entry in `detail` per invalid parameter."""
    detail = [reason.as_dict() for reason in error.reasons]
    return Fault(error.reasons[0].code, error.message, detail=detail, hint=error.hint, status=422)


def _convert_whole_number(value: Json) -> Json:
    """Convert a float without a fraction, such as 10.0, to an int, since JSON does not distinguish them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parse_organisation(value: Json) -> str | None:
    """Return the UUID in `org_id` as canonical text, None for null. Raises Fault 422 for other values."""
    if value is None:
        return None
    org_id = parse_uuid(value)
    if org_id is None:
        raise InvalidBody("`org_id` is not a UUID", field="org_id")
    return org_id
