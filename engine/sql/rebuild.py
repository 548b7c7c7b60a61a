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

#: The objects that would be lost with the table, or that prevent it from being dropped: (kind, name).
SELECT_DEPENDENTS_SQL = """
with target as (select to_regclass(%(table)s)::oid as oid)
select distinct case view.relkind when 'm' then 'materialized view' else 'view' end, view.oid::regclass::text
from target
join pg_depend as dependency on dependency.refobjid = target.oid and dependency.classid = 'pg_rewrite'::regclass
join pg_rewrite as rule on rule.oid = dependency.objid
join pg_class as view on view.oid = rule.ev_class and view.oid <> target.oid
union all
select 'rule', rule.rulename::text from target join pg_rewrite as rule on rule.ev_class = target.oid
union all
select 'foreign key', source.conname || ' of ' || source.conrelid::regclass::text
from target join pg_constraint as source on source.confrelid = target.oid
union all
select distinct named.type, named.identity
from target join pg_class as relation on relation.oid = target.oid
join pg_type as row_type on row_type.oid = relation.reltype
join pg_depend as dependency
    on dependency.refclassid = 'pg_class'::regclass and dependency.refobjid = relation.oid
        and dependency.classid not in ('pg_rewrite'::regclass, 'pg_constraint'::regclass, 'pg_class'::regclass)
    or dependency.refclassid = 'pg_type'::regclass and dependency.refobjid in (row_type.oid, row_type.typarray)
cross join lateral pg_identify_object(dependency.classid, dependency.objid, dependency.objsubid) as named
where dependency.deptype = 'n'
    and not exists (
        select from pg_depend as own where own.classid = dependency.classid and own.objid = dependency.objid
            and own.refclassid = 'pg_class'::regclass and own.refobjid = relation.oid and own.deptype in ('a', 'i')
    )
union all
select 'partition or child', child.inhrelid::regclass::text
from target join pg_inherits as child on target.oid in (child.inhparent, child.inhrelid)
union all
select 'publication', member.pubname::text
from target join pg_class as relation on relation.oid = target.oid
join pg_namespace as schema on schema.oid = relation.relnamespace
join pg_publication_tables as member
    on member.schemaname = schema.nspname and member.tablename = relation.relname
order by 1, 2
"""

#: The name of a grantee in SQL, as `spelled.name`.
_SPELLED_GRANTEE = """
    cross join lateral (
        select case entry.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(entry.grantee)) end as name
    ) as spelled"""

