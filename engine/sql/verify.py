"""Build the statements of `dex verify`, which compares what the step results give with the rows of the table.

Names with a capital letter are this module's own: no column of a spec has one.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.plan import Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.rows.fetch_plan import FetchPlan
from engine.spec.enums import OnAbsent
from engine.sql.copied_documents import build_copied_subquery
from engine.sql.expected_rows import (
    GIVEN,
    PARENT_ELEMENT,
    build_expected_parts,
    build_match,
    list_key_names,
    list_parent_names,
)
from engine.sql.identifiers import Statement, quote, quote_names, quote_table
from engine.sql.step_results import UNFINISHED, build_plan_parameters

#: The temporary table of the keys whose expected and stored rows do not match.
_JUDGED = '"Judged"'

BEGIN_READER_SQL = "begin isolation level repeatable read read only"
EXPORT_SNAPSHOT_SQL = "select pg_export_snapshot()"
BEGIN_SQL = "begin isolation level repeatable read"
#: Settings for the planner: without statistics of the temporary tables it would sometimes compare all pairs.
SET_PLANNER_SQL = "set local enable_nestloop = off; set local jit = off"


def build_import_snapshot_sql(snapshot: str) -> str:
    """Build the statement that makes a transaction use an exported snapshot; the statement takes no parameters."""
    return f"set transaction snapshot '{snapshot.replace(chr(39), '')}'"


def build_judge_statement(fetch_plan: FetchPlan, org_ids: Sequence[str]) -> Statement:
    """Build the statement that computes the row that each key must have, and stores the differences to the table.

    It creates the temporary table that COUNTS_SQL and the queries below read, with number, kind, id of the row, key and
    the columns that differ.
    """
    plan = fetch_plan.plan
    keys = list_key_names(plan)
    parts = [
        *build_expected_parts(plan),
        f'"Stored" as (\n{_build_stored_query(plan, org_ids)}\n)',
        f'"Compared" as (\n{_build_compared_query(fetch_plan, keys)}\n)',
    ]
    text = f"""
create temporary table {_JUDGED} on commit drop as
with {", ".join(parts)}
select row_number() over () as "Number", judged.*
from (
    select case
            when "Kind" is null and cardinality("Columns") > 0 then 'different'
            else "Kind"
        end as "Kind", "Id", "Given", coalesce("Columns", array[]::text[]) as "Columns", {quote_names(keys)}
    from "Compared"
) as judged
where "Kind" is not null
"""
    return Statement(text, {**build_plan_parameters(plan), "org_ids": list(org_ids)})


def _build_stored_query(plan: Plan, org_ids: Sequence[str]) -> str:
    """Select the rows of the table, each with whether its step result is missing and whether it is pending."""
    scope = "\n    where stored.org_id = any(%(org_ids)s::uuid[])" if org_ids else ""
    pending, join = "", ""
    if plan.on_absent is OnAbsent.DELETE:
        pending = ' or coalesce(parent."Pending", false)'
        match = build_match(list_parent_names(plan), plan.parent_key, "parent", "stored")
        join = f'\n    left join "Parents" as parent on {match}'
    return f"""    select stored.*, source.id is null as "Unsourced",
        source.status::text in {UNFINISHED} or unrecorded.id is not null{pending}
            as "Source pending"
    from {quote_table(plan.table)} as stored
    left join step_results as source on source.id = stored.source_step_result_id
    left join "Unrecorded" as unrecorded on unrecorded.id = source.id{join}{scope}"""


def _build_compared_query(fetch_plan: FetchPlan, keys: Sequence[str]) -> str:
    """Select kind, id, key and differing columns of every key; kind is null if there are two rows to compare."""
    plan = fetch_plan.plan
    names = ", ".join(f"coalesce(stored.{quote(name)}, expected.{quote(name)}) as {quote(name)}" for name in keys)
    match = build_match(keys, plan.key_fields, "stored", "expected")
    return f"""    select stored.id as "Id", expected.org_id is not null as "Given", {names}, kind."Kind",
        case when kind."Kind" is null then {_build_differences(fetch_plan)} end as "Columns"
    from "Stored" as stored full join "Expected" as expected on {match}
    cross join lateral (select case
        when stored."Unsourced" then 'unsourced'
        when expected."Pending" or stored."Source pending" then 'pending'
        when stored.id is null then 'missing'
        when expected.org_id is null then 'orphaned'
    end) as kind ("Kind")"""


def _build_differences(fetch_plan: FetchPlan) -> str:
    """Build the array of the names of the columns whose stored cell is not the expected one."""
    copied = {column.name for column in fetch_plan.copied_fields}
    names = [*(column.name for column in fetch_plan.plan.fields if not column.key), *SOURCE_COLUMNS]
    tests = [
        f"case when {_build_copied_difference(fetch_plan, name) if name in copied else _build_difference(name)}"
        f" then '{name}' end"
        for name in names
    ]
    return f"array_remove(array[{', '.join(tests)}]::text[], null)"


def _build_difference(name: str) -> str:
    """Build the condition that two cells differ in any byte: 1.10 and 1.1 are equal numbers but different cells."""
    stored, expected = f"stored.{quote(name)}", f"expected.{quote(name)}"
    return f"record_image_ne(row({stored}), row({expected})) and {_build_text_difference(stored, expected)}"


def _build_copied_difference(fetch_plan: FetchPlan, name: str) -> str:
    """Build the condition that a stored document differs from that of the step result which the fold names."""
    stored = f"stored.{quote(name)}"
    document = build_copied_subquery(fetch_plan, fetch_plan.plan.field(name), f"expected.{quote(name)}")
    return (
        f"(select record_image_ne(row({stored}), row(value)) and {_build_text_difference(stored, 'value')}"
        f" from (select {document} as value offset 0) as wanted)"
    )


def _build_text_difference(left: str, right: str) -> str:
    """Build the condition that two values differ as text: equal documents may differ in their binary form."""
    return f"{left}::text is distinct from {right}::text"


def build_row_count_statement(plan: Plan, org_ids: Sequence[str]) -> Statement:
    """Count the rows of the organisations `org_ids`, or of all organisations if it is empty."""
    scope = " where org_id = any(%(org_ids)s::uuid[])" if org_ids else ""
    return Statement(f"select count(*) from {quote_table(plan.table)}{scope}", {"org_ids": list(org_ids)})


#: The number of mismatches by kind.
COUNTS_SQL = f'select "Kind", count(*), count("Id") from {_JUDGED} group by "Kind"'


def build_samples_sql(plan: Plan) -> str:
    """Build the query for the first `most` mismatches of each kind: (kind, key, id, columns)."""
    names = list_key_names(plan)
    key = ", ".join(f"'{name}', {quote(name)}" for name in names)
    return f"""
