"""Build the queries that compute, for `dex verify`, the row that each key must have, by folding contributions in SQL.

They are independent of the engine's fold: its rules are written a second time here, over all contributions at once,
so that a mistake in one is found by the other.

Table and column names with a capital letter are this module's own: no column of a spec has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.plan import Field, Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.rows.fetch_plan import FetchPlan
from engine.spec.enums import OnAbsent
from engine.sql.identifiers import quote, quote_names
from engine.sql.step_results import FOUND, PENDING

#: The temporary table of contributions: what each step result gives for each key.
GIVEN = '"Given"'
#: With `on_absent: delete`, each step result has an extra entry for its parent key; this is its "Element".
PARENT_ELEMENT = -1
_SOURCE_IDS = tuple(name for name in SOURCE_COLUMNS if name not in ("source_recorded_at", "source_step_result_id"))
#: By type, a value to compare instead of null in a key, since a full join needs equalities.
_ZEROS = {
    "text": "''::text",
    "jsonb": "'null'::jsonb",
    "boolean": "false",
    "integer": "0",
    "bigint": "0::bigint",
    "numeric": "0::numeric",
    "double precision": "0::double precision",
    "date": "'2000-01-01'::date",
    "timestamptz": "'2000-01-01 00:00+00'::timestamptz",
    "uuid": "'00000000-0000-0000-0000-000000000000'::uuid",
    "text[]": "'{}'::text[]",
}


def list_given_columns(fetch_plan: FetchPlan) -> tuple[tuple[str, str], ...]:
    """Return name and type of each column of the table of contributions.

    A copied document (one that Postgres copies itself) is represented by the id of its step result.
    """
    copied = {column.name for column in fetch_plan.copied_fields}
    return (
        ("Step", "uuid"),
        ("Recorded", "timestamptz"),
        ("Element", "integer"),
        ("Complete", "boolean"),
        ("org_id", "uuid"),
        *((name, SOURCE_COLUMNS[name]) for name in _SOURCE_IDS),
        *((column.name, "uuid" if column.name in copied else column.type.sql) for column in fetch_plan.plan.fields),
    )


def build_given_table_sql(fetch_plan: FetchPlan) -> str:
    """Build the statement that creates the temporary table of contributions (`GIVEN`)."""
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in list_given_columns(fetch_plan))
    return f"create temporary table {GIVEN} ({columns}) on commit drop"


def build_copy_sql(fetch_plan: FetchPlan) -> str:
    """Build the COPY that fills the temporary table of contributions (`GIVEN`)."""
    return f"copy {GIVEN} ({quote_names(name for name, _ in list_given_columns(fetch_plan))}) from stdin"


ANALYZE_SQL = f"analyze {GIVEN}"


def build_expected_parts(plan: Plan) -> list[str]:
    """Build the parts of a `with` clause; the last, "Expected", has one row per key, as it must be stored.

    Parameters: `operations`, `spec`, `digest`.
    """
    keys = list_key_names(plan)
    return [
        f'"Unrecorded" as materialized (\n{_UNRECORDED_QUERY}\n)',
        f'"Refused" as materialized (\n{_REFUSED_QUERY}\n)',
        f'"Elements" as (\n{_build_elements_query(plan, keys)}\n)',
        *_build_parent_parts(plan),
        f'"Contributions" as (\n{_build_contributions_query(plan)}\n)',
        f'"Ranked" as (\n{_build_ranked_query(keys)}\n)',
        f'"Kept" as (\n{_build_kept_query(plan)}\n)',
        f'"Expected" as (\n{_build_expected_query(plan)}\n)',
    ]


#: The found step results that have no ledger entry with the present digest.
_UNRECORDED_QUERY = f"""    select found.id from step_results as found
    where {FOUND} and {PENDING}"""


#: The elements that the database refused, as recorded in the ledger.
_REFUSED_QUERY = """    select ledger.step_result_id as "Step", coalesce((reason ->> 'element')::int, 0) as "Element"
    from step_persistence as ledger cross join lateral jsonb_array_elements(ledger.reasons) as reason
    where ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s
    and reason ->> 'code' = 'refused_by_database'"""


def _build_elements_query(plan: Plan, keys: Sequence[str]) -> str:
    """Select, of each step result, the last element of each key."""
    if not plan.many:
        return f"    select * from {GIVEN}"
    return f"""    select distinct on ({quote_names(keys)}, "Step") * from {GIVEN}
    where "Element" <> {PARENT_ELEMENT}
    order by {quote_names(keys)}, "Step", "Element" desc"""


def list_key_names(plan: Plan) -> tuple[str, ...]:
    """Return the columns of the key, the organisation first."""
    return ("org_id", *(column.name for column in plan.key_fields))


def list_parent_names(plan: Plan) -> tuple[str, ...]:
    """Return the columns of the parent key, the organisation first."""
    return ("org_id", *(column.name for column in plan.parent_key))


def _build_parent_parts(plan: Plan) -> list[str]:
    """Build the queries about parent keys; none without `on_absent: delete`.

    "Spoken" has the step results of each parent key, and "Parents" the newest of them that is complete.
    """
    if plan.on_absent is not OnAbsent.DELETE:
        return []
    names = list_parent_names(plan)
    return [
        f"""\"Spoken" as (
    select {quote_names(names, "given.")}, given."Step", given."Recorded",
        given."Complete" and refused."Step" is null as "Complete", unrecorded.id is not null as "Pending"
    from {GIVEN} as given
    left join (select distinct "Step" from "Refused") as refused on refused."Step" = given."Step"
    left join "Unrecorded" as unrecorded on unrecorded.id = given."Step"
    where given."Element" = {PARENT_ELEMENT}
)""",
        f"""\"Parents" as (
    select {quote_names(names)}, bool_or("Pending") as "Pending",
        (array_agg("Recorded" order by "Recorded" desc, "Step" desc) filter (where "Complete"))[1] as "Recorded",
        (array_agg("Step" order by "Recorded" desc, "Step" desc) filter (where "Complete"))[1] as "Step"
    from "Spoken" group by {quote_names(names)}
)""",
    ]


def _build_contributions_query(plan: Plan) -> str:
    """Select the elements that count, each with whether something that may change its row is pending."""
    pending, counts = "unrecorded.id is not null", ""
    join = '\n    left join "Unrecorded" as unrecorded on unrecorded.id = element."Step"'
    if plan.on_absent is OnAbsent.DELETE:
        match = build_match(list_parent_names(plan), plan.parent_key, "parent", "element")
        join = f'\n    join "Parents" as parent on {match}'
        pending = 'parent."Pending"'
        counts = """
    and (parent."Step" is null or (element."Recorded", element."Step") >= (parent."Recorded", parent."Step"))"""
    return f"""    select element.*, {pending} as "Pending"
    from "Elements" as element{join}
    where not exists (
        select from "Refused" where "Refused"."Step" = element."Step" and "Refused"."Element" = element."Element"
    ){counts}"""


def _build_ranked_query(keys: Sequence[str]) -> str:
    """Number what the step results give for each key, newest first, and number the keys."""
    names = quote_names(keys)
    return f"""    select *, dense_rank() over (order by {names}) as "Group",
        row_number() over (partition by {names} order by "Recorded" desc, "Step" desc) as "Rank",
        count(*) over (partition by {names}) as "Count",
        bool_or("Pending") over (partition by {names}) as "Any pending"
    from "Contributions\""""


