"""Select what a table has besides rows, for `dex rebuild`: what depends on it, and what its successor has to have."""

from __future__ import annotations

SELECT_SCHEMA_SQL = """
select n.nspname::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where c.oid = to_regclass(%(table)s)
"""

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
    select 8, '', format('alter table %%s set (%%s)', %(new_table)s::text,
        (select string_agg('toast.' || setting, ', ') from unnest(toast.reloptions) as setting))
    from target join pg_class as toast on toast.oid = target.reltoastrelid where toast.reloptions is not null
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
    i.indisreplident as identifies_rows, i.indisclustered as is_clustered,
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

#: Identity columns of the table: (column, whether its values are always generated).
SELECT_IDENTITIES_SQL = """
select attname::text, attidentity = 'a' from pg_attribute
where attrelid = to_regclass(%(table)s) and attidentity <> '' and not attisdropped
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
