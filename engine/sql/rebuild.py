"""Build the statements of `dex rebuild`: the new table, what it takes over from the present one, and the swap."""

from __future__ import annotations

from collections.abc import Sequence

from engine.plan import Plan
from engine.sql.identifiers import quote, quote_table
from engine.sql.step_results import UNFINISHED

#: The id of a unit (rows that are computed together) of a temporary spec as that of the spec: in reverse.
_REVERSED_UNIT = "reverse(replace(unit::text, '-', ''))::uuid"

#: The id of a row before it is given another one; a name that no column has.
_OWN_ID = '"Own id"'
_ID_CHANGES = "pg_temp.dex_id_changes"

#: Lock the spec for a rebuild, so that there is one at a time.
TRY_LOCK_SQL = "select pg_try_advisory_xact_lock(hashtextextended('dex rebuild ' || %(spec)s, 0))"

#: Keep erasures and the swap of a spec's table apart: the swap locks it for itself, and erasures share it.
LOCK_SWAP_SQL = "select pg_advisory_xact_lock(hashtextextended('dex swap ' || %(spec)s, 0))"
LOCK_SWAPS_SQL = """
select pg_advisory_xact_lock_shared(hashtextextended('dex swap ' || spec, 0)) from unnest(%(specs)s::text[]) as spec
"""

#: Let the spec `spec` have the ledger, the lineage and the stale rows of the temporary spec `rebuilt`, in place of its
#: own. Lineage comes first, as in the triggers of `step_results`: one that waits for an entry finds it renamed.
#: The spec keeps the lineage of steps that are being executed, since their rows are copied. If such a step gives no row
#: in the end, its row is looked up by its id, as the unit is that of the old key; with a parent key it would not be.
CARRY_RECORD_SQL = (
    f"""
delete from row_lineage as entry where entry.spec = %(spec)s and not exists (
    select from step_results as step where step.id = entry.step_result_id and step.status::text in {UNFINISHED}
)""",
    f"""
update row_lineage set spec = %(spec)s, unit = case spec when %(rebuilt)s then {_REVERSED_UNIT} else unit end,
    parent = case spec when %(rebuilt)s then parent end
where spec in (%(spec)s, %(rebuilt)s)""",
    f"""
with gone as (delete from stale_rows where spec = %(rebuilt)s returning *)
insert into stale_rows as known (org_id, spec, unit, row_id, parent, remove_when_empty)
select org_id, %(spec)s, {_REVERSED_UNIT}, row_id, parent, remove_when_empty from gone order by 1, 2, 3
on conflict (org_id, spec, unit) do update set
    row_id = coalesce(excluded.row_id, known.row_id), parent = coalesce(excluded.parent, known.parent),
    remove_when_empty = excluded.remove_when_empty, revision = excluded.revision""",
    "delete from step_persistence where spec = %(spec)s",
    "update step_persistence set spec = %(spec)s where spec = %(rebuilt)s",
)

#: Delete the stale rows of the spec, which are computed in the new table: before rows without a step result are copied,
#: since a step that is being executed then, and fails later in the swap, queues its copied row.
DELETE_STALE_SQL = "delete from stale_rows where spec = %(spec)s"

#: Let nothing be queued for the temporary spec `rebuilt`; then delete what else there is of it.
UNQUEUE_SPEC_SQL = (
    "delete from spec_versions where spec = %(rebuilt)s",
    "delete from pending_results where spec = %(rebuilt)s",
)
FORGET_SPEC_SQL = (
    *UNQUEUE_SPEC_SQL,
    "delete from step_persistence where spec = %(rebuilt)s",
    "delete from row_lineage where spec = %(rebuilt)s",
    "delete from stale_rows where spec = %(rebuilt)s",
)

