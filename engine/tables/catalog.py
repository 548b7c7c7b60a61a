"""What the catalog says of a table.

In: nothing but names, as parameters. Out: the text of five questions, and what a draft looks at of their answers. It
must not know plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Existing:
    """A table that is there: name -> type of its columns, and the columns of each index that covers every row."""

    columns: Mapping[str, str]
    indexes: tuple[tuple[str, ...], ...]


TABLE = """
select c.oid::bigint as oid, c.relrowsecurity as secured,
       r.oid is not null as role_exists,
       coalesce(r.rolsuper or r.rolbypassrls, false) as role_unbound,
       case when r.oid is null then array[]::text[] else array(
           select word from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) as word
           where not has_table_privilege(r.oid, c.oid, word)
       ) end as denied
from pg_class as c left join pg_roles as r on r.rolname = %(role)s
where c.oid = to_regclass(%(table)s)
"""

COLUMNS = """
select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
       a.atthasdef or a.attidentity <> '' as has_default, a.attgenerated <> '' as generated
from pg_attribute as a
where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
"""

INDEXES = """
select c.relname as name, i.indisvalid as valid, i.indimmediate as immediate,
       i.indisunique as unique, i.indpred is not null as partial, i.indexprs is not null as expressions,
       i.indnullsnotdistinct as nulls_equal,
       array(
           select coalesce(a.attname, '') from unnest(i.indkey::int2[]) with ordinality as k(number, place)
           left join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
           where k.place <= i.indnkeyatts order by k.place
       )::text[] as columns
from pg_index as i join pg_class as c on c.oid = i.indexrelid
where i.indrelid = %(oid)s
"""

POLICIES = """
select polname as name, polcmd::text as command,
       coalesce(pg_get_expr(polqual, polrelid), '') as reads,
       coalesce(pg_get_expr(polwithcheck, polrelid), pg_get_expr(polqual, polrelid), '') as writes
from pg_policy
where polrelid = %(oid)s and polpermissive
  and (0 = any(polroles) or (select oid from pg_roles where rolname = %(role)s) = any(polroles))
"""

TYPE = "select format_type(%(name)s::text::regtype, null) as type"