select "Kind", jsonb_build_object({key})::text, "Id"::text, "Columns"
from (
    select *, row_number() over (partition by "Kind" order by {quote_names(names)}, "Number") as "Place" from {_JUDGED}
) as placed
where "Place" <= %(most)s
order by "Kind", "Place"
"""


#: Whether `stale_rows` has any entry of the spec.
HAS_STALE_SQL = "select exists (select from stale_rows where spec = %(spec)s)"

INDEX_SQL = f'create index on {_JUDGED} ("Number")'


def build_judged_page_sql(plan: Plan) -> str:
    """Build the query for mismatches with a number above `after`: (number, kind, id, given, org_id, key...).

    Those that are pending already are left out.
    """
    return f"""
select "Number", "Kind", "Id"::text, "Given", org_id::text, {quote_names(column.name for column in plan.key_fields)}
from {_JUDGED} where "Number" > %(after)s and "Kind" <> 'pending'
order by "Number" limit %(limit)s
"""


#: Mark the mismatches whose unit is in `stale_rows` as pending. Each entry has number, organisation and unit.
MARK_STALE_SQL = f"""
update {_JUDGED} as judged set "Kind" = 'pending'
from unnest(%(numbers)s::bigint[], %(orgs)s::uuid[], %(units)s::uuid[]) as entry (number, org_id, unit)
join stale_rows as stale on stale.org_id = entry.org_id and stale.unit = entry.unit and stale.spec = %(spec)s
where judged."Number" = entry.number
"""


def build_contributors_sql(plan: Plan) -> str:
    """Build the query for the step results that give the mismatching keys `numbers`, or rows of their parent keys."""
    parents = ""
    match = build_match(list_key_names(plan), plan.key_fields, "given", "judged")
    if plan.on_absent is OnAbsent.DELETE:
        match = build_match(list_parent_names(plan), plan.parent_key, "given", "judged")
    elif plan.many:
        parents = f' and given."Element" <> {PARENT_ELEMENT}'
    return f"""
select distinct given."Step"::text from {GIVEN} as given join {_JUDGED} as judged on {match}
where judged."Number" = any(%(numbers)s::bigint[]){parents}
"""