#: The statements that give the new table what the present one has besides columns, in order. Triggers that record
#: changes are left out: they are created once the table has its final name. Default privileges, which may be wider than
#: those of the present table, are revoked.
SELECT_CARRIED_SQL = f"""
with target as (
    select c.*, format('%%I.%%I', n.nspname, c.relname) as full_name
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.oid = to_regclass(%(table)s)
), carried as (
    select 1 as place, k.conname::text as name,
        format('alter table %%s add constraint %%I %%s', %(new_table)s::text, k.conname, pg_get_constraintdef(k.oid))
            as text
    from target join pg_constraint as k on k.conrelid = target.oid and k.contype = 'f'
    union all
    select 2, t.tgname::text, replace(
        pg_get_triggerdef(t.oid), ' ON ' || target.full_name || ' ', ' ON ' || %(new_table)s::text || ' ')
    from target join pg_trigger as t on t.tgrelid = target.oid and not t.tgisinternal
    join pg_proc as p on p.oid = t.tgfoid and p.proname <> 'note_changed_rows'
    union all
    select 3, t.tgname::text, format('alter table %%s %%s trigger %%I', %(new_table)s::text,
        case t.tgenabled when 'D' then 'disable' when 'R' then 'enable replica' else 'enable always' end, t.tgname)
    from target join pg_trigger as t on t.tgrelid = target.oid and not t.tgisinternal and t.tgenabled <> 'O'
    join pg_proc as p on p.oid = t.tgfoid and p.proname <> 'note_changed_rows'
    union all
    select 4, '', format('alter table %%s enable row level security', %(new_table)s::text)
    from target where relrowsecurity
    union all
    select 4, '', format('alter table %%s force row level security', %(new_table)s::text)
    from target where relforcerowsecurity
    union all
    select 5, p.policyname::text, format(
        'create policy %%I on %%s as %%s for %%s to %%s%%s%%s', p.policyname, %(new_table)s::text, p.permissive, p.cmd,
        (select string_agg(case role when 'public' then 'public' else quote_ident(role) end, ', ')
         from unnest(p.roles) as role),
        ' using (' || p.qual || ')', ' with check (' || p.with_check || ')')
    from target join pg_namespace as n on n.oid = target.relnamespace
    join pg_policies as p on p.schemaname = n.nspname and p.tablename = target.relname
    union all
    select distinct 6, '', format('revoke all on %%s from %%s', %(new_table)s::text, spelled.name)
    from pg_class as fresh cross join lateral aclexplode(fresh.relacl) as entry {_SPELLED_GRANTEE}
    where fresh.oid = to_regclass(%(new_table)s) and entry.grantee <> fresh.relowner
    union all
    select 7, '', format('grant %%s on %%s to %%s%%s', entry.privilege_type, %(new_table)s::text, spelled.name,
        case when entry.is_grantable then ' with grant option' else '' end)
    from target cross join lateral aclexplode(target.relacl) as entry {_SPELLED_GRANTEE}
    where entry.grantee <> target.relowner
    union all
    select 7, a.attname::text, format('grant %%s (%%I) on %%s to %%s%%s', entry.privilege_type, a.attname,
        %(new_table)s::text, spelled.name, case when entry.is_grantable then ' with grant option' else '' end)
    from target join pg_attribute as a on a.attrelid = target.oid and not a.attisdropped
    cross join lateral aclexplode(a.attacl) as entry {_SPELLED_GRANTEE}
    union all
    select 8, '', format('alter table %%s set (%%s)', %(new_table)s::text, array_to_string(reloptions, ', '))
    from target where reloptions is not null
    union all
    select 8, '', format('alter table %%s set unlogged', %(new_table)s::text) from target where relpersistence = 'u'
    union all
    select 8, '', format('alter table %%s set tablespace %%I', %(new_table)s::text, place.spcname)
    from target join pg_tablespace as place on place.oid = target.reltablespace
    union all
    select 8, '', format('alter table %%s replica identity %%s', %(new_table)s::text,
        case relreplident when 'f' then 'full' else 'nothing' end)
    from target where relreplident in ('f', 'n')
    union all
    select 8, a.attname::text, format('alter table %%s alter column %%I set statistics %%s', %(new_table)s::text,
        a.attname, a.attstattarget)
    from target join pg_attribute as a on a.attrelid = target.oid and a.attnum > 0 and not a.attisdropped
    where a.attstattarget >= 0
    union all
    select 8, a.attname::text, format('alter table %%s alter column %%I set (%%s)', %(new_table)s::text,
        a.attname, array_to_string(a.attoptions, ', '))
    from target join pg_attribute as a on a.attrelid = target.oid and a.attnum > 0 and not a.attisdropped
    where a.attoptions is not null
    union all
    select 9, '', format('comment on table %%s is %%L', %(new_table)s::text, obj_description(oid, 'pg_class'))
    from target where obj_description(oid, 'pg_class') is not null
    union all
    select 9, remark.name, format('comment on %%s %%I on %%s is %%L', remark.kind, remark.name, %(new_table)s::text,
        remark.text)
    from target cross join lateral (
        select 'constraint' as kind, conname::text as name, obj_description(oid, 'pg_constraint') as text
        from pg_constraint where conrelid = target.oid and contype = 'f'
        union all
        select 'trigger', t.tgname::text, obj_description(t.oid, 'pg_trigger')
        from pg_trigger as t join pg_proc as p on p.oid = t.tgfoid and p.proname <> 'note_changed_rows'
        where t.tgrelid = target.oid and not t.tgisinternal
        union all
        select 'policy', polname::text, obj_description(oid, 'pg_policy') from pg_policy where polrelid = target.oid
    ) as remark
    where remark.text is not null
    union all
    select 10, '', format('alter table %%s owner to %%I', %(new_table)s::text, pg_get_userbyid(relowner))
    from target where pg_get_userbyid(relowner) <> current_user
)
select text from carried order by place, name, text
"""

