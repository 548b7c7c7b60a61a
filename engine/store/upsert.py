"""One row, live: admitted values in, the stored row out.

In: a plan's statement, an organisation, values by field. Out: a Stored row with its outcome. It must not know HTTP, nor
how values were admitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from psycopg import AsyncConnection

from engine.columns import SOURCE_COLUMNS, columns, documents
from engine.errors import EngineError
from engine.plan import Plan
from engine.sql import upsert
from engine.store.errors import wrap
from engine.store.raw import RawJson
from engine.store.round_trip import Texts
from engine.store.tenant import ask

_YES = b"t"  # true, as Postgres writes it


class SourceRefused(EngineError):
    """The submission or run named as source does not belong to the organisation. `field` is its column."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"`{field}` does not belong to this organisation",
            hint="send the id of a submission or run of the organisation in `x-internal-org-id`",
        )
        self.field = field


@dataclass(frozen=True, slots=True)
class Stored:
    """The row as it stands after an upsert. `json` is one JSON object."""

    outcome: str  # "written" | "unchanged" | "superseded"
    json: bytes


@dataclass(frozen=True)
class Upsert:
    """A plan with its statement spelled: made once, used for every row."""

    plan: Plan
    text: str

    @classmethod
    def of(cls, plan: Plan) -> Upsert:
        return cls(plan, upsert.live(plan))

    async def run(
        self, connection: AsyncConnection[Any], org_id: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[Stored]:
        """Write `rows` for `org_id` in one transaction, each a mapping of fields and source columns to admitted values.

        Raises SourceRefused (a row without its source is not written; rows of one call share theirs), StoreRefused for
        a row the database refuses (nothing is written then), StoreUnavailable.
        """
        parameters = [self._parameters(org_id, row) for row in rows]
        async with wrap():
            answers = await self._ask(connection, org_id, parameters)
        return [self._stored(answer) for answer in answers]

    async def _ask(
        self, connection: AsyncConnection[Any], org_id: str, parameters: Sequence[Mapping[str, Any]]
    ) -> list[Texts]:
        answers = [answer for (answer,) in await ask(connection, org_id, self.text, parameters)]
        late = [index for index, (_, _, outcome, *_) in enumerate(answers) if outcome is None]
        for index in late:
            _check_sources(answers[index])
        if late:  # these rows slipped in between snapshot and insert
            again = await self._ask(connection, org_id, [parameters[index] for index in late])
            for index, answer in zip(late, again, strict=True):
                answers[index] = answer
        return answers

    def _stored(self, answer: Texts) -> Stored:
        _, _, outcome, *shown = answer
        assert outcome is not None
        return Stored(outcome.decode(), join(self._documents, shown))

    @cached_property
    def _documents(self) -> tuple[str, ...]:
        return documents(self.plan, columns(self.plan))

    def _parameters(self, org_id: str, row: Mapping[str, Any]) -> dict[str, Any]:
        values = {field.name: _sent(field.type.name, row.get(field.name)) for field in self.plan.fields}
        return {"org_id": org_id, **{name: row.get(name) for name in SOURCE_COLUMNS}, **values}


def _check_sources(answer: Texts) -> None:
    submission_ok, run_ok, *_ = answer
    if submission_ok != _YES:
        raise SourceRefused("source_submission_id")
    if run_ok != _YES:
        raise SourceRefused("source_pipeline_run_id")


def _sent(kind: str, value: Any) -> Any:
    return RawJson(value.encode()) if kind == "jsonb" and isinstance(value, str) else value


def join(names: Sequence[str], shown: Sequence[bytes | None]) -> bytes:
    """One JSON object from the scalars' object and each document's text. Documents are large: they are copied once."""
    scalars, *texts = shown
    assert scalars is not None
    pieces = [scalars[:-1]]
    for name, text in zip(names, texts, strict=True):
        pieces += (b"," if pieces != [b"{"] else b"", b'"', name.encode(), b'":', text or b"null")
    return b"".join((*pieces, b"}"))
