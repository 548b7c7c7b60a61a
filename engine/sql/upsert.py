"""Build the upsert of one live row whose source is not a recorded step result.

Three conditions decide what happens to a stored row:

- not newer: the source of the stored row is not newer than the arriving one; otherwise the stored row stays
- difference: a field or a source id would change
- source time: the arriving source is newer, so its time is recorded even if the content is the same; otherwise a source
  older than it could still overwrite the row

A row of a recorded step result is computed from all step results of its key instead (engine/rows/fold.py). If recorded
step results contribute to the row of this upsert, it makes the newest pending: the next sweep computes the row again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.columns import list_columns
from engine.plan import Field, Plan
from engine.provided_columns import SOURCE_COLUMNS, SOURCE_IDS
from engine.spec.enums import OnMissing
from engine.sql.identifiers import build_answer_columns, build_key_lookup, indent_lines, quote, quote_names, quote_table

#: Whether the source time changes. It does so only if the caller gives one: the default, the clock, always differs.
_SOURCE_TIME_CHANGES = (
    "(%(source_recorded_at)s::timestamptz is not null"
    " and stored.source_recorded_at is distinct from arriving.source_recorded_at)"
)

#: The latest time that a source may give: a later one would win over all that is recorded until then. Migration 020 has
#: the same limit for step results. It is the database's clock that counts, since step results have their times from it.
LATEST_TIME = "now() + interval '5 minutes'"

#: Whether the sources belong to the organisation and to each other, and their time is not far ahead.
_OWNER_CHECK = f"""\
    select
        (arriving.source_submission_id is null or exists (
            select from submissions where id = arriving.source_submission_id and org_id = arriving.org_id
        )) as submission_ok,
        (arriving.source_pipeline_run_id is null or exists (
            select from pipeline_runs where id = arriving.source_pipeline_run_id and org_id = arriving.org_id
            and submission_id = coalesce(arriving.source_submission_id, submission_id)
        )) as run_ok,
        (arriving.source_step_result_id is null or exists (
            select from step_results where id = arriving.source_step_result_id and org_id = arriving.org_id
            and pipeline_run_id = coalesce(arriving.source_pipeline_run_id, pipeline_run_id)
            and submission_id = coalesce(arriving.source_submission_id, submission_id)
        )) as step_ok,
        arriving.source_recorded_at <= {LATEST_TIME} as time_ok
    from "Arriving" as arriving"""
_OWNER_OK = "owner.submission_ok and owner.run_ok and owner.step_ok and owner.time_ok"

#: Make the newest step result that contributes to the row pending, so that the next sweep computes the row again.
_PENDING = """\
    delete from step_persistence where spec = %(Spec)s and exists (select from "Upserted") and step_result_id = (
        select lineage.step_result_id
        from row_lineage as lineage join step_results as source on source.id = lineage.step_result_id
        where lineage.org_id = %(org_id)s::uuid and lineage.unit = %(Unit)s::uuid
        order by source.recorded_at desc, source.id desc limit 1
    )"""

#: Record the lineage of a step result that an upsert names before it is recorded; the row is computed from it later.
_CLAIM = """\
    insert into row_lineage as known (org_id, unit, step_result_id, spec, row_id, parent)
    select %(org_id)s::uuid, %(Unit)s::uuid, %(source_step_result_id)s::uuid, %(Spec)s, id, %(Parent)s::jsonb
    from "Upserted" where %(source_step_result_id)s::uuid is not null
    on conflict (org_id, unit, step_result_id) do update set row_id = excluded.row_id"""

#: Lock the rows that are computed together with this one (the unit), in a statement before the upsert, so that the
#: upsert sees what the last writer committed.
LOCK_UNIT_SQL = "select pg_advisory_xact_lock(%(Lock)s::bigint)"


def list_written_columns(plan: Plan) -> tuple[str, ...]:
    """Return the columns that an upsert writes, in the order of its value list."""
    return ("org_id", *(column.name for column in plan.fields), *SOURCE_COLUMNS)


def build_row_difference(plan: Plan, arriving: str) -> str:
    """Build the condition that the row `stored` differs from the arriving one, digits included."""
    return _join_differences(plan, arriving, SOURCE_COLUMNS, _build_change)


def build_on_conflict(plan: Plan, condition: str) -> str:
    """Build the `on conflict` clause, which applies `on_missing` (`keep`, `clear`) to a row that meets `condition`."""
    changes = [f"{quote(column.name)} = {_build_new_value(column)}" for column in _list_updated_fields(plan)]
    changes += [f"{quote(name)} = excluded.{quote(name)}" for name in SOURCE_COLUMNS]
    return f"on conflict ({quote_names(plan.conflict)}) do update set\n{indent_lines(changes)}\nwhere {condition}"


def build_change_condition(plan: Plan, arriving: str, source_time_changes: str) -> str:
    """Build the condition that the row `stored` has to be updated to the arriving one.

    If the condition `source_time_changes` holds, a row with equal content is updated too.
    """
    return (
        f"{_build_not_newer_condition(arriving)}\n"
        f"and ({source_time_changes}\n    or {_build_difference_condition(plan, arriving)})"
    )


def _build_not_newer_condition(arriving: str) -> str:
    """Build the condition that the source of the stored row is not newer than the arriving one."""
    return (
        f"(stored.source_recorded_at is null or {arriving}.source_recorded_at is null"
        f" or stored.source_recorded_at < {arriving}.source_recorded_at"
        f" or stored.source_recorded_at = {arriving}.source_recorded_at and not coalesce("
        f"stored.source_step_result_id > {arriving}.source_step_result_id, false))"
    )


def _build_difference_condition(plan: Plan, arriving: str) -> str:
    """Build the condition that writing would change a field or a source id."""
    return _join_differences(plan, arriving, SOURCE_IDS, _build_field_difference)


def _join_differences(plan: Plan, arriving: str, sources: Iterable[str], build: Callable[[Field, str], str]) -> str:
    """Join the conditions that a source column or a field differs; documents come last, as the most expensive."""
    fields = sorted(_list_updated_fields(plan), key=lambda column: column.type.name == "jsonb")
    tests = [f"stored.{quote(name)} is distinct from {arriving}.{quote(name)}" for name in sources]
    return "\n    or ".join([*tests, *(build(column, arriving) for column in fields)])


def _build_field_difference(column: Field, arriving: str) -> str:
    changed = _build_change(column, arriving)
    new = f"{arriving}.{quote(column.name)}"
    return f"({new} is not null and {changed})" if column.on_missing is OnMissing.KEEP else changed


def _build_change(column: Field, arriving: str) -> str:
    """Build the condition that a field differs, digits included: 1.10 and 1.1 differ."""
    old, new = f"stored.{quote(column.name)}", f"{arriving}.{quote(column.name)}"
    if column.type.name == "jsonb":  # binary images are also faster to compare than documents
        return f"record_image_ne(row({old}), row({new}))"
    if column.type.name == "numeric":
        return f"({old} is distinct from {new} or scale({old}) is distinct from scale({new}))"
    return f"{old} is distinct from {new}"


def _build_new_value(column: Field) -> str:
    """Build the value that a field gets in an update."""
    name = quote(column.name)
    return f"coalesce(excluded.{name}, stored.{name})" if column.on_missing is OnMissing.KEEP else f"excluded.{name}"


def _list_updated_fields(plan: Plan) -> list[Field]:
    """Return the fields an update may change: all but those of the key."""
    return [column for column in plan.fields if not column.key]


def build_upsert_sql(plan: Plan) -> str:
    """Build the statement of one live upsert, to be executed after LOCK_UNIT_SQL.

    Parameters: `org_id`, `Spec`, the id `Unit` and the parent key `Parent` of the rows that are computed together with
    this one (engine/rows/units.py), every field and the source columns by name; `source_recorded_at` null means now.
    Those with a capital letter are no column's: a spec may call its columns `unit` or `parent`.

    Returns one row: `submission_ok`, `run_ok`, `step_ok` (whether the source is the organisation's), `time_ok` (whether
    its time is not far ahead), `outcome`, then the stored row: its scalar columns as one JSON text, and each document
    as text. `outcome` is null if nothing was written and the snapshot has no row: the source is refused, a trigger
    discarded the row, or another writer inserted one after the snapshot.
    """
    columns = list_written_columns(plan)
    answer_columns = build_answer_columns(plan, list_columns(plan), "upserted")
    # Of `arriving`, as in the answer: a type or a trigger of the table may have changed what is `excluded`.
    changes = build_change_condition(plan, "arriving", _SOURCE_TIME_CHANGES)
    on_conflict = build_on_conflict(plan, f'(select {changes} from "Arriving" as arriving)')
    return f"""
