"""Queries of Postgres's catalog about one table, and classes for the rows that they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A table, and what the tenants' role may do with it."""

    oid: int
    row_security: bool
    role_exists: bool
    role_unbound: bool  # whether the role is a superuser, or bypasses row level security
    denied: list[str]  # privileges on the table that the role lacks
    followed: bool  # whether the table has the triggers that record its changes
    schema_denied: bool  # whether the role may not use the schema
    denied_sequences: list[str]  # sequences of column defaults that the role may not use, as named in SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRow:
    """A column; `type` is as `format_type` writes it."""

    name: str
    type: str
    not_null: bool
    has_default: bool
    generated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """An index. `columns` has an empty name for each expression."""

    name: str
    columns: list[str]
    collations: list[str]  # of each column; "" for the database's own, and for types without one
    descending: list[bool]  # of each column
    kinds: list[str]  # of each column: operator class and order, as numbers of the catalog
    included: list[str]  # columns of INCLUDE
    method: str
    valid: bool  # False if its build failed
    immediate: bool  # False if it belongs to a deferrable constraint
    unique: bool
    primary: bool
    constraint: bool  # whether it belongs to a constraint, which has to be dropped instead
    partial: bool
    has_expressions: bool
    nulls_equal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """A permissive policy that applies to the tenants' role, with the expressions for reading and for writing."""

    name: str
    command: str  # r, a, w, d, or * for all
    reads: str
    writes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRow:
    """A column type: its name in specs, and the name that `format_type` writes."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its columns, indexes and policies."""

    row: TableRow
    stored_words: Sequence[str] | None  # the columns whose words it stores, in alphabetical order
    columns: Mapping[str, ColumnRow]
    indexes: Sequence[IndexRow]
    policies: Sequence[PolicyRow]
    types: Mapping[str, str]  # by the name of a type in specs: its name in the catalog

    def spell_spec_type(self, column: str) -> str:
        """Return a column's type by its name in specs, or by its name in the catalog if specs have no such type."""
        type_ = self.columns[column].type
        return next((name for name, catalog_name in self.types.items() if catalog_name == type_), type_)


SELECT_TABLE = """
select c.oid::bigint as oid, c.relrowsecurity as row_security,
       r.oid is not null as role_exists,
       coalesce(r.rolsuper or r.rolbypassrls, false) as role_unbound,
       case when r.oid is null then array[]::text[] else array(
           select privilege from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) as privilege
           where not has_table_privilege(r.oid, c.oid, privilege)
       ) end as denied,
       4 = (
           select count(*) from pg_trigger as t join pg_proc as p on p.oid = t.tgfoid
           where t.tgrelid = c.oid and p.proname = 'note_changed_rows' and t.tgenabled <> 'D'
       ) as followed,
       coalesce(not has_schema_privilege(r.oid, c.relnamespace, 'USAGE'), false) as schema_denied,
       case when r.oid is null then array[]::text[] else array(
           select distinct s.oid::regclass::text
           from pg_attrdef as d
           join pg_depend as u on u.classid = 'pg_attrdef'::regclass and u.objid = d.oid
               and u.refclassid = 'pg_class'::regclass
           join pg_class as s on s.oid = u.refobjid
           where d.adrelid = c.oid
             and case when s.relkind = 'S' then not has_sequence_privilege(r.oid, s.oid, 'USAGE') else false end
       ) end as denied_sequences
from pg_class as c left join pg_roles as r on r.rolname = %(role)s
where c.oid = to_regclass(%(table)s)
"""

SELECT_OID = "select to_regclass(%(table)s)::oid::bigint"

SELECT_COLUMNS = """
select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
       a.atthasdef or a.attidentity <> '' as has_default, a.attgenerated <> '' as generated
from pg_attribute as a
where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
"""

SELECT_INDEXES = """
select c.relname as name, i.indisvalid as valid, i.indimmediate as immediate,
       i.indisunique as unique, i.indisprimary as primary,
       exists (select from pg_constraint as k where k.conindid = i.indexrelid and k.conrelid = i.indrelid)
           as constraint,
       i.indpred is not null as partial, i.indexprs is not null as has_expressions,
       i.indnullsnotdistinct as nulls_equal,
       array(
           select coalesce(a.attname, '') from unnest(i.indkey::int2[]) with ordinality as k(number, place)
           left join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
           where k.place <= i.indnkeyatts order by k.place
       )::text[] as columns,
       array(
           select coalesce(l.collname, '') from unnest(i.indcollation::oid[]) with ordinality as k(number, place)
           left join pg_collation as l on l.oid = k.number and l.collname <> 'default' order by k.place
       )::text[] as collations,
       array(select (option & 1) = 1 from unnest(i.indoption::int2[]) as option) as descending,
       array(
           select format('%%s %%s', class, option)
           from unnest(i.indclass::oid[], i.indoption::int2[]) with ordinality as k(class, option, place) order by place
       ) as kinds,
       array(
           select a.attname from unnest(i.indkey::int2[]) with ordinality as k(number, place)
           join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
           where k.place > i.indnkeyatts order by k.place
       )::text[] as included,
       m.amname as method
from pg_index as i join pg_class as c on c.oid = i.indexrelid join pg_am as m on m.oid = c.relam
where i.indrelid = %(oid)s
"""

SELECT_POLICIES = """
select polname as name, polcmd::text as command,
       coalesce(pg_get_expr(polqual, polrelid), '') as reads,
       coalesce(pg_get_expr(polwithcheck, polrelid), pg_get_expr(polqual, polrelid), '') as writes
from pg_policy
where polrelid = %(oid)s and polpermissive
  and (0 = any(polroles) or (select oid from pg_roles where rolname = %(role)s) = any(polroles))
"""

SELECT_TYPES = "select name, format_type(name::regtype, null) as type from unnest(%(names)s::text[]) as name"
