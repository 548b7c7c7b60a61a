"""Build the statements that store the computed rows of one batch: staging table, copy, lookup, insert, update.

Rows are copied to a temporary table in the order of their keys and numbered. A row of which no stored row is known is
inserted under an id that was chosen before; the stored rows of the others are looked up by their keys, and those that
differ are updated by their ids. Copied documents are joined in from `step_results`, by the id of the step result that
they come from.
"""

from __future__ import annotations

from hashlib import sha256

from engine.plan import Field, Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.rows.fetch_plan import FetchPlan
from engine.sql.copied_documents import build_copied_subquery
from engine.sql.identifiers import build_key_lookup, indent_lines, quote, quote_names, quote_table
from engine.sql.upsert import build_row_difference, list_written_columns

PREVIEW_LENGTH = 60  # characters of a document in a preview
_ORDINAL = '"Ordinal"'
_ID = '"Id"'
#: The staged rows that a statement is about.
_STAGED_ROWS = f"staged.{_ORDINAL} = any(%(ordinals)s::int[])"


def list_staged_columns(fetch_plan: FetchPlan) -> tuple[tuple[str, str], ...]:
    """Return name and type of each column of the staging table.

    For a document that Postgres copies itself (a copied field), the column has the id of the step result to copy from.
    """
    copied = {column.name for column in fetch_plan.copied_fields}
    return (
        ("Ordinal", "integer"),
        ("org_id", "uuid"),
        *((column.name, "uuid" if column.name in copied else column.type.sql) for column in fetch_plan.plan.fields),
        *SOURCE_COLUMNS.items(),
    )


def name_staging_table(fetch_plan: FetchPlan) -> str:
    """Return the quoted name of the staging table: one per list of columns.

    Names with a capital letter cannot be tables or columns of a spec, whose names have none.
    """
    columns = "\n".join(f"{name} {kind}" for name, kind in list_staged_columns(fetch_plan))
    return quote(f"Arriving {sha256(columns.encode()).hexdigest()[:16]}")


def build_staging_table_sql(fetch_plan: FetchPlan) -> str:
    """Build the statement that creates the staging table, unless this session has it; each commit empties it.

    A table for each batch would cost an upsert as much as all its other statements: they would be planned again, and
    the catalogs would grow by some forty rows a batch.
    """
    columns = [f"{quote(name)} {kind}" for name, kind in list_staged_columns(fetch_plan)]
    columns.append(f"{_ID} uuid default gen_random_uuid()")  # the id of the row if it has to be inserted
    return (
        f"create temporary table if not exists {name_staging_table(fetch_plan)} (\n{indent_lines(columns)}\n)"
        " on commit delete rows"
    )


def build_clear_staging_sql(fetch_plan: FetchPlan) -> str:
    """Build the statement that empties the staging table between two batches of one transaction."""
    return f"delete from {name_staging_table(fetch_plan)}"


def build_copy_sql(fetch_plan: FetchPlan) -> str:
    """Build the COPY that fills the staging table."""
    names = quote_names(name for name, _ in list_staged_columns(fetch_plan))
    return f"copy {name_staging_table(fetch_plan)} ({names}) from stdin"


def build_lookup_sql(fetch_plan: FetchPlan) -> str:
    """Build the query for the stored rows that have the keys of the staged rows with the given `ordinals`.

    Returns (ordinal, id, whether they differ); the id is null if there is no stored row.
    """
    plan = fetch_plan.plan
    return f"""
select staged.{_ORDINAL}, stored.id::text, stored.id is not null and {_build_late_difference(fetch_plan)}
from {name_staging_table(fetch_plan)} as staged
left join lateral (
        {build_key_lookup(plan, "staged")}
        limit 1
) as stored on true
where {_STAGED_ROWS}
"""