with "Arriving" as materialized (
    select
{indent_lines(_build_arriving_values(plan))}
), "Owner" as (
{_OWNER_CHECK}
), "Upserted" as (
    insert into {quote_table(plan.table)} as stored ({quote_names(columns)})
    select {quote_names(columns, "arriving.")}
    from "Arriving" as arriving, "Owner" as owner
    where {_OWNER_OK}
    {on_conflict}
    returning stored.*
), "Pending" as (
{_PENDING}
), "Claim" as (
{_CLAIM}
), answer as (
    select 'written' as outcome, {answer_columns} from "Upserted" as upserted
    union all
{_build_unwritten_answer(plan)}
)
select owner.submission_ok, owner.run_ok, owner.step_ok, owner.time_ok, answer.*
from "Owner" as owner left join answer on true
"""


def build_stored_rows_sql(plan: Plan) -> str:
    """Build the query for rows by id (parameter `ids`, a list): the id, then the columns that an upsert returns."""
    return f"""
select stored.id::text, {build_answer_columns(plan, list_columns(plan), "stored")}
from {quote_table(plan.table)} as stored where stored.id = any(%(ids)s::uuid[])
"""


def _build_arriving_values(plan: Plan) -> list[str]:
    """Build the parameters as named columns; the source time defaults to now."""
    types = {"org_id": "uuid", **{column.name: column.type.sql for column in plan.fields}, **SOURCE_COLUMNS}
    values = [f"%({name})s::{types[name]} as {quote(name)}" for name in list_written_columns(plan)]
    values[-1] = 'coalesce(%(source_recorded_at)s::timestamptz, clock_timestamp()) as "source_recorded_at"'
    return values


def _build_unwritten_answer(plan: Plan) -> str:
    """Select the stored row, with the outcome `unchanged` or `superseded`, if the upsert did not write it.

    There is none if the upsert should have written the row: a trigger discarded it, or another transaction changed the
    stored one meanwhile.
    """
    not_newer = _build_not_newer_condition("arriving")
    difference = _build_difference_condition(plan, "arriving")
    return f"""    select
        case when compared."Differs" then 'superseded' else 'unchanged' end,
        {build_answer_columns(plan, list_columns(plan), "stored")}
    from "Arriving" as arriving cross join "Owner" as owner cross join lateral (
        {build_key_lookup(plan, "arriving")}
        limit 1
    ) as stored cross join lateral (
        select {difference} as "Differs" offset 0
    ) as compared
    where not exists (select from "Upserted") and {_OWNER_OK}
    and not ({not_newer}
        and (compared."Differs" or {_SOURCE_TIME_CHANGES}))"""
