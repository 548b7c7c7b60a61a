"""Plan -> the statements that merge one batch.

In: a Plan's Reading. Out: SQL text: staging table, copy, merge, ledger. It must not know how rows were extracted.

Rows arrive in a temporary table by COPY, in the order of their keys, so that two writers lock alike and cannot
deadlock. They are numbered, and merged by ranges of their numbers. Held documents are joined in from step_results by
the id of the step result they come from.
"""

from __future__ import annotations

from engine import plan as plans
from engine.columns import SOURCE_COLUMNS
from engine.plan import Plan
from engine.rows.reading import Reading
from engine.sql.identifiers import indented, match_key, quote, quoted
from engine.sql.json_paths import by_operation, detoast, first_truthy
from engine.sql.upsert import differs, not_newer, on_conflict, written_columns

#: Names of our own have a capital letter, which no table or column of a spec has.
STAGING = '"Arriving"'
SHOWN = 60  # characters of a document in a preview
_ORDINAL = '"Ordinal"'
_OVERTAKEN = '"Overtaken"'
#: The staged rows to merge. The planner guesses one row in 200 of a bare `between`, and then compares all with all.
_PART = f"coalesce({_ORDINAL} between %(first)s::int and %(last)s::int, false)"
_MOVES = "stored.source_recorded_at is distinct from excluded.source_recorded_at"


def staged_columns(reading: Reading) -> tuple[tuple[str, str], ...]:
    """(name, type) of the staging table. A held field is staged as the step result to take it from."""
    held = {item.name for item in reading.held}
    return (
        ("Ordinal", "integer"),
        ("Overtaken", "boolean"),
        ("org_id", "uuid"),
        *((item.name, "uuid" if item.name in held else item.type.sql) for item in reading.plan.fields),
        *SOURCE_COLUMNS.items(),
    )


def stage(reading: Reading) -> str:
    """Make the staging table; it goes with the transaction."""
    columns = [f"{quote(name)} {kind}" for name, kind in staged_columns(reading)]
    return f"create temporary table {STAGING} (\n{indented(columns)}\n) on commit drop"


def copy(reading: Reading) -> str:
    """Fill it."""
    return f"copy {STAGING} ({quoted(name for name, _ in staged_columns(reading))}) from stdin"


def merge(reading: Reading) -> str:
    """Write the staged rows `first` to `last`, each key once. Answers the ordinals of those that were written."""
    plan = reading.plan
    return f"""
with upserted as (
    insert into {quote(plan.table)} as stored ({quoted(written_columns(plan))})
    select {_arriving(reading)}
    from (select * from {STAGING} where {_PART} order by {_ORDINAL} offset 0) as staged
{_documents(reading)}
{_timely(plan)}
    {on_conflict(plan, _MOVES)}
    returning {quoted(plan.conflict, "stored.")}
)
select staged.{_ORDINAL}
from {STAGING} as staged
join upserted on {match_key(plan, "upserted", "staged")}
where {_PART}
"""


def _timely(plan: Plan) -> str:
    """Under `on_absent: delete`: no new row from a result that a newer one has replaced already."""
    if plan.on_absent != "delete":
        return ""
    known = f"(select from {quote(plan.table)} as known where {match_key(plan, 'known', 'staged')})"
    return f"    where not staged.{_OVERTAKEN} or exists {known}"


def settle(reading: Reading) -> str:
    """Tell of the staged rows `ordinals`, which were not written, why not. Answers (ordinal, outcome); `swallowed` is
    a row that is not there under its key afterwards, and of which the database did not complain.

    A statement of its own: the row in the way is locked by now, and a new snapshot sees it as it is, also when another
    writer was faster by a moment.
    """
    plan = reading.plan
    return f"""
select staged.{_ORDINAL},
    case
        when stored.id is null then case when staged.{_OVERTAKEN} then 'superseded' else 'swallowed' end
        when {not_newer("stored", "staged")} then 'unchanged'
        when {_differs_late(reading)} then 'superseded'
        else 'unchanged'
    end
from {STAGING} as staged
left join lateral (
    select * from {quote(plan.table)} as stored where {match_key(plan, "stored", "staged")} offset 0
) as stored on true
where staged.{_ORDINAL} = any(%(ordinals)s::int[])
"""


