"""The body of a query -> what is asked.

In: a body. Out: an Asked: filters normalized as their columns are, a bounded page, the columns to show. It must not
know who asks, nor SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Raw

from api import body
from api.auth import as_uuid
from api.fault import Fault, invalid
from api.models import MOST_OFFSET, MOST_ROWS, MOST_VALUES
from api.upsert import refused
from engine.diagnostic import nearest
from engine.exact import loads
from engine.extract import Rejected, admit
from engine.plan import Field, Plan
from engine.sql.text import columns

_PAGE = ("limit", "offset", "cursor", "fields", "org_id")
_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query as it was asked. `org_id` is whom the body names, not yet whom the caller may see."""

    filters: dict[str, Any]
    limit: int
    offset: int
    cursor: str | None
    columns: tuple[str, ...]
    org_id: str | None


@dataclass(frozen=True)
class Questions:
    """Reads the queries of one plan."""

    plan: Plan

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The fields of a body."""
        return (*(item.name for item in self.plan.filters), *_PAGE)

    def read(self, raw: bytes) -> Asked:
        """Return what a body asks. Raises Fault 422 for the first thing that cannot be asked."""
        given = {name: value for name, value in body.split(raw or b"{}", self.known).items() if bytes(value) != b"null"}
        asked = Asked(
            filters={one.name: self._filter(one, given[one.name]) for one in self.plan.filters if one.name in given},
            limit=_number(given, "limit", 1, MOST_ROWS, _LIMIT),
            offset=_number(given, "offset", 0, MOST_OFFSET, 0),
            cursor=_text(given, "cursor"),
            columns=self._columns(given.get("fields")),
            org_id=_org_id(given),
        )
        if asked.cursor is not None and asked.offset:
            raise invalid("`cursor` and `offset` are given both", field="offset", hint="a cursor is a place already")
        return asked

    def _filter(self, item: Field, raw: Raw) -> Any:
        value = _json(item.name, raw)
        if not isinstance(value, list):
            return self._one(item, value)
        if len(value) > MOST_VALUES:
            sentence = f"`{item.name}` lists {len(value)} values"
            raise invalid(sentence, field=item.name, hint=f"list at most {MOST_VALUES}")
        return [self._one(item, element) for element in value]

    def _one(self, item: Field, value: Any) -> Any:
        try:
            admitted = admit(replace(item, required=False), value)
        except Rejected as rejected:
            raise refused_filter(rejected) from rejected
        if admitted is None:
            raise invalid(f"`{item.name}` is blank", field=item.name, hint="leave the filter out to ask for every row")
        return admitted

    def _columns(self, raw: Raw | None) -> tuple[str, ...]:
        known = columns(self.plan)
        if raw is None:
            return known
        names = _json("fields", raw)
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise invalid("`fields` is not a list of column names", field="fields", hint=_listed(known))
        for name in names:
            if name not in known:
                sentence = f"`fields` names `{name[:100]}`, which is no column"
                hint = f"{nearest(name, known)} {_listed(known)}"
                raise invalid(sentence, field="fields", hint=hint, code="unknown_field")
        return tuple(dict.fromkeys(names))


def refused_filter(rejected: Rejected) -> Fault:
    """Return the 422 for a filter's value."""
    fault = refused([rejected.reason])
    fault.hint = "give the filter a value its column could hold"
    return fault


def _json(name: str, raw: Raw) -> Any:
    try:
        return loads(bytes(raw))
    except ValueError as error:
        raise invalid(f"`{name}`: {error}", field=name) from error


def _number(given: dict[str, Raw], name: str, least: int, most: int, default: int) -> int:
    if name not in given:
        return default
    try:
        number = msgspec.json.decode(given[name], type=int)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _out_of_range(name, least, most) from error
    if not least <= number <= most:
        raise _out_of_range(name, least, most)
    return number


def _out_of_range(name: str, least: int, most: int) -> Fault:
    return invalid(f"`{name}` is not a whole number from {least} to {most}", field=name, hint="page with `cursor`")


def _text(given: dict[str, Raw], name: str) -> str | None:
    if name not in given:
        return None
    try:
        return msgspec.json.decode(given[name], type=str)
    except msgspec.MsgspecError as error:
        raise invalid(f"`{name}` is not a string", field=name) from error


def _org_id(given: dict[str, Raw]) -> str | None:
    text = _text(given, "org_id")
    if text is None:
        return None
    org_id = as_uuid(text)
    if org_id is None:
        raise invalid("`org_id` is not a UUID", field="org_id")
    return org_id


def _listed(known: tuple[str, ...]) -> str:
    return "columns: " + ", ".join(f"`{name}`" for name in known)