def build_insert_sql(fetch_plan: FetchPlan) -> str:
    """Build the insert of the staged rows with the given `ordinals`.

    Returns (ordinal, id, whether the table kept the row under its key). A row whose key another row has got meanwhile
    is left out, as is one that a trigger discards.
    """
    plan = fetch_plan.plan
    kept = " and ".join(f"inserted.{quote(name)} is not distinct from staged.{quote(name)}" for name in plan.conflict)
    return f"""
with inserted as (
    insert into {quote_table(plan.table)} as stored (id, {quote_names(list_written_columns(plan))})
    select staged.{_ID}, {", ".join(_build_values(fetch_plan).values())}
    from (
        select * from {name_staging_table(fetch_plan)}
        where {_ORDINAL} = any(%(ordinals)s::int[]) order by {_ORDINAL} offset 0
    ) as staged
{_build_document_joins(fetch_plan)}
    on conflict ({quote_names(plan.conflict)}) do nothing
    returning id, {quote_names(plan.conflict, "stored.")}
)
select staged.{_ORDINAL}, inserted.id::text, {kept}
from {name_staging_table(fetch_plan)} as staged
join inserted on inserted.id = staged.{_ID}
"""


def build_update_sql(fetch_plan: FetchPlan) -> str:
    """Build the update of the stored rows `ids` to the staged rows `ordinals`; it returns the ordinals it updated."""
    plan = fetch_plan.plan
    values = {name: value for name, value in _build_values(fetch_plan).items() if name not in plan.conflict}
    changes = [f"{quote(name)} = arriving.{quote(name)}" for name in values]
    columns = ", ".join(f"{value} as {quote(name)}" for name, value in values.items())
    return f"""
update {quote_table(plan.table)} as stored set
{indent_lines(changes)}
from (
    select target.ordinal as {_ORDINAL}, target.id as {_ID}, {columns}
    from unnest(%(ordinals)s::int[], %(ids)s::uuid[]) as target (ordinal, id)
    join {name_staging_table(fetch_plan)} as staged on staged.{_ORDINAL} = target.ordinal
{_build_document_joins(fetch_plan)}
    order by target.ordinal offset 0
) as arriving
where stored.id = arriving.{_ID}
returning arriving.{_ORDINAL}
"""


def build_delete_misplaced_sql(plan: Plan) -> str:
    """Build the statement that deletes the rows `ids`, which got another key by a trigger or a type."""
    return f"delete from {quote_table(plan.table)} where id = any(%(ids)s::uuid[])"


def build_snapshot_sql(fetch_plan: FetchPlan) -> str:
    """Build the query for the stored rows with the keys of the staged rows `ordinals`: (ordinal, cells as JSON object).

    A document is represented by its hash and its first PREVIEW_LENGTH characters.
    """
    plan = fetch_plan.plan
    cells = (
        "md5(stored.{0}::text) || left(stored.{0}::text, {1}) as {0}".format(quote(column.name), PREVIEW_LENGTH)
        if column.type.name == "jsonb"
        else f"stored.{quote(column.name)}"
        for column in plan.fields
    )
    return f"""
select staged.{_ORDINAL}, (select to_jsonb(cells.*) from (select {", ".join(cells)}) as cells)
from {name_staging_table(fetch_plan)} as staged
cross join lateral (
        {build_key_lookup(plan, "staged")}
        limit 1
) as stored
where {_STAGED_ROWS}
"""


def _build_values(fetch_plan: FetchPlan) -> dict[str, str]:
    """Return the value to write of each column: documents joined in from step results, others from the staged row."""
    copied = {column.name: f"{alias}.document" for alias, column in _alias_copied_fields(fetch_plan)}
    return {name: copied.get(name, f"staged.{quote(name)}") for name in list_written_columns(fetch_plan.plan)}


def _alias_copied_fields(fetch_plan: FetchPlan) -> list[tuple[str, Field]]:
    """Return each copied field (its document is joined in from a step result) with the alias of its join."""
    return [(f"copied_{index}", column) for index, column in enumerate(fetch_plan.copied_fields)]


def _build_document_joins(fetch_plan: FetchPlan) -> str:
    return "\n".join(
        f"    left join lateral {_build_staged_document(fetch_plan, column)} as {alias} on true"
        for alias, column in _alias_copied_fields(fetch_plan)
    )


def _build_staged_document(fetch_plan: FetchPlan, column: Field) -> str:
    return build_copied_subquery(fetch_plan, column, f"staged.{quote(column.name)}")


def _build_late_difference(fetch_plan: FetchPlan) -> str:
    """Build the condition that a staged row differs from the stored one; it reads joined documents last."""
    plan = fetch_plan.plan
    if not fetch_plan.copied_fields:
        return f"({build_row_difference(plan, 'staged')})"
    copied = {
        column.name: f"(select document from {_build_staged_document(fetch_plan, column)} as copied)"
        for column in fetch_plan.copied_fields
    }
    values = (f"{copied.get(name, f'staged.{quote(name)}')} as {quote(name)}" for name in list_written_columns(plan))
    late = f"(select {', '.join(values)} offset 0) as late"
    return f"exists (select from {late} where {build_row_difference(plan, 'late')})"