#: Record for readers of changes which rows the swap removed, and that every row was written.
NOTE_REMOVED_SQL = """
update row_changes as entry set removed = true, number = null, changed_at = clock_timestamp()
where entry.table_name = %(name)s and not entry.removed
    and not exists (select from {new_table} as fresh where fresh.id = entry.row_id and fresh.org_id = entry.org_id)
"""
NOTE_WRITTEN_SQL = """
insert into row_changes as known (org_id, table_name, row_id)
select fresh.org_id, %(name)s, fresh.id from {new_table} as fresh
on conflict (org_id, table_name, row_id) do update set removed = false, number = null, changed_at = excluded.changed_at
"""


def build_rebuilt_name(spec: str) -> str:
    """Return the temporary name under which a spec's new table has its ledger, its lineage and its stale rows."""
    return f"{spec} (rebuild)"


def build_new_table_sql(table: str, new_table: str) -> str:
    """Build the statement that creates an empty table with the columns and checks of the present one."""
    return (
        f"create table {quote_table(new_table)} (like {quote_table(table)} including defaults including constraints"
        " including generated including identity including storage including compression including comments"
        " including statistics)"
    )


def build_unsourced_condition(source: str) -> str:
    """Return the condition that no existing step result gives a row; one that is being executed gives none yet."""
    return (
        f"({source}.source_step_result_id is null or not exists"
        f" (select from step_results as step where step.id = {source}.source_step_result_id"
        f" and step.status::text not in {UNFINISHED}))"
    )


def build_select_unsourced_sql(table: str) -> str:
    """Select the ids of the rows without a step result, newest first."""
    unsourced = build_unsourced_condition("old")
    return f"select old.id from {quote_table(table)} as old where {unsourced} order by old.updated_at desc, old.id"


def build_copy_rows_sql(plan: Plan, new_table: str, columns: Sequence[str], cast: Sequence[str]) -> str:
    """Copy the rows `ids`, unless a step result has given their key; `cast` are the columns whose type has changed.

    A row whose step result was deleted names none any more, as after a backfill.
    """
    source = "(select step.id from step_results as step where step.id = old.source_step_result_id)"
    values = ", ".join(
        source if name == "source_step_result_id" else _build_old_value(plan, name, cast) for name in columns
    )
    names = ", ".join(map(quote, columns))
    return (
        f"insert into {quote_table(new_table)} ({names}) overriding system value\nselect {values}"
        f" from {quote_table(plan.table)} as old\nwhere old.id = any(%(ids)s::uuid[])"
        "\norder by old.updated_at desc, old.id\non conflict do nothing"
    )


def build_select_parents_sql(plan: Plan, new_table: str) -> str:
    """Select organisation and parent key of those of the rows `ids` that were copied and have no step result."""
    names = ", ".join(f"fresh.{quote(column.name)}" for column in plan.parent_key)
    return (
        f"select distinct fresh.org_id::text, {names} from {quote_table(new_table)} as fresh"
        " where fresh.id = any(%(ids)s::uuid[]) and fresh.source_step_result_id is null"
    )


def build_select_displaced_sql(plan: Plan, new_table: str, columns: Sequence[str], cast: Sequence[str]) -> str:
    """Select those of the rows `ids` that were not copied since another row without a step result has their key."""
    match = " and ".join(
        f"fresh.{quote(name)} is not distinct from {_build_old_value(plan, name, cast) if name in columns else 'null'}"
        for name in plan.conflict
    )
    return (
        f"select old.id::text from {quote_table(plan.table)} as old\nwhere old.id = any(%(ids)s::uuid[])"
        f" and not exists (select from {quote_table(new_table)} as fresh where fresh.id = old.id)"
        f"\nand exists (select from {quote_table(new_table)} as fresh"
        f" where {match} and {build_unsourced_condition('fresh')})\norder by old.updated_at desc, old.id"
    )


def _build_old_value(plan: Plan, name: str, cast: Sequence[str]) -> str:
    """Return the value of a column of the present table, converted for the changed spec."""
    return f"old.{quote(name)}::text::{plan.field(name).type.sql}" if name in cast else f"old.{quote(name)}"


