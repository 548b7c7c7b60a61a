"""Build the statements for `row_lineage` and `stale_rows`: which step results give which row (migration 027)."""

from __future__ import annotations

from engine.plan import Plan
from engine.rows.units import get_unit_fields
from engine.sql.identifiers import build_parent_lookup, quote, quote_table

#: Take the advisory locks `locks`, in the given order, until the end of the transaction.
LOCK_UNITS_SQL = """
select pg_advisory_xact_lock(number) from unnest(string_to_array(%(locks)s, ',')::bigint[]) as number
"""

#: The entries of row_lineage and stale_rows of the units `units` (of the organisations `orgs`), and those of the other
#: units that the step results `ids` contributed to. It is a statement after the one that takes the locks, so that its
#: snapshot sees what the last writer left.
#: (org_id, unit, parent, step_result_id, recorded_at, row_id, refused, remove_when_empty, revision); an entry of
#: stale_rows has a revision and no step result.
#: The lists are in subqueries, so that the planner does not see how long they are: it would plan a prepared statement
#: again for every list, which takes ten times as long as executing it for one step result.
READ_UNITS_SQL = """
with unit as materialized (
    select * from unnest(
        (select string_to_array(%(orgs)s, ','))::uuid[], (select string_to_array(%(units)s, ','))::uuid[]
    ) as wanted (org_id, id)
), given as materialized (
    select lineage.* from unnest((select string_to_array(%(ids)s, ','))::uuid[]) as step (id)
    cross join lateral (
        select * from row_lineage where step_result_id = step.id and spec = %(spec)s offset 0
    ) as lineage
), known as (
    select lineage.* from unit
    cross join lateral (
        select * from row_lineage as known where known.org_id = unit.org_id and known.unit = unit.id offset 0
    ) as lineage
    union
    select * from given
)
select known.org_id::text, known.unit::text, known.parent::text, known.step_result_id::text, step.recorded_at,
    known.row_id::text, known.refused, null::boolean, null::bigint
from known
left join lateral (
    select greatest('0001-01-02 00:00+00', least('9999-12-30 00:00+00', found.recorded_at)) as recorded_at
    from step_results as found where found.id = known.step_result_id offset 0
) as step on true
union all
select stale.org_id::text, stale.unit::text, stale.parent::text, null, null, stale.row_id::text, null,
    stale.remove_when_empty, stale.revision
from unit
cross join lateral (
    select * from stale_rows as known
    where known.org_id = unit.org_id and known.spec = %(spec)s and known.unit = unit.id offset 0
) as stale
"""

#: Record that step results contribute to units. Lists whose entries contain no comma are sent as one text.
WRITE_LINEAGE_SQL = """
insert into row_lineage as known (org_id, unit, step_result_id, spec, row_id, parent, refused)
select org_id, unit, step_result_id, %(spec)s, row_id, parent, refused
from unnest(
    string_to_array(%(orgs)s, ',')::uuid[], string_to_array(%(units)s, ',')::uuid[],
    string_to_array(%(ids)s, ',')::uuid[], string_to_array(%(rows)s, ',', '')::uuid[],
    %(parents)s::text[]::jsonb[], string_to_array(%(refused)s, ',')::boolean[]
) as entry (org_id, unit, step_result_id, row_id, parent, refused)
order by 1, 2, 3
on conflict (org_id, unit, step_result_id) do update set
    row_id = excluded.row_id, parent = excluded.parent, refused = excluded.refused
"""

#: Update the entries of step results outside of the batch, as far as they still exist.
UPDATE_LINEAGE_SQL = """
update row_lineage as known set row_id = entry.row_id, refused = entry.refused
from unnest(
    string_to_array(%(orgs)s, ',')::uuid[], string_to_array(%(units)s, ',')::uuid[],
    string_to_array(%(ids)s, ',')::uuid[], string_to_array(%(rows)s, ',', '')::uuid[],
    string_to_array(%(refused)s, ',')::boolean[]
) as entry (org_id, unit, step_result_id, row_id, refused)
where known.org_id = entry.org_id and known.unit = entry.unit and known.step_result_id = entry.step_result_id
"""

DELETE_LINEAGE_SQL = """
delete from row_lineage as known
using unnest(
    string_to_array(%(orgs)s, ',')::uuid[], string_to_array(%(units)s, ',')::uuid[],
    string_to_array(%(ids)s, ',')::uuid[]
) as entry (org_id, unit, step_result_id)
where known.org_id = entry.org_id and known.unit = entry.unit and known.step_result_id = entry.step_result_id
"""

#: Make step results pending again.
FORGET_OUTCOMES_SQL = """
delete from step_persistence
where spec = %(spec)s and step_result_id = any(string_to_array(%(ids)s, ',')::uuid[])
"""

#: Delete stale entries whose rows were computed, unless they were queued again after they were read.
DELETE_STALE_SQL = """
delete from stale_rows as known
using unnest(
    string_to_array(%(orgs)s, ',')::uuid[], string_to_array(%(units)s, ',')::uuid[],
    string_to_array(%(revisions)s, ',')::bigint[]
) as entry (org_id, unit, revision)
where known.org_id = entry.org_id and known.spec = %(spec)s and known.unit = entry.unit
    and known.revision = entry.revision
"""

