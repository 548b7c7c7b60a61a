"""The body of a query -> what is asked.

In: a body. Out: an Asked, from which `engine.rows.query_words` makes the Question once it is known whose rows may be
seen. It must not know who asks, nor SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from api.auth import as_uuid
from api.http import body
from api.http.errors import Fault, invalid
from api.rows.cursor import Cursors
from api.rows.json_schemas import MOST_VALUES
from engine.plan import Plan
from engine.rows.query_words import WORDS, Question, QuestionRefused, ask
from engine.values.exact_json import ExactError, Json, loads

_BEYOND = ("cursor", "org_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query as it was asked. `org_id` is whom the body names, not yet whom the caller may see."""

    words: Mapping[str, Json]
    cursor: str | None
    org_id: str | None


@dataclass(frozen=True)
class Questions:
    """Reads the queries of one plan."""

    plan: Plan
    cursors: Cursors

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The fields of a body."""
        return (*(item.name for item in self.plan.filters), *WORDS, *_BEYOND)

    def read(self, raw: bytes) -> Asked:
        """Return what a body asks; an empty one asks for everything. Raises Fault 422."""
        words = {name: _json(name, bytes(value)) for name, value in body.split(raw or b"{}", self.known).items()}
        cursor, org_id = words.pop("cursor", None), words.pop("org_id", None)
        if not isinstance(cursor, str | None):
            raise invalid("`cursor` is not a string", field="cursor", hint="send `meta.next_cursor` of the page before")
        words |= {name: _whole(words[name]) for name in ("limit", "offset") if name in words}
        return Asked(words=words, cursor=cursor, org_id=_organisation(org_id))

    def of(self, asked: Asked, org_id: str) -> Question:
        """Return the Question about one organisation. Raises Fault 422 for its words, 400 for its cursor."""
        for name, value in asked.words.items():
            if isinstance(value, list) and len(value) > MOST_VALUES:
                raise invalid(f"`{name}` lists {len(value)} values", field=name, hint=f"list at most {MOST_VALUES}")
        try:
            question = ask(self.plan, org_id, asked.words)
        except QuestionRefused as error:
            detail = [reason.as_dict() for reason in error.reasons]
            raise Fault(422, error.reasons[0].code, error.message, detail=detail, hint=error.hint) from error
        if asked.cursor is None:
            return question
        return replace(question, after=self.cursors.read(self.plan.name, org_id, question.filters, asked.cursor))

    def next(self, question: Question, last: tuple[str, str] | None) -> str | None:
        """Return the cursor of the page after the one that ended at `last`."""
        if last is None:
            return None
        return self.cursors.write(self.plan.name, question.tenant, question.filters, last)


def _json(name: str, text: bytes) -> Any:
    try:
        return loads(text)
    except ExactError as error:
        raise invalid(f"`{name}`: {error}", field=name) from error


def _whole(value: Json) -> Json:
    """JSON does not tell 10.0 from 10."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _organisation(value: Json) -> str | None:
    if value is None:
        return None
    org_id = as_uuid(value)
    if org_id is None:
        raise invalid("`org_id` is not a UUID", field="org_id")
    return org_id