def build_set_sequence_sql(new_table: str, column: str) -> str:
    """Set an identity column's sequence to continue after the values that were taken over, if there are any."""
    return (
        f"select setval(seqrelid::regclass, greatest(max({quote(column)}), seqmin))"
        f" from {quote_table(new_table)}, pg_sequence"
        " where seqrelid = pg_get_serial_sequence(%(new_table)s, %(column)s)::regclass group by seqrelid, seqmin"
    )


def build_release_ids(plan: Plan, new_table: str) -> tuple[str, ...]:
    """Give each row another id that has the id of a present row with another key: it took it over with an equal key.

    Returns statements for one transaction. Parameter: `rebuilt`, the temporary spec of the new table.
    """
    changes = f"""
    select fresh.id as {_OWN_ID}, gen_random_uuid() as id
    from {quote_table(new_table)} as fresh join {quote_table(plan.table)} as old on old.id = fresh.id
    where not ({_build_key_match(plan)})"""
    return _build_id_change(new_table, changes, ["id"])


def build_take_over(plan: Plan, new_table: str, carried: Sequence[str]) -> tuple[str, ...]:
    """Give each row the id, the creation time and the columns outside the spec that the present row of its key has.

    Executed again, it takes over what others have written into those columns since. Their texts are compared, since
    not every type has an equality. Returns statements for one transaction. Parameter: `rebuilt`, the temporary spec of
    the new table.
    """
    names = ["id", "created_at", *carried]
    key = ", ".join(_spell_key(plan, name) for name in plan.conflict)
    differs = [
        "fresh.id <> old.id",
        *(f"fresh.{quote(name)}::text is distinct from old.{quote(name)}::text" for name in carried),
    ]
    changes = f"""
    select fresh.id as {_OWN_ID}, {", ".join(f"old.{quote(name)}" for name in names)}
    from {quote_table(new_table)} as fresh
    join (
        select distinct on ({key}) * from {quote_table(plan.table)} order by {key}, updated_at desc
    ) as old on {_build_key_match(plan)}
    where {" or ".join(differs)}"""
    return _build_id_change(new_table, changes, names)


def _build_id_change(new_table: str, changes: str, names: Sequence[str]) -> tuple[str, ...]:
    """Build the statements that give rows of the new table the columns `names` of the query `changes`, `id` among them.

    `changes` returns the id that a row has until now as _OWN_ID. Lineage and stale rows name the row by its new id as
    well. Lineage comes first: whoever corrects a step result meanwhile, and so makes lineage a stale row of the same
    id, is either waited for, and what it queued is then seen, or waits and finds the new id.
    """
    columns = ", ".join(f"{quote(name)} = changed.{quote(name)}" for name in names)
    return (
        f"create temporary table {_ID_CHANGES} on commit drop as {changes}",
        *(
            f"update {table} as entry set row_id = changed.id from {_ID_CHANGES} as changed"
            f" where entry.spec = %(rebuilt)s and entry.row_id = changed.{_OWN_ID}"
            for table in ("row_lineage", "stale_rows")
        ),
        f"update {quote_table(new_table)} as fresh set {columns} from {_ID_CHANGES} as changed"
        f" where fresh.id = changed.{_OWN_ID}",
        f"drop table {_ID_CHANGES}",
    )


def _build_key_match(plan: Plan) -> str:
    """Build the condition that two rows have the same key.

    Arrays are equal also where both have null, and can be hashed: `is not distinct from` would compare all pairs.
    """
    fresh, old = (", ".join(_spell_key(plan, name, source) for name in plan.conflict) for source in ("fresh.", "old."))
    return f"array[{fresh}] = array[{old}]"


def _spell_key(plan: Plan, name: str, source: str = "") -> str:
    """Return the text of a key column; of a number without zeros at its end, which rows of older engines may have."""
    text = f"{source}{quote(name)}::text"
    if name == "org_id" or plan.field(name).type.name != "numeric":
        return text
    return rf"regexp_replace({text}, '^(-?\d+)(?:\.0+|(\.\d*[1-9])0+)$', '\1\2')"
