"""Plan -> the upsert, the same conditions live and in bulk.

In: a Plan. Out: SQL text. It must not know where values come from nor who sends the text.

What happens to a stored row is decided by three conditions, spelled once here:
  differs   a field or a source id would change
  newer     the stored row comes from a newer source: it stays, whatever arrives
  moves     the source is newer than the stored one, so its time is recorded even where the content is the same;
            otherwise an even older source could still overwrite it
"""

from __future__ import annotations

from engine.columns import SOURCE_COLUMNS, columns
from engine.plan import Field, Plan
from engine.sql.identifiers import indented, match_key, quote, quoted, shown
from engine.sql.replace import turn

_IDS = ("source_submission_id", "source_pipeline_run_id")


def written_columns(plan: Plan) -> tuple[str, ...]:
    """The columns an upsert writes, in the order of its value list."""
    return ("org_id", *(item.name for item in plan.fields), *SOURCE_COLUMNS)


def on_conflict(plan: Plan, moves: str) -> str:
    """The `on conflict` clause. `moves` says when a mere move of the source time is written."""
    changes = [f"{quote(item.name)} = {_new(item)}" for item in _values(plan)]
    changes += [f"{quote(name)} = excluded.{quote(name)}" for name in SOURCE_COLUMNS]
    return (
        f"on conflict ({quoted(plan.conflict)}) do update set\n{indented(changes)}\n"
        f"where {not_newer('stored', 'excluded')}\n"
        f"and ({moves}\n    or {differs(plan, 'stored', 'excluded')})"
    )


def not_newer(stored: str, arriving: str) -> str:
    """Whether the stored row gives way to the arriving one."""
    return (
        f"({stored}.source_recorded_at is null or {arriving}.source_recorded_at is null"
        f" or {stored}.source_recorded_at <= {arriving}.source_recorded_at)"
    )


def differs(plan: Plan, stored: str, arriving: str) -> str:
    """Whether writing would change a field or a source id. Small columns first: documents are compared last."""
    fields = sorted(_values(plan), key=lambda item: item.type.name == "jsonb")
    tests = [f"{stored}.{quote(name)} is distinct from {arriving}.{quote(name)}" for name in _IDS]
    tests += [_differs(item, stored, arriving) for item in fields]
    return "\n    or ".join(tests)


def _differs(item: Field, stored: str, arriving: str) -> str:
    old, new = f"{stored}.{quote(item.name)}", f"{arriving}.{quote(item.name)}"
    # jsonb takes 1.10 and 1.1 for the same; the image is compared, which is also cheaper than walking both documents
    changed = (
        f"record_image_ne(row({old}), row({new}))" if item.type.name == "jsonb" else f"{old} is distinct from {new}"
    )
    return f"({new} is not null and {changed})" if item.on_missing == "keep" else changed


def _new(item: Field) -> str:
    name = quote(item.name)
    return f"coalesce(excluded.{name}, stored.{name})" if item.on_missing == "keep" else f"excluded.{name}"


def _values(plan: Plan) -> list[Field]:
    """The fields an update may change: all but the key."""
    return [item for item in plan.fields if not item.key]


def parameter(name: str, type_name: str) -> str:
    """A placeholder with its type."""
    return f"%({name})s::{type_name}"


def live(plan: Plan) -> str:
    """The statement of one live upsert.

    Parameters: `org_id`, every field by name, the three source columns by name (`source_recorded_at` null: the clock).
    Answers one row: `submission_ok`, `run_ok`, `outcome`, then the stored row: its scalar columns as one JSON text, and
    each document as text. `outcome` is null when the row slipped in between snapshot and insert: ask again.
    """
    types = {"org_id": "uuid", **{item.name: item.type.sql for item in plan.fields}, **SOURCE_COLUMNS}
    values = [f"{parameter(name, types[name])} as {quote(name)}" for name in written_columns(plan)]
    clock = f"coalesce({parameter('source_recorded_at', 'timestamptz')}, clock_timestamp())"
    values[-1] = f"{clock} as {quote('source_recorded_at')}"
    named = f"{parameter('source_recorded_at', 'timestamptz')} is not null"
    moves = f"({named} and stored.source_recorded_at is distinct from excluded.source_recorded_at)"
    return f"""
with "Arriving" as materialized (
    select
{indented(values)}
){_turn(plan)}, "Owner" as (
    select
        (arriving.source_submission_id is null or exists (
            select from submissions where id = arriving.source_submission_id and org_id = arriving.org_id
        )) as submission_ok,
        (arriving.source_pipeline_run_id is null or exists (
            select from pipeline_runs where id = arriving.source_pipeline_run_id and org_id = arriving.org_id
        )) as run_ok
    from "Arriving" as arriving
), "Upserted" as (
    insert into {quote(plan.table)} as stored ({quoted(written_columns(plan))})
    select {quoted(written_columns(plan), "arriving.")}
    from "Arriving" as arriving, "Owner" as owner{', "Turn"' if plan.on_absent == "delete" else ""}
    where owner.submission_ok and owner.run_ok
    {on_conflict(plan, moves)}
    returning stored.*
), answer as (
    select 'written' as outcome, {shown(plan, columns(plan), "upserted")} from "Upserted" as upserted
    union all
    select
        case when {not_newer("stored", "arriving")} or not ({differs(plan, "stored", "arriving")})
            then 'unchanged' else 'superseded' end,
        {shown(plan, columns(plan), "stored")}
    from {quote(plan.table)} as stored, "Arriving" as arriving, "Owner" as owner
    where not exists (select from "Upserted") and owner.submission_ok and owner.run_ok
    and {match_key(plan, "stored", "arriving")}
)
select owner.submission_ok, owner.run_ok, answer.* from "Owner" as owner left join answer on true
"""


def _turn(plan: Plan) -> str:
    """Under `on_absent: delete` the writers of one parent take turns (engine/sql/replace.py)."""
    if plan.on_absent != "delete":
        return ""
    lock = f"pg_advisory_xact_lock({turn(plan, 'arriving')})"
    return f', "Turn" as materialized (\n    select {lock} from "Arriving" as arriving\n)'