#: The indexes of a table, the primary key first; `text` is what follows the table's name in the definition of one.
SELECT_INDEXES_SQL = """
select c.relname::text as name, i.indisprimary as is_primary, i.indisunique as is_unique,
    k.oid is not null as is_constraint, k.condeferrable as deferrable, k.condeferred as deferred,
    i.indisreplident as identifies_rows,
    case k.contype when 'x' then pg_get_constraintdef(k.oid) end as exclusion,
    substring(pg_get_indexdef(c.oid) from position(' USING ' in pg_get_indexdef(c.oid))) as text,
    quote_literal(obj_description(c.oid, 'pg_class')) as comment
from pg_index as i join pg_class as c on c.oid = i.indexrelid
left join pg_constraint as k on k.conindid = c.oid and k.conrelid = i.indrelid
where i.indrelid = to_regclass(%(table)s) and i.indisvalid and coalesce(k.contype, 'u') in ('u', 'p', 'x')
order by i.indisprimary desc, c.relname
"""

#: The extended statistics of a table, in the order in which they were made.
SELECT_STATISTICS_SQL = """
select stxname::text from pg_statistic_ext where stxrelid = to_regclass(%(table)s) order by oid
"""

#: Sequences that go with a column of the table: (sequence, column).
SELECT_SEQUENCES_SQL = """
select s.oid::regclass::text, a.attname::text
from pg_class as s
join pg_depend as d on d.objid = s.oid and d.classid = 'pg_class'::regclass and d.deptype = 'a'
join pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
where s.relkind = 'S' and d.refobjid = to_regclass(%(table)s)
"""

SELECT_SCHEMA_SQL = """
select n.nspname::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where c.oid = to_regclass(%(table)s)
"""

#: The objects that Postgres named after the new table's temporary name: sequences of identity columns and, from
#: Postgres 18 on, NOT NULL constraints. (the word for ALTER, name)
SELECT_MADE_NAMES_SQL = """
select 'constraint', k.conname::text from pg_constraint as k join pg_class as c on c.oid = k.conrelid
where c.oid = to_regclass(%(new_table)s) and k.contype = 'n' and starts_with(k.conname, c.relname)
union all
select 'sequence', s.relname::text from pg_class as c
join pg_depend as d on d.refobjid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'i'
join pg_class as s on s.oid = d.objid and s.relkind = 'S'
where c.oid = to_regclass(%(new_table)s) and starts_with(s.relname, c.relname)
"""

#: Identity columns of the table: (column, whether its values are always generated).
SELECT_IDENTITIES_SQL = """
select attname::text, attidentity = 'a' from pg_attribute
where attrelid = to_regclass(%(table)s) and attidentity <> '' and not attisdropped
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
    """Copy the rows `ids`, unless a step result has given their key; `cast` are the columns whose type has changed."""
    values = ", ".join(_build_old_value(plan, name, cast) for name in columns)
    names = ", ".join(map(quote, columns))
    return (
        f"insert into {quote_table(new_table)} ({names}) overriding system value\nselect {values}"
        f" from {quote_table(plan.table)} as old\nwhere old.id = any(%(ids)s::uuid[])"
        "\norder by old.updated_at desc, old.id\non conflict do nothing"
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
    """Set an identity column's sequence to continue after the values that were taken over."""
    return (
        f"select setval(pg_get_serial_sequence(%(new_table)s, %(column)s), greatest(max({quote(column)}), 1))"
        f" from {quote_table(new_table)}"
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

    Returns statements for one transaction. Parameter: `rebuilt`, the temporary spec of the new table.
    """
    names = ["id", "created_at", *carried]
    key = ", ".join(_spell_key(plan, name) for name in plan.conflict)
    changes = f"""
    select fresh.id as {_OWN_ID}, {", ".join(f"old.{quote(name)}" for name in names)}
    from {quote_table(new_table)} as fresh
    join (
        select distinct on ({key}) * from {quote_table(plan.table)} order by {key}, updated_at desc
    ) as old on {_build_key_match(plan)}
    where fresh.id <> old.id"""
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
