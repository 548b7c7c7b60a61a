"""The queries that find out what in a table may refuse a row that the spec accepts."""

from __future__ import annotations

from engine.provided_columns import SEARCH_COLUMN
from engine.sql.search import SELECT_STORED_WORDS

#: Whether `table` has conditions on the content of its rows. Parameters: `table`, `fields` (columns of the spec),
#: `optional` (those that may be null), `conflict`. An index that refuses too long a value is not among them, nor are
#: the words of a search, which are made of no more text than Postgres takes.
MAY_REFUSE_SQL = f"""
with target as (
    select to_regclass(%(table)s)::oid as id
)
select exists (
    select from pg_constraint as known, target
    where known.conrelid = target.id and (
        known.contype in ('c', 'x')
        or known.contype = 'f' and known.confrelid not in (
            select to_regclass(name)::oid from unnest(array['orgs', 'submissions', 'pipeline_runs']) as name
            where to_regclass(name) is not null
        )
    )
) or exists (
    select from pg_index as known, target
    where known.indrelid = target.id and (
        known.indexprs is not null or known.indpred is not null
        or known.indisunique and not known.indisprimary and (
            select array_agg(field.attname::text order by field.attname)
            from pg_attribute as field
            where field.attrelid = known.indrelid and field.attnum = any(known.indkey::int2[])
        ) is distinct from (select array_agg(name order by name) from unnest(%(conflict)s::text[]) as name)
    )
) or exists (
    select from pg_trigger as known join pg_proc as called on called.oid = known.tgfoid, target
    where known.tgrelid = target.id and not known.tgisinternal
    and called.proname not in ('update_updated_at_column', 'note_changed_rows')
) or exists (
    select from pg_rewrite as known, target where known.ev_class = target.id
) or exists (
    select from pg_attribute as field join pg_type as kind on kind.oid = field.atttypid, target
    where field.attrelid = target.id and field.attnum > 0 and not field.attisdropped and (
        field.attgenerated <> '' and not (field.attname = '{SEARCH_COLUMN}' and exists ({SELECT_STORED_WORDS}))
        or field.attname = any(%(fields)s::text[]) and (field.atttypmod >= 0 or kind.typtype = 'd')
        or field.attname = any(%(optional)s::text[]) and field.attnotnull
    )
)
"""

#: A hash of all in `table` that can refuse a row: columns, domains, constraints, unique indexes, triggers, rules.
TABLE_STATE_SQL = """
with target as (
    select to_regclass(%(table)s)::oid as id
), part as (
    select concat_ws(' ', 'column', field.attname, format_type(field.atttypid, field.atttypmod), field.attnotnull,
        field.attgenerated) as text
    from pg_attribute as field, target
    where field.attrelid = target.id and field.attnum > 0 and not field.attisdropped
    union all
    select concat_ws(' ', 'domain', field.attname, pg_get_constraintdef(known.oid))
    from pg_attribute as field join pg_constraint as known on known.contypid = field.atttypid, target
    where field.attrelid = target.id
    union all
    select concat_ws(' ', 'constraint', known.conname, pg_get_constraintdef(known.oid))
    from pg_constraint as known, target where known.conrelid = target.id
    union all
    select concat_ws(' ', 'index', pg_get_indexdef(known.indexrelid))
    from pg_index as known, target where known.indrelid = target.id and known.indisunique
    union all
    select concat_ws(' ', 'trigger', known.tgenabled, pg_get_triggerdef(known.oid), called.prosrc)
    from pg_trigger as known join pg_proc as called on called.oid = known.tgfoid, target
    where known.tgrelid = target.id and not known.tgisinternal
    union all
    select concat_ws(' ', 'rule', pg_get_ruledef(known.oid))
    from pg_rewrite as known, target where known.ev_class = target.id
)
select md5(coalesce(string_agg(text, E'\n' order by text), '')) from part
"""

#: Make the step results pending that the database refused, if the table's `state` has changed since the last backfill.
FORGET_REFUSALS_SQL = """
with changed as (
    update spec_versions set table_state = %(state)s
    where spec = %(spec)s and digest = %(digest)s and table_state is distinct from %(state)s
    returning spec
)
delete from step_persistence as ledger using changed
where ledger.spec = changed.spec and (ledger.refused_count > 0 or ledger.outcome = 'rejected')
    and ledger.reasons @> '[{"code": "refused_by_database"}]'
"""
