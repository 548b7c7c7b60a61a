"""What a changed key leaves behind, named by `dex check --database` with a hint that works when it is followed."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from engine.plan import Plan
from engine.store.connection import connect
from engine.tables.differences import Code, Difference
from engine.tables.draft_migration import NothingToDraft, check_no_rebuild_needed
from engine.tables.inspect import find_differences
from engine.tables.rebuild import rebuild_spec
from engine.tables.rebuild_swap import RebuildRefused
from tests.database.conftest import THINGS, World, build_head

HEAD = build_head("things", THINGS, "name")
FIELDS = """
name: {type: text, path: "output.name"}
domain: {type: text, path: "output.domain"}
note: {type: text, path: "output.note"}
"""
Check = Callable[[Plan], list[tuple[str, str, str]]]


@pytest.fixture
def check(world: World) -> Check:
    """Return code, message and hint of what `dex check --database` says of a plan, the old key aside from the rest."""

    async def find(plan: Plan) -> list[tuple[str, str, str]]:
        async with await connect(world.dsn) as connection:
            found = await find_differences(connection, [plan], reading=True)
        return [(one.code.value, one.message, one.hint) for one in found]

    return lambda plan: asyncio.run(find(plan))


def change_key(world: World, fields: str = FIELDS) -> Plan:
    """Compile the spec with another key and give the table its unique index, as a migration by hand would."""
    plan = world.compile_plan(fields, head=HEAD.replace("org_id, name", "org_id, domain"))
    columns = ", ".join(plan.conflict)
    world.db.execute(f"create unique index new_key on things ({columns}) nulls not distinct".encode())
    return plan


def test_an_old_unique_index_is_named_and_its_hint_drops_it(world: World, check: Check) -> None:
    before = world.create_spec(FIELDS, head=HEAD)
    assert check(before) == []
    after = change_key(world)
    ((code, message, hint),) = check(after)
    assert (code, hint) == ("TABLE522", "DROP INDEX idx_things_dedup;")
    assert "`idx_things_dedup` of `things` is on org_id, name" in message
    steps = [
        world.add_step(world.add_run(world.add_org()), THINGS, {"name": "n", "domain": "a.com"}),
    ]
    run, *_ = world.steps[steps[0]]
    steps.append(world.add_step(run, THINGS, {"name": "n", "domain": "b.com"}, at=1))
    world.run_backfill(after)
    assert world.read_outcomes(after, *steps) == ["written", "rejected"], "what the index refuses"
    world.db.execute(hint.encode())
    assert check(after) == []
    world.run_backfill(after, rejected=True)
    assert world.read_outcomes(after, *steps) == ["written", "written"]


def test_an_index_of_a_column_that_left_the_spec(world: World, check: Check) -> None:
    world.create_spec(FIELDS, head=HEAD)
    fields = FIELDS.replace('name: {type: text, path: "output.name"}\n', "")
    world.db.execute("drop index idx_things_dedup")
    world.db.execute("create unique index old on things (org_id, name) nulls not distinct")
    after = change_key(world, fields)
    assert [(code, hint) for code, _, hint in check(after)] == [("TABLE522", "DROP INDEX old;")]
    world.db.execute("drop index old")
    world.db.execute("create unique index old on things (org_id, name)")
    assert check(after) == [], "null in every row refuses nothing"


@pytest.mark.parametrize(
    ("index", "served"),
    [
        ("index own on things (org_id, name)", "`idx_things_dedup` serves the same and more"),
        ("index own on things (source_submission_id)", "`idx_things_source_submission` serves the same and more"),
        ("unique index own on things (org_id, name) nulls not distinct", "`idx_things_dedup` serves the same"),
        ("index own on things (org_id, created_at desc) include (id)", "`idx_things_org` serves the same and more"),
        ("index own on things using hash (name)", None),
        ("index own on things (org_id, name text_pattern_ops)", None),
        ("index own on things (org_id, name desc)", None),
        ("index own on things (org_id, name) include (note)", None),
        ("index own on things (org_id, name) where note is null", None),
        ("unique index own on things (org_id, name, note)", None),
    ],
)
def test_an_index_that_serves_nothing_is_named(world: World, check: Check, index: str, served: str | None) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    world.db.execute(f"create {index}".encode())
    found = check(plan)
    assert [(code, hint) for code, _, hint in found] == ([("TABLE524", "DROP INDEX own;")] if served else [])
    for _, message, hint in found:
        assert message.startswith(f"index `own` of `things` serves nothing: {served}")
        world.db.execute(hint.encode())
        assert check(plan) == []


def test_an_index_whose_build_failed_is_named(world: World, check: Check) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    run = world.add_run()
    for name in ("a", "b"):
        world.add_step(run, THINGS, {"name": name, "note": "same"})
    world.run_backfill(plan)
    with pytest.raises(psycopg.errors.UniqueViolation):
        world.db.execute("create unique index concurrently broken on things (org_id, note)")
    ((code, message, hint),) = check(plan)
    assert (code, hint) == ("TABLE524", "DROP INDEX broken;")
    assert message == "index `broken` of `things` serves nothing: its build failed"
    world.db.execute(hint.encode())
    assert check(plan) == []


def test_a_constraint_is_dropped_as_one(world: World, check: Check) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    world.db.execute("alter table things add constraint old unique (org_id, note)")
    ((code, _, hint),) = check(plan)
    assert (code, hint) == ("TABLE522", "ALTER TABLE things DROP CONSTRAINT old;")
    world.db.execute(hint.encode())
    assert check(plan) == []


@pytest.mark.parametrize(
    "index",
    [
        "on things (org_id, name, domain)",
        "on things (org_id, note) where note is not null",
        "on things (org_id, lower(note))",
        "on things (serial)",
    ],
)
def test_what_refuses_no_other_key_is_its_makers(world: World, check: Check, index: str) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    world.db.execute("alter table things add column serial bigint generated by default as identity")
    world.db.execute(f"create unique index own {index}".encode())
    assert check(plan) == []


def test_a_hint_that_would_fail_over_the_rows_is_a_rebuild(world: World, check: Check) -> None:
    """The walk of findings: another key and another type over rows that neither fits."""
    before = world.create_spec(FIELDS, head=HEAD)
    run = world.add_run()
    for at, (name, note) in enumerate((("a", "1"), ("b", "~800"))):
        world.add_step(run, THINGS, {"name": name, "domain": "d.com", "note": note}, at=at)
    world.run_backfill(before)
    fields = FIELDS.replace(
        'note: {type: text, path: "output.note"}',
        'note: {type: integer, path: "output.note", normalize: [number_or_null]}',
    )
    after = world.compile_plan(fields, head=HEAD.replace("org_id, name", "org_id, domain"))
    hints = {code: hint for code, _, hint in check(after)}
    assert hints == {
        "TABLE503": "-- dex rebuild things: not every value can become that type; or write `type: text` in the spec",
        "TABLE504": "-- dex rebuild things: rows share a key",
        "TABLE522": "DROP INDEX idx_things_dedup;",
    }
    world.loop.run(rebuild_spec(world.dsn, after))
    assert check(after) == []
    assert [(row["name"], row["note"]) for row in world.read_rows(after)] == [("b", 1)], "the newest value that is one"


def test_the_hints_of_a_changed_key_and_type_work_where_the_rows_fit(world: World, check: Check) -> None:
    before = world.create_spec(FIELDS, head=HEAD)
    run = world.add_run()
    for name in ("1", "2"):
        world.add_step(run, THINGS, {"name": name, "domain": f"{name}.com", "note": name})
    world.run_backfill(before)
    integer = 'note: {type: integer, path: "output.note", normalize: [number]}'
    fields = FIELDS.replace('note: {type: text, path: "output.note"}', integer)
    after = world.compile_plan(fields, head=HEAD.replace("org_id, name", "org_id, domain"))
    found = check(after)
    assert [code for code, _, _ in found] == ["TABLE503", "TABLE504", "TABLE522"]
    for _, _, hint in found:
        world.db.execute(hint.encode())
    assert check(after) == []


def test_rows_of_an_old_key_are_named_until_they_are_gone(world: World, check: Check) -> None:
    before = world.create_spec(FIELDS, head=HEAD)
    run = world.add_run()
    world.add_step(run, THINGS, {"name": "n", "note": "has no domain"})
    world.add_step(run, THINGS, {"name": "m", "domain": "m.com"})
    world.run_backfill(before)
    by_hand = {**dict.fromkeys(column.name for column in before.fields), "name": "by hand"}
    world.upsert_rows(before, run.org, by_hand)
    world.db.execute("drop index idx_things_dedup")
    required = FIELDS.replace('path: "output.domain"', 'path: "output.domain", required: true')
    world.db.execute("create unique index new_key on things (org_id, domain, name) nulls not distinct")
    after = world.compile_plan(required, head=HEAD.replace("org_id, name", "org_id, domain, name"))
    ((code, message, hint),) = check(after)
    assert code == "TABLE523" and message.startswith("2 row(s) of `things` lack a value in `domain`")
    assert hint.startswith("-- dex rebuild things")
    with pytest.raises(RebuildRefused, match="come from no step result"):
        world.loop.run(rebuild_spec(world.dsn, after))
    world.db.execute("delete from things where source_step_result_id is null")
    world.loop.run(rebuild_spec(world.dsn, after))
    assert check(after) == []
    assert [row["name"] for row in world.read_rows(after)] == ["m"]


def test_no_migration_is_drafted_where_only_a_rebuild_helps(world: World) -> None:
    before = world.create_spec(FIELDS, head=HEAD)
    run = world.add_run()
    for number in range(2):
        world.add_step(run, THINGS, {"name": f"n{number}", "domain": "d.com"}, at=number)
    world.run_backfill(before)
    after = world.compile_plan(FIELDS, head=HEAD.replace("org_id, name", "org_id, domain"))

    async def find(*, reading: bool) -> list[Difference]:
        async with await connect(world.dsn) as connection:
            return await find_differences(connection, [after], reading=reading)

    with pytest.raises(NothingToDraft) as caught:
        check_no_rebuild_needed(asyncio.run(find(reading=True)))
    assert caught.value.hint == "dex rebuild things: rows share a key"
    (told,) = [one.hint for one in asyncio.run(find(reading=False)) if one.code is Code.NO_UNIQUE_INDEX]
    assert told.startswith("CREATE UNIQUE INDEX") and told.endswith("where the rows do not fit: dex rebuild things")
