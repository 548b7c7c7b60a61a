"""The types of the tools' arguments, from which the JSON Schemas for agents are made."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from api.http.models import Parameters
from engine.rows.query import MAX_LIMIT

#: The default of `max_bytes`: the most bytes of an answer, as encoded in the JSON message.
ANSWER_BYTES: Final = 25_000
MOST_ANSWER_BYTES: Final = 1_000_000
#: The default of `limit`, in rows.
PAGE_ROWS: Final = 20

SpecName = Annotated[str, Field(description="The name of a spec, as `list_specs` gives it.")]
RowId = Annotated[str, Field(description="The `id` of a row.")]
FieldNames = Annotated[
    list[str],
    Field(description="Columns to show, and dotted paths into documents, such as `raw.funding.total`. Default: all."),
]


class Arguments(Parameters):
    """The arguments that every tool has."""

    max_bytes: Annotated[
        int,
        Field(ge=1_000, le=MOST_ANSWER_BYTES, description="The most bytes of the answer; a longer one is shortened."),
    ] = ANSWER_BYTES


class ListSpecs(Arguments):
    """List the specs: no further arguments."""


class Describe(Arguments):
    """Describe one spec."""

    spec: SpecName


class Query(Arguments):
    """Query rows: the options of the query endpoint, with the filters in an object of their own."""

    spec: SpecName
    filters: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="By column: a value, a list of which one must match, or operators, such as"
            ' {"company_domain": "example.com", "updated_at": {"gte": "2026-01-01T00:00:00Z"}}. `describe` names them.',
        ),
    ]
    order: Annotated[
        list[str] | None, Field(description='One or two columns, `-` for descending. Default: ["-created_at"].')
    ] = None
    q: Annotated[str | None, Field(description="Words to search, where the spec has columns for it.")] = None
    fields: FieldNames | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="The most rows of the answer.")] = PAGE_ROWS
    cursor: Annotated[str | None, Field(description="`meta.next_cursor` of the page before.")] = None
    count: Annotated[
        Literal["exact", "estimated"] | None, Field(description="Also say how many rows match, in `meta.count`.")
    ] = None


class Get(Arguments):
    """Read one row of a spec, by its id."""

    spec: SpecName
    id: RowId
    fields: FieldNames | None = None


class Explain(Arguments):
    """Explain one row of a spec, by its id or by its key."""

    spec: SpecName
    id: RowId | None = None
    key: Annotated[
        dict[str, str],
        Field(
            default_factory=dict,
            description='Instead of `id`: values of the key\'s columns, such as {"company_domain": "example.com"}.'
            " Without a row the answer has the states of the key, such as never asked, running, failed, rejected.",
        ),
    ]
    field: Annotated[str | None, Field(description="With `id`: only the cell of this column.")] = None


class Coverage(Arguments):
    """Show the accounts of one spec, or of all without `spec`."""

    spec: SpecName | None = None


class Costs(Arguments):
    """Show the costs of one month, or of all without `month`."""

    month: Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="Such as `2026-11`.")] | None = None
