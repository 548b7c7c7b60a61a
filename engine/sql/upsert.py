"""Build the upsert of one live row, and the conditions that live and bulk upserts share.

Three conditions decide what happens to a stored row:
  not newer     the source of the stored row is not newer than the arriving one; otherwise the stored row stays
  difference    a field or a source id would change
  source time   the arriving source is newer, so its time is recorded even if the content is the same; otherwise a
                source older than it could still overwrite the row
"""

from __future__ import annotations

from engine.columns import list_columns
from engine.plan import Field, Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.spec.vocabulary import OnAbsent, OnMissing
from engine.sql.identifiers import build_answer_columns, build_key_match, indent_lines, quote, quote_names
from engine.sql.replace import build_parent_lock_key

_IDS = ("source_submission_id", "source_pipeline_run_id")

#: A source time is recorded only when the caller names one: the clock differs in every call.
_SOURCE_TIME_CHANGES = (
    "(%(source_recorded_at)s::timestamptz is not null"
    " and stored.source_recorded_at is distinct from excluded.source_recorded_at)"
)

#: Whether the submission and the run named as source belong to the organisation.
_OWNER_CHECK = """\
    select
        (arriving.source_submission_id is null or exists (
            select from submissions where id = arriving.source_submission_id and org_id = arriving.org_id
        )) as submission_ok,
        (arriving.source_pipeline_run_id is null or exists (
            select from pipeline_runs where id = arriving.source_pipeline_run_id and org_id = arriving.org_id
        )) as run_ok
    from "Arriving" as arriving"""


def list_written_columns(plan: Plan) -> tuple[str, ...]:
    """Return the columns an upsert writes, in the order of its value list."""
    return ("org_id", *(column.name for column in plan.fields), *SOURCE_COLUMNS)


def build_on_conflict(plan: Plan, source_time_changes: str) -> str:
    """Build the `on conflict` clause. Under the condition `source_time_changes` a row of equal content is written."""
    changes = [f"{quote(column.name)} = {_build_new_value(column)}" for column in _list_updated_fields(plan)]
    changes += [f"{quote(name)} = excluded.{quote(name)}" for name in SOURCE_COLUMNS]
    return (
        f"on conflict ({quote_names(plan.conflict)}) do update set\n{indent_lines(changes)}\n"
        f"where {build_not_newer_condition('stored', 'excluded')}\n"
        f"and ({source_time_changes}\n    or {build_difference_condition(plan, 'stored', 'excluded')})"
    )


def build_not_newer_condition(stored: str, arriving: str) -> str:
    """Build the condition that the source of the stored row is not newer than the arriving one."""
    return (
        f"({stored}.source_recorded_at is null or {arriving}.source_recorded_at is null"
        f" or {stored}.source_recorded_at <= {arriving}.source_recorded_at)"
    )


def build_difference_condition(plan: Plan, stored: str, arriving: str) -> str:
    """Build the condition that writing would change a field or a source id. Documents are compared last."""
    fields = sorted(_list_updated_fields(plan), key=lambda column: column.type.name == "jsonb")
    tests = [f"{stored}.{quote(name)} is distinct from {arriving}.{quote(name)}" for name in _IDS]
    tests += [_build_field_difference(column, stored, arriving) for column in fields]
    return "\n    or ".join(tests)


def _build_field_difference(column: Field, stored: str, arriving: str) -> str:
    old, new = f"{stored}.{quote(column.name)}", f"{arriving}.{quote(column.name)}"
    # for jsonb 1.10 equals 1.1, so the binary images are compared, which is also faster than comparing documents
    changed = (
        f"record_image_ne(row({old}), row({new}))" if column.type.name == "jsonb" else f"{old} is distinct from {new}"
    )
    return f"({new} is not null and {changed})" if column.on_missing is OnMissing.KEEP else changed


def _build_new_value(column: Field) -> str:
    name = quote(column.name)
    return f"coalesce(excluded.{name}, stored.{name})" if column.on_missing is OnMissing.KEEP else f"excluded.{name}"


def _list_updated_fields(plan: Plan) -> list[Field]:
    """Return the fields an update may change: all but those of the key."""
    return [column for column in plan.fields if not column.key]


def build_placeholder(name: str, type_name: str) -> str:
    """Build a parameter's placeholder with a cast to its type."""
    return f"%({name})s::{type_name}"


def build_upsert_sql(plan: Plan) -> str:
    """Build the statement of one live upsert.

    Parameters: `org_id`, every field and the three source columns by name; `source_recorded_at` null means now.
    Returns one row: `submission_ok`, `run_ok`, `outcome`, then the stored row: its scalar columns as one JSON text, and
    each document as text. `outcome` is null when another writer inserted the row after the snapshot of this statement:
    execute it again.
    """
    columns = list_written_columns(plan)
    answer_columns = build_answer_columns(plan, list_columns(plan), "upserted")
    return f"""
with "Arriving" as materialized (
    select
{indent_lines(_build_arriving_values(plan))}
){_build_parent_lock(plan)}, "Owner" as (
{_OWNER_CHECK}
), "Upserted" as (
    insert into {quote(plan.table)} as stored ({quote_names(columns)})
    select {quote_names(columns, "arriving.")}
    from "Arriving" as arriving, "Owner" as owner{', "Lock"' if plan.on_absent is OnAbsent.DELETE else ""}
    where owner.submission_ok and owner.run_ok
    {build_on_conflict(plan, _SOURCE_TIME_CHANGES)}
    returning stored.*
), answer as (
    select 'written' as outcome, {answer_columns} from "Upserted" as upserted
    union all
{_build_unwritten_answer(plan)}
)
select owner.submission_ok, owner.run_ok, answer.* from "Owner" as owner left join answer on true
"""


def _build_arriving_values(plan: Plan) -> list[str]:
    """Build the parameters as named columns; without a source time the row is as new as the clock."""
    types = {"org_id": "uuid", **{column.name: column.type.sql for column in plan.fields}, **SOURCE_COLUMNS}
    values = [f"{build_placeholder(name, types[name])} as {quote(name)}" for name in list_written_columns(plan)]
    clock = f"coalesce({build_placeholder('source_recorded_at', 'timestamptz')}, clock_timestamp())"
    values[-1] = f"{clock} as {quote('source_recorded_at')}"
    return values


def _build_unwritten_answer(plan: Plan) -> str:
    """Select the stored row that was not written, with the outcome that tells why."""
    not_newer = build_not_newer_condition("stored", "arriving")
    difference = build_difference_condition(plan, "stored", "arriving")
    return f"""    select
        case when {not_newer} or not ({difference})
            then 'unchanged' else 'superseded' end,
        {build_answer_columns(plan, list_columns(plan), "stored")}
    from {quote(plan.table)} as stored, "Arriving" as arriving, "Owner" as owner
    where not exists (select from "Upserted") and owner.submission_ok and owner.run_ok
    and {build_key_match(plan, "stored", "arriving")}"""


def _build_parent_lock(plan: Plan) -> str:
    """Build the CTE that locks the parent key under `on_absent: delete` (engine/sql/replace.py)."""
    if plan.on_absent is not OnAbsent.DELETE:
        return ""
    lock = f"pg_advisory_xact_lock({build_parent_lock_key(plan, 'arriving')})"
    return f', "Lock" as materialized (\n    select {lock} from "Arriving" as arriving\n)'