#: Lock the step results that have not changed since they were read, until the transaction ends; return their ids.
#: Each is looked up by its key: for a join, the planner would read the whole table in every batch.
#: Lists whose entries contain no comma are sent as one text: building psycopg's arrays would take as long as all other
#: work of the client. They are in subqueries, as in `READ_UNITS_SQL`.
LOCK_STEP_RESULTS_SQL = """
select locked.id::text
from (
    select *
    from unnest((select string_to_array(%(ids)s, ','))::uuid[], (select string_to_array(%(versions)s, ',')))
        as read (id, version)
    order by id offset 0
) as read
cross join lateral (
    select step.id from step_results as step
    where step.id = read.id and step.xmin::text = read.version
    for share
) as locked
"""

#: Let the transaction commit without waiting for the disk. Keep in memory the rows that its triggers are given: with
#: 4 MB, the default, the server writes the documents of each batch to a file, uncompressed, and reads them again.
BEGIN_BULK_SQL = "select set_config('synchronous_commit', 'off', true), set_config('work_mem', '32MB', true)"
#: Wait until all earlier commits are on disk: the commit of a transaction that writes something waits for that.
FLUSH_COMMITS_SQL = "select pg_logical_emit_message(true, 'dex', 'backfill')"

#: Check the deferred constraints of this transaction at the end of each statement instead of at the commit.
CHECK_CONSTRAINTS_SQL = "set constraints all immediate"

#: Record the outcomes of a batch. Unless `again`, an entry with the same digest is left as it is if this merge changed
#: nothing. `written` stays `written` where the row is unchanged now, so `--all` over unchanged step results rewrites no
#: entry. Entries that stay are left out before the insert: `on conflict` would lock each, which is written to the WAL.
#: Recorded step results leave `pending_results`: by a trigger of the ledger, or by this statement if the entry stays.
RECORD_OUTCOMES_SQL = """
with entry as materialized (
    select * from rows from (
        unnest(
            string_to_array(%(ids)s, ',')::uuid[], string_to_array(%(orgs)s, ',')::uuid[],
            string_to_array(%(outcomes)s, ','), string_to_array(%(elements)s, ',')::int[],
            string_to_array(%(rows)s, ',')::int[], string_to_array(%(duplicates)s, ',')::int[],
            string_to_array(%(refused)s, ',')::int[]
        ),
        jsonb_array_elements(%(reasons)s::jsonb)
    ) as entry (id, org_id, outcome, elements, rows, duplicates, refused, reasons)
), recorded as (
    insert into step_persistence as known
        (step_result_id, spec, spec_digest, org_id, outcome,
         element_count, row_count, duplicate_count, refused_count, reasons)
    select id, %(spec)s, %(digest)s, entry.org_id, entry.outcome, elements, rows, duplicates, refused, entry.reasons
    from entry
    left join lateral (
        select * from step_persistence where step_result_id = entry.id and spec = %(spec)s offset 0
    ) as known on true
    where known.step_result_id is null or (
            %(again)s or known.spec_digest <> %(digest)s or known.refused_count <> refused
            or known.outcome = 'rejected' or entry.outcome = 'written'
        ) and (
            known.spec_digest, known.org_id,
            case when (known.outcome, entry.outcome) = ('written', 'unchanged') then entry.outcome
                else known.outcome end,
            known.element_count, known.row_count, known.duplicate_count,
            known.refused_count, known.reasons
        ) is distinct from (
            %(digest)s, entry.org_id, entry.outcome, elements, rows, duplicates, refused, entry.reasons
        )
    order by id
    on conflict (step_result_id, spec) do update set
        spec_digest = excluded.spec_digest, org_id = excluded.org_id, outcome = excluded.outcome,
        element_count = excluded.element_count, row_count = excluded.row_count,
        duplicate_count = excluded.duplicate_count, refused_count = excluded.refused_count,
        reasons = excluded.reasons, recorded_at = now()
    returning step_result_id
)
delete from pending_results
where spec = %(spec)s
    and step_result_id = any(array(select id from entry except select step_result_id from recorded))
"""