def snapshot(reading: Reading) -> str:
    """The stored rows of the staged keys `first` to `last`: (ordinal, cells), each document as hash and beginning."""
    plan = reading.plan
    cells = (
        "md5(stored.{0}::text) || left(stored.{0}::text, {1}) as {0}".format(quote(item.name), SHOWN)
        if item.type.name == "jsonb"
        else f"stored.{quote(item.name)}"
        for item in plan.fields
    )
    return f"""
select staged.{_ORDINAL}, (select to_jsonb(cells) from (select {", ".join(cells)}) as cells)
from {STAGING} as staged
join {quote(plan.table)} as stored on {match_key(plan, "stored", "staged")}
where {_PART}
"""


def _arriving(reading: Reading) -> str:
    values = {item.name: _document(reading, item) for item in reading.held}
    return ", ".join(values.get(name, f"staged.{quote(name)}") for name in written_columns(reading.plan))


def _document(reading: Reading, item: plans.Field) -> str:
    return f"{_held(reading, item)}.document"


def _held(reading: Reading, item: plans.Field) -> str:
    return f"held_{[held.name for held in reading.held].index(item.name)}"


def _documents(reading: Reading) -> str:
    return "\n".join(
        f"    left join lateral {_source(reading, item)} as {_held(reading, item)} on true" for item in reading.held
    )


def _source(reading: Reading, item: plans.Field) -> str:
    """One held document, read from the step result that `staged` names, each root of it once."""
    paths = {name: reading.alternatives(name, item) for name in reading.plan.operations}
    expression = by_operation(
        reading, {name: first_truthy(found, "document") for name, found in paths.items()}, "source.operation_id"
    )
    roots = {steps[0] for found in paths.values() for steps in found}
    return (
        f"(select {expression} as document from step_results as source"
        f" cross join lateral {detoast('source', roots)} as document"
        f" where source.id = staged.{quote(item.name)} offset 0)"
    )


def _differs_late(reading: Reading) -> str:
    """Whether an older source says something else than the stored row: looked at only where nothing was written."""
    if not reading.held:
        return differs(reading.plan, "stored", "staged")
    late = f"(select {_arriving_row(reading)}) as late"
    return f"exists (select from {late} where {differs(reading.plan, 'stored', 'late')})"


def _arriving_row(reading: Reading) -> str:
    held = {item.name: f"(select document from {_source(reading, item)} as held)" for item in reading.held}
    values = (f"{held.get(name, f'staged.{quote(name)}')} as {quote(name)}" for name in written_columns(reading.plan))
    return ", ".join(values)


#: Hold the step results still that are as they were read, until the batch is recorded. Answers their ids.
#: Each is looked up by its key: a join is free to read the whole table for every batch, and does.
#: Lists that hold no comma travel as one text: making arrays of them takes the client as long as all the rest.
HOLD = """
select held.id::text
from (
    select *
    from unnest(string_to_array(%(ids)s, ',')::uuid[], string_to_array(%(versions)s, ',')) as read (id, version)
    order by id offset 0
) as read
cross join lateral (
    select step.id from step_results as step
    where step.id = read.id and step.xmin::text = read.version
    for share
) as held
"""

#: Record the outcomes of a batch. An entry of the same digest stays when nothing was done this time, unless `again`.
LEDGER = """
insert into step_persistence as known
    (step_result_id, spec, spec_digest, org_id, outcome, element_count, row_count, reasons)
select id, %(spec)s, %(digest)s, org_id, outcome, elements, rows, reasons
from rows from (
    unnest(
        string_to_array(%(ids)s, ',')::uuid[], string_to_array(%(orgs)s, ',')::uuid[],
        string_to_array(%(outcomes)s, ','), string_to_array(%(elements)s, ',')::int[],
        string_to_array(%(rows)s, ',')::int[]
    ),
    jsonb_array_elements(%(reasons)s::jsonb)
) as entry (id, org_id, outcome, elements, rows, reasons)
order by id
on conflict (step_result_id, spec) do update set
    spec_digest = excluded.spec_digest, org_id = excluded.org_id, outcome = excluded.outcome,
    element_count = excluded.element_count, row_count = excluded.row_count, reasons = excluded.reasons,
    recorded_at = now()
where %(again)s or known.spec_digest <> excluded.spec_digest
    or known.outcome = 'rejected' or excluded.outcome = 'written'
"""
