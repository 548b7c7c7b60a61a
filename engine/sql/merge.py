"""Build the statements that merge one batch: staging table, copy, merge, outcomes, ledger.

Rows are copied to a temporary table in the order of their keys, so that two writers lock rows in one order and cannot
deadlock. They are numbered and merged by ranges of their numbers. Held documents are joined in from `step_results` by
the id of the step result they come from.
"""

from __future__ import annotations

from engine.plan import Field, Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.rows.reading import Reading
from engine.spec.vocabulary import OnAbsent
from engine.sql.identifiers import build_key_match, indent_lines, quote, quote_names
from engine.sql.json_paths import build_detoast_subquery, build_first_truthy, build_operation_case
from engine.sql.upsert import (
    build_difference_condition,
    build_not_newer_condition,
    build_on_conflict,
    list_written_columns,
)

#: Names with a capital letter cannot collide with a table or column of a spec, which have none.
STAGING = '"Arriving"'
PREVIEW_LENGTH = 60  # characters of a document in a preview
#: Outcome of a row that Postgres accepted without error and that is not there under its key afterwards.
DISCARDED = "discarded"
_ORDINAL = '"Ordinal"'
_STALE = '"Stale"'
#: The staged rows to merge. For a bare `between` the planner expects one row in 200 and then compares all pairs.
_STAGED_RANGE = f"coalesce({_ORDINAL} between %(first)s::int and %(last)s::int, false)"
_SOURCE_TIME_CHANGES = "stored.source_recorded_at is distinct from excluded.source_recorded_at"


def list_staged_columns(reading: Reading) -> tuple[tuple[str, str], ...]:
    """Return (name, type) of each staging column. A held field is staged as the id of its step result."""
    held = {column.name for column in reading.held_fields}
    return (
        ("Ordinal", "integer"),
        ("Stale", "boolean"),
        ("org_id", "uuid"),
        *((column.name, "uuid" if column.name in held else column.type.sql) for column in reading.plan.fields),
        *SOURCE_COLUMNS.items(),
    )


def build_staging_table_sql(reading: Reading) -> str:
    """Build the statement that creates the staging table, which is dropped with the transaction."""
    columns = [f"{quote(name)} {kind}" for name, kind in list_staged_columns(reading)]
    return f"create temporary table {STAGING} (\n{indent_lines(columns)}\n) on commit drop"


def build_copy_sql(reading: Reading) -> str:
    """Build the COPY that fills the staging table."""
    return f"copy {STAGING} ({quote_names(name for name, _ in list_staged_columns(reading))}) from stdin"


def build_merge_sql(reading: Reading) -> str:
    """Build the upsert of the staged rows `first` to `last`, which differ in their keys. Returns written ordinals."""
    plan = reading.plan
    return f"""
with upserted as (
    insert into {quote(plan.table)} as stored ({quote_names(list_written_columns(plan))})
    select {_build_select_list(reading)}
    from (select * from {STAGING} where {_STAGED_RANGE} order by {_ORDINAL} offset 0) as staged
{_build_document_joins(reading)}
{_build_stale_filter(plan)}
    {build_on_conflict(plan, _SOURCE_TIME_CHANGES)}
    returning {quote_names(plan.conflict, "stored.")}
)
select staged.{_ORDINAL}
from {STAGING} as staged
join upserted on {build_key_match(plan, "upserted", "staged")}
where {_STAGED_RANGE}
"""


def _build_stale_filter(plan: Plan) -> str:
    """Under `on_absent: delete`, exclude new rows of stale results, whose rows a newer result has already replaced."""
    if plan.on_absent is not OnAbsent.DELETE:
        return ""
    known = f"(select from {quote(plan.table)} as known where {build_key_match(plan, 'known', 'staged')})"
    return f"    where not staged.{_STALE} or exists {known}"


def build_outcome_sql(reading: Reading) -> str:
    """Build the query that classifies the staged rows `ordinals`, which the merge did not write: (ordinal, outcome).

    The outcome is `unchanged`, `superseded`, or DISCARDED: a trigger or rule discarded the row. A statement of its own,
    because the stored row is locked by now and a new snapshot sees it as another writer may just have left it.
    """
    plan = reading.plan
    return f"""
select staged.{_ORDINAL},
    case
        when stored.id is null then case when staged.{_STALE} then 'superseded' else '{DISCARDED}' end
        when {build_not_newer_condition("stored", "staged")} then 'unchanged'
        when {_build_late_difference_condition(reading)} then 'superseded'
        else 'unchanged'
    end
from {STAGING} as staged
left join lateral (
    select * from {quote(plan.table)} as stored where {build_key_match(plan, "stored", "staged")} offset 0
) as stored on true
where staged.{_ORDINAL} = any(%(ordinals)s::int[])
"""