def _build_kept_query(plan: Plan) -> str:
    """Select the newest non-null value of each column with `on_missing: keep`, for keys with several contributions."""
    values = "".join(f",\n        {_build_newest_value(column)}" for column in plan.kept_fields)
    return f"""    select "Group" as "Kept group"{values}
    from "Ranked" where "Count" > 1 group by "Group\""""


def _build_newest_value(column: Field) -> str:
    name = quote(column.name)
    # Postgres can aggregate only arrays of equal length, so each is converted to text and back
    value, back = (f"{name}::text", "::text[]") if column.type.name == "text[]" else (name, "")
    newest = f'array_agg({value} order by "Recorded" desc, "Step" desc) filter (where {name} is not null)'
    return f"(({newest})[1]){back} as {name}"


def _build_expected_query(plan: Plan) -> str:
    """Select one row per key: from the newest step result, with kept values for the columns that it leaves empty."""
    kept = {column.name for column in plan.kept_fields}
    values = [
        f"coalesce(newest.{quote(column.name)}, kept.{quote(column.name)}) as {quote(column.name)}"
        if column.name in kept
        else f"newest.{quote(column.name)}"
        for column in plan.fields
    ]
    sources = [
        *(f"newest.{quote(name)}" for name in _SOURCE_IDS),
        'newest."Step" as source_step_result_id',
        'newest."Recorded" as source_recorded_at',
    ]
    joined = ",\n        ".join(["newest.org_id", *values, *sources])
    return f"""    select {joined}, newest."Any pending" as "Pending"
    from "Ranked" as newest left join "Kept" as kept on kept."Kept group" = newest."Group" and newest."Count" > 1
    where newest."Rank" = 1"""


def build_match(names: Iterable[str], fields: Sequence[Field], left: str, right: str) -> str:
    """Build equalities of the named columns in which null equals null, in a form that a full join can hash."""
    nullable: Mapping[str, Field] = {column.name: column for column in fields if not column.required}
    return " and ".join(
        f"({left}.{quote(name)} is null) = ({right}.{quote(name)} is null)"
        f" and coalesce({left}.{quote(name)}, {_ZEROS[nullable[name].type.name]})"
        f" = coalesce({right}.{quote(name)}, {_ZEROS[nullable[name].type.name]})"
        if name in nullable
        else f"{left}.{quote(name)} = {right}.{quote(name)}"
        for name in names
    )
