"""Decide which refused elements of a step result may be a key, by their values for the key's columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.backfill.reader import fetch_results
from engine.explain.key_lookup import PartialKey
from engine.plan import Field, OperationMapping, Plan
from engine.rows.elements import Element, list_elements
from engine.rows.extract import NOTES, Rejected, convert_value, evaluate_path
from engine.rows.fetch_plan import FetchPlan
from engine.rows.stored_result import StepResultRow, build_stored_document
from engine.store.connection import Connection
from engine.values.exact_json import ExactError, Json

Reasons = Sequence[Mapping[str, Any]]


def list_refused_elements(reasons: Reasons) -> set[int]:
    """Return the indices of the elements that were refused, from the reasons in a ledger entry."""
    refusals = [reason for reason in reasons if reason["code"] not in {*NOTES, "duplicate"}]
    return {reason["element"] for reason in refusals if reason.get("element") is not None}


@dataclass(frozen=True)
class ElementMatcher:
    """Compares a key with refused elements, by those of its columns that are read from elements."""

    plan: Plan
    key: PartialKey

    @property
    def columns(self) -> list[Field]:
        """The columns of the key that are read from elements. If there are none, every element may be the key."""
        shared = {column.name for column in self.plan.parent_key}
        return [column for column in self.plan.key_fields if column.name in self.key and column.name not in shared]

    async def narrow_reasons(self, connection: Connection, refused: Mapping[str, Reasons]) -> dict[str, Reasons]:
        """Return, for each step result, only the reasons of refused elements that may be the key.

        `refused` maps the id of a step result to the reasons in its ledger entry.
        """
        fetch_plan = FetchPlan(self.plan, copies_documents=False)
        narrowed: dict[str, Reasons] = {}
        for row in await fetch_results(connection, fetch_plan, list(refused)):
            reasons = refused[row[0]]
            possible = self._list_possible(fetch_plan, row, list_refused_elements(reasons))
            narrowed[row[0]] = [reason for reason in reasons if reason.get("element") in possible]
        return narrowed

    def _list_possible(self, fetch_plan: FetchPlan, row: StepResultRow, refused: set[int]) -> set[int]:
        mapping = self.plan.find_mapping(row[5])
        try:
            document = build_stored_document(fetch_plan, row)
            outer = evaluate_path(mapping.rows, document, "rows") if mapping and mapping.rows else None
        except (ExactError, Rejected):
            return refused
        if mapping is None or not isinstance(outer, list):
            return refused
        elements = dict(enumerate(list_elements(mapping, document, outer)))
        return {
            index
            for index in refused & elements.keys()
            if all(self._can_have(mapping, elements[index], column) for column in self.columns)
        }

    def _can_have(self, mapping: OperationMapping, element: Element, column: Field) -> bool:
        wanted = self.key[column.name]
        if element.code:
            return _mentions_text(element.value, wanted)
        values = [_find_value(mapping, element.document, name, column) for name in column.coalesce or (column.name,)]
        present = [value for value in values if value.raw is not None]
        if not present:
            return wanted is None
        return any(value.stored == wanted if value.is_valid else _mentions_text(value.raw, wanted) for value in present)


@dataclass(frozen=True, slots=True)
class _Value:
    """The value of a column in an element: `raw` as found there, `stored` as it would be stored if it is valid."""

    raw: Json
    stored: Any = None
    is_valid: bool = True


def _find_value(mapping: OperationMapping, document: dict[str, Any], name: str, column: Field) -> _Value:
    """Return the value of the field `name` in an element, converted as `column`, which may be derived from it."""
    raw: Json = None
    try:
        source, path = next(pair for pair in mapping.sources if pair[0].name == name)
        raw = evaluate_path(path, document, name)
        stored = convert_value(source, raw)
        if name != column.name:
            stored = convert_value(
                next(candidate for candidate in mapping.fields if candidate.name == column.name), stored
            )
    except Rejected as rejected:
        is_missing = rejected.reason.code == "missing_required"
        return _Value(None if is_missing else raw, is_valid=False)
    return _Value(None if stored is None else raw, stored)


def _mentions_text(value: Json, wanted: Any) -> bool:
    """Return whether a refused value contains the text of the key's value `wanted`, in any letter case."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return wanted is not None and str(wanted).casefold() in text.casefold()