def build_snapshot_sql(reading: Reading) -> str:
    """Build the query for the stored rows of the staged keys `first` to `last`: (ordinal, cells).

    A document is given as its hash and its first PREVIEW_LENGTH characters.
    """
    plan = reading.plan
    cells = (
        "md5(stored.{0}::text) || left(stored.{0}::text, {1}) as {0}".format(quote(column.name), PREVIEW_LENGTH)
        if column.type.name == "jsonb"
        else f"stored.{quote(column.name)}"
        for column in plan.fields
    )
    return f"""
select staged.{_ORDINAL}, (select to_jsonb(cells) from (select {", ".join(cells)}) as cells)
from {STAGING} as staged
join {quote(plan.table)} as stored on {build_key_match(plan, "stored", "staged")}
where {_STAGED_RANGE}
"""


def _build_select_list(reading: Reading) -> str:
    """Build the values to insert: held documents from their joins, all other columns from the staged row."""
    values = {column.name: f"{alias}.document" for alias, column in _alias_held_fields(reading)}
    return ", ".join(values.get(name, f"staged.{quote(name)}") for name in list_written_columns(reading.plan))


def _alias_held_fields(reading: Reading) -> list[tuple[str, Field]]:
    """Return each held field with the alias under which its document is joined."""
    return [(f"held_{index}", column) for index, column in enumerate(reading.held_fields)]


def _build_document_joins(reading: Reading) -> str:
    return "\n".join(
        f"    left join lateral {_build_document_subquery(reading, column)} as {alias} on true"
        for alias, column in _alias_held_fields(reading)
    )


def _build_document_subquery(reading: Reading, column: Field) -> str:
    """Build the subquery for one held document, read from the step result that `staged` names."""
    paths = {name: reading.find_alternatives(name, column) for name in reading.plan.operations}
    expressions = {name: build_first_truthy(alternatives, "document") for name, alternatives in paths.items()}
    expression = build_operation_case(expressions, "source.operation_id")
    roots = {steps[0] for alternatives in paths.values() for steps in alternatives}
    return (
        f"(select {expression} as document from step_results as source"
        f" cross join lateral {build_detoast_subquery('source', roots)} as document"
        f" where source.id = staged.{quote(column.name)} offset 0)"
    )


def _build_late_difference_condition(reading: Reading) -> str:
    """Build the condition that an unwritten row differs from the stored one, evaluating its held documents for it."""
    if not reading.held_fields:
        return build_difference_condition(reading.plan, "stored", "staged")
    late = f"(select {_build_staged_row(reading)}) as late"
    return f"exists (select from {late} where {build_difference_condition(reading.plan, 'stored', 'late')})"


def _build_staged_row(reading: Reading) -> str:
    """Build the select list of a staged row with its held documents in place of the ids."""
    held = {
        column.name: f"(select document from {_build_document_subquery(reading, column)} as held)"
        for column in reading.held_fields
    }
    values = (
        f"{held.get(name, f'staged.{quote(name)}')} as {quote(name)}" for name in list_written_columns(reading.plan)
    )
    return ", ".join(values)


#: Lock the step results that are unchanged since they were read until the end of the transaction; return their ids.
#: Each is looked up by its key: for a join the planner would read the whole table for every batch.
#: Lists whose entries have no comma are sent as one text: psycopg's arrays take the client as long as all the rest.
LOCK_STEP_RESULTS_SQL = """
select held.id::text
from (
    select *
    from unnest(string_to_array(%(ids)s, ',')::uuid[], string_to_array(%(versions)s, ',')) as read (id, version)
    order by id offset 0
) as read
cross join lateral (
    select step.id from step_results as step
    where step.id = read.id and step.xmin::text = read.version
    for share
) as held
"""

#: Record the outcomes of a batch. An entry of the same digest stays when this merge changed nothing, unless `again`.
RECORD_OUTCOMES_SQL = """
insert into step_persistence as known
    (step_result_id, spec, spec_digest, org_id, outcome, element_count, row_count, reasons)
select id, %(spec)s, %(digest)s, org_id, outcome, elements, rows, reasons
from rows from (
    unnest(
        string_to_array(%(ids)s, ',')::uuid[], string_to_array(%(orgs)s, ',')::uuid[],
        string_to_array(%(outcomes)s, ','), string_to_array(%(elements)s, ',')::int[],
        string_to_array(%(rows)s, ',')::int[]
    ),
    jsonb_array_elements(%(reasons)s::jsonb)
) as entry (id, org_id, outcome, elements, rows, reasons)
order by id
on conflict (step_result_id, spec) do update set
    spec_digest = excluded.spec_digest, org_id = excluded.org_id, outcome = excluded.outcome,
    element_count = excluded.element_count, row_count = excluded.row_count, reasons = excluded.reasons,
    recorded_at = now()
where %(again)s or known.spec_digest <> excluded.spec_digest
    or known.outcome = 'rejected' or excluded.outcome = 'written'
"""