QUEUE_STALE_SQL = """
insert into stale_rows as known (org_id, spec, unit, row_id, parent, remove_when_empty)
select org_id, %(spec)s, unit, row_id, parent, true
from unnest(
    string_to_array(%(orgs)s, ',')::uuid[], string_to_array(%(units)s, ',')::uuid[],
    string_to_array(%(rows)s, ',', '')::uuid[], %(parents)s::text[]::jsonb[]
) as entry (org_id, unit, row_id, parent)
order by 1, 2, 3
on conflict (org_id, spec, unit) do update set
    row_id = coalesce(excluded.row_id, known.row_id), parent = coalesce(excluded.parent, known.parent),
    remove_when_empty = excluded.remove_when_empty, revision = excluded.revision
"""

#: The next stale entries of a spec, in the order of organisation and unit; an empty `orgs` means all organisations.
SELECT_STALE_SQL = """
select org_id::text, unit::text, parent::text
from stale_rows
where spec = %(spec)s and (cardinality(%(orgs)s::uuid[]) = 0 or org_id = any(%(orgs)s::uuid[]))
    and (org_id, unit) > (%(after_org)s::uuid, %(after_unit)s::uuid)
order by org_id, unit
limit %(limit)s
"""

COUNT_STALE_SQL = """
select spec, org_id::text, count(*) from stale_rows
where spec = any(%(specs)s::text[]) and (cardinality(%(orgs)s::uuid[]) = 0 or org_id = any(%(orgs)s::uuid[]))
group by spec, org_id
"""


def build_unit_rows_sql(plan: Plan) -> str:
    """Build the query for the stored rows `ids`: (id, org_id, whether they have a source, the key of their unit)."""
    keys = "".join(f", {quote(column.name)}" for column in get_unit_fields(plan))
    return f"""
select id::text, org_id::text, source_step_result_id is not null{keys}
from {quote_table(plan.table)} where id = any(string_to_array(%(ids)s, ',')::uuid[])
"""


def build_remove_rows_sql(plan: Plan) -> str:
    """Build the statement that deletes the rows among `ids` that have a source; returns (id, key as a JSON array)."""
    return f"""
delete from {quote_table(plan.table)} as stored
where id = any(string_to_array(%(ids)s, ',')::uuid[]) and source_step_result_id is not null
returning id::text, {_build_key_json(plan)}
"""


def build_unsource_rows_sql(plan: Plan) -> str:
    """Build the statement that clears the source columns of those rows `ids` whose step result was deleted."""
    return f"""
update {quote_table(plan.table)} as stored set source_step_result_id = null
where id = any(string_to_array(%(ids)s, ',')::uuid[]) and {_SOURCE_IS_GONE}
"""


_SOURCE_IS_GONE = """stored.source_step_result_id is not null
    and not exists (select from step_results as source where source.id = stored.source_step_result_id)"""


def build_remove_absent_sql(plan: Plan) -> str:
    """Build the statement that deletes, for each parent key, the rows that are not among `kept`.

    A row whose step result was deleted is deleted only if a complete step result is newer. Parameters: `orgs`,
    `parents`, and `times`, when the complete step result was recorded (null if there is none). Returns (number of the
    parent key from 1, id, key).
    """
    return f"""
with parent as materialized (
{_build_parents(plan)}
)
delete from {quote_table(plan.table)} as stored
using parent cross join lateral (
        {build_parent_lookup(plan)}
) as found
where stored.id = found.id and found.id <> all(string_to_array(%(kept)s, ',')::uuid[])
    and (
        case when {_SOURCE_IS_GONE} or stored.source_step_result_id is null
            then coalesce(stored.source_recorded_at, '-infinity') < parent."Time" else true end
    )
returning parent."Number", stored.id::text, {_build_key_json(plan)}
"""


def build_unsource_absent_sql(plan: Plan) -> str:
    """Build the statement that clears the source columns of rows that `build_remove_absent_sql` did not delete."""
    return f"""
with parent as materialized (
{_build_parents(plan)}
)
update {quote_table(plan.table)} as stored set source_step_result_id = null
from parent cross join lateral (
        {build_parent_lookup(plan)}
) as found
where stored.id = found.id and found.id <> all(string_to_array(%(kept)s, ',')::uuid[]) and {_SOURCE_IS_GONE}
"""


def _build_parents(plan: Plan) -> str:
    """Select the parent keys as rows, under names with a capital letter, which no column of a spec has."""
    keys = "".join(
        f", (given ->> '{column.name}')::{column.type.sql} as {quote(column.name)}" for column in plan.parent_key
    )
    return f"""    select org_id{keys}, moment as "Time", number as "Number"
    from unnest(string_to_array(%(orgs)s, ',')::uuid[], %(parents)s::text[]::jsonb[], %(times)s::timestamptz[])
        with ordinality as entry (org_id, given, moment, number)"""


def _build_key_json(plan: Plan) -> str:
    return f"jsonb_build_array({', '.join(f'stored.{quote(column.name)}' for column in plan.key_fields)})::text"
