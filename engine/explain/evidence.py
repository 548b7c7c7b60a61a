"""Find what a provider says behind a cell: the entries of its answer's basis about what the cell's path reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from engine.jmespath.path import CompiledPath
from engine.plan import OperationMapping, Plan
from engine.research.providers import PROVIDERS
from engine.sql.explain import READ_BASIS_SQL
from engine.store.connection import Connection
from engine.values import exact_json
from engine.values.exact_json import Json

_Place = tuple[str, ...]

#: Where answers stand in an operation's output, whichever provider gave them.
_CONTENTS: Final = tuple(provider.content for provider in PROVIDERS.values())
#: What providers call the answer as a whole.
_WHOLE: Final = ("", "content", "output")
_INDEX: Final = re.compile(r"\[(\d+)\]")


async def read_basis(connection: Connection, step_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the basis of each step result's answer: its entries with `field`, citations, reasoning, confidence."""
    if not step_ids:
        return {}
    cursor = await connection.execute(READ_BASIS_SQL, {"ids": ",".join(step_ids)})
    rows = await cursor.fetchall()
    return {step_id: [*_read_entries(exact_json.loads(text))] for step_id, text in rows}


def _read_entries(basis: Json) -> Iterator[dict[str, Any]]:
    for entry in basis if isinstance(basis, list) else ():
        if isinstance(entry, dict):
            citations = entry.get("citations")
            yield {
                "field": _read_text(entry.get("field")) or "",
                "citations": citations if isinstance(citations, list) else [],
                "reasoning": _read_text(entry.get("reasoning")),
                "confidence": _read_text(entry.get("confidence")),
            }


def _read_text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def find_evidence(
    plan: Plan, operation: str | None, name: str, element: int | None, basis: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the entries of a basis that are about the column `name`: what its path reads, parts of it, or around it.

    Under `rows` they are those about the element; for rows within rows none, since their elements are counted through.
    """
    mapping = plan.find_mapping(operation)
    if mapping is None or not basis:
        return []
    places = [*_list_places(plan, mapping, name, element)]
    return [entry for entry in basis if any(_is_about(_split_field(entry["field"]), place) for place in places)]


def _list_places(plan: Plan, mapping: OperationMapping, name: str, element: int | None) -> Iterator[_Place]:
    """Yield the places inside the answer that a column is read from; `()` is the whole answer."""
    for source in plan.field(name).coalesce or (name,):
        path = mapping.paths[plan.fields.index(plan.field(source))]
        if path is None:
            continue
        for steps in path.reads:
            if steps[:1] == ("item",):
                yield from (
                    (*place, str(element), *steps[1:])
                    for place in _list_row_places(mapping)
                    if element is not None and mapping.inner_rows is None
                )
            else:
                yield from _place_steps(steps)


def _list_row_places(mapping: OperationMapping) -> Iterator[_Place]:
    rows: CompiledPath | None = mapping.rows
    for steps in rows.reads if rows is not None else ():
        yield from _place_steps(steps)


def _place_steps(steps: _Place) -> Iterator[_Place]:
    """Yield where inside the answer dotted steps lead; the whole of it, where they lead to something around it."""
    for content in _CONTENTS:
        if steps[: len(content)] == content:
            yield steps[len(content) :]
        elif steps and content[: len(steps)] == steps:
            yield ()


def _split_field(field: str) -> _Place:
    """Split a provider's name of a part, `rounds.0.name` or `rounds[0].name`; `()` is the whole answer."""
    return () if field in _WHOLE else tuple(_INDEX.sub(r".\1", field).split("."))


def _is_about(part: _Place, place: _Place) -> bool:
    shorter = min(len(part), len(place))
    return part[:shorter] == place[:shorter]
