"""Drafted migrations, applied to a real database: the table fits its plan, and a row goes in and comes back."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.backfill.refusals import may_refuse_rows
from engine.plan import Plan
from engine.rows.extract import convert_value
from engine.rows.query import build_query
from engine.store import select
from engine.store.connection import connect
from engine.store.errors import StoreRefused
from engine.store.upsert import Upsert
from engine.tables import draft_migration, inspect
from engine.tables.draft_migration import NothingToDraft
from engine.tables.migrate import migrate
from engine.tables.migration_files import find_next_number
from tests.conftest import ROOT

ORG = "b0293785-aa7a-4234-8201-cc47305295f8"

EVERYTHING = """\
spec: 1
name: everything
title: Everything
description: Every type, reserved words, an index of its own.
operations: [test.everything]
table: order
row_name: everything
conflict: [org_id, user, day]
fields:
  user: {type: text, path: output.user, required: true, filter: true}
  day: {type: date, path: output.day, filter: true}
  raw: {type: jsonb, path: output, required: true}
  more: {type: jsonb, path: output.more}
  yes_or_no: {type: boolean, path: output.flag, filter: true}
  small: {type: integer, path: output.small, filter: true}
  large: {type: bigint, path: output.large, filter: true}
  exact: {type: numeric, path: output.exact, filter: true}
  at: {type: timestamptz, path: output.at, filter: true}
  reference: {type: uuid, path: output.reference, filter: true}
  tags: {type: "text[]", path: output.tags}
indexes: [[org_id, small, large], [tags]]
"""
VALUES: dict[str, Any] = {
    "user": "ada",
    "day": "2026-05-15",
    "raw": {"a": 1},
    "more": [1, "two"],
    "yes_or_no": True,
    "small": 1,
    "large": 2**40,
    "exact": 1.5,
    "at": "2026-05-15T18:52:36Z",
    "reference": "0921f10b-890b-47ab-8ceb-b1986df51cbb",
    "tags": ["a", "b"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project's migrations."""
    return Path(shutil.copytree(ROOT / "migrations", tmp_path / "migrations"))


def draft_and_migrate(dsn: str, folder: Path, plan: Plan) -> str:
    """Draft, write, migrate; return the name of the file."""
    names = sorted(file.name for file in folder.glob("*.sql"))

    async def work() -> str:
        async with await connect(dsn) as connection:
            table = await inspect.read_table(connection, plan.table)
        name, text = draft_migration.draft_migration(plan, find_next_number(folder), names, table)
        (folder / name).write_text(text)
        await migrate(dsn, folder)
        return name

    return asyncio.run(work())


def list_problems(dsn: str, plan: Plan, *, reading: bool = False) -> list[str]:
    async def work() -> list[str]:
        async with await connect(dsn) as connection:
            found = await inspect.find_differences(connection, [plan], reading=reading)
            return [str(difference) for difference in found]

    return asyncio.run(work())


def upsert_and_query(dsn: str, plan: Plan, values: dict[str, Any]) -> list[bytes]:
    """Upsert one row as a tenant, and ask for every row."""

    async def work() -> list[bytes]:
        async with await connect(dsn) as connection:
            row = {field.name: convert_value(field, values.get(field.name)) for field in plan.fields}
            await Upsert.build(plan).write_rows(connection, ORG, [row])
            return list((await select.fetch_page(connection, plan, build_query(plan, ORG, {"limit": 10}))).rows)

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into orgs (id, name, slug) values (%s, 'a', 'a') on conflict do nothing", [ORG])
    return asyncio.run(work())


def test_a_new_table_fits_its_plan(database: str, folder: Path, compiled: Callable[[str], Plan]) -> None:
    plan = compiled(EVERYTHING)
    name = draft_and_migrate(database, folder, plan)
    assert name == "1001_order.sql"
    assert list_problems(database, plan) == []
    assert len(upsert_and_query(database, plan, VALUES)) == 1
    assert len(upsert_and_query(database, plan, {**VALUES, "day": None})) == 2
    assert len(upsert_and_query(database, plan, {**VALUES, "day": None, "small": 2})) == 2, "a NULL key is a key"


def test_a_new_table_has_what_the_hand_written_ones_have(
    database: str, folder: Path, compiled: Callable[[str], Plan]
) -> None:
    plan = compiled(EVERYTHING)
    draft_and_migrate(database, folder, plan)
    with psycopg.connect(database) as connection:
        found = connection.execute("select indexname, indexdef from pg_indexes where tablename = 'order'")
        indexes: dict[str, str] = dict(found.fetchall())
        trigger = connection.execute(
            "select tgname from pg_trigger where tgrelid = '\"order\"'::regclass and not tgisinternal"
        )
        followed = {f"note_changes_{word}" for word in ("insert", "update", "delete", "truncate")}
        assert {row[0] for row in trigger.fetchall()} == {"update_order_updated_at"} | followed
    assert "NULLS NOT DISTINCT" in indexes["idx_order_dedup"]
    for item in plan.filters:
        definition = indexes[f"idx_order_{item.name}_newest"]
        assert definition.endswith("created_at DESC, id DESC)"), definition
    assert "(org_id, small, large)" in indexes["idx_order_by_org_id_small_large"]
    assert {"idx_order_source_submission", "idx_order_source_run"} <= indexes.keys()


def test_without_a_nullable_key_nulls_stay_as_they_are(compiled: Callable[[str], Plan]) -> None:
    plan = compiled(EVERYTHING.replace("conflict: [org_id, user, day]", "conflict: [org_id, user]"))
    assert "NULLS NOT DISTINCT" not in draft_migration.build_create_migration(plan)


def test_names_too_long_for_postgres_stay_apart(database: str, folder: Path, compiled: Callable[[str], Plan]) -> None:
    long = "a" * 40
    text = EVERYTHING.replace("table: order", f"table: {'t' * 50}")
    text = (
        text.replace("  small:", f"  {long}_one:").replace("  large:", f"  {long}_two:").replace("small, large", "tags")
    )
    plan = compiled(text)
    draft_and_migrate(database, folder, plan)
    assert list_problems(database, plan) == []
    with psycopg.connect(database) as connection:
        row = connection.execute("select count(*) from pg_indexes where tablename = %s", [plan.table]).fetchone()
    # primary key, dedup, newest, changed, filters, own, sources
    assert row == (1 + 1 + 2 + len(plan.filters) + 2 + 2,)


def test_a_grown_spec_gets_its_columns(database: str, folder: Path, compiled: Callable[[str], Plan]) -> None:
    before = compiled(EVERYTHING)
    draft_and_migrate(database, folder, before)
    upsert_and_query(database, before, VALUES)
    more = "  industry: {type: text, path: output.industry, required: true, filter: true}\n"
    more += "  notes: {type: jsonb, path: output.notes}\n"
    after = compiled(EVERYTHING.replace("indexes:", more + "indexes:"))
    name = draft_and_migrate(database, folder, after)
    assert name.endswith("_order_columns.sql")
    text = (folder / name).read_text()
    assert "`dex backfill everything --all`" in text
    assert "SET NOT NULL" in text
    assert list_problems(database, after) == []
    assert len(upsert_and_query(database, after, {**VALUES, "industry": "robots"})) == 1


def test_a_key_that_grows_gets_a_second_index(database: str, folder: Path, compiled: Callable[[str], Plan]) -> None:
    before = compiled(EVERYTHING)
    draft_and_migrate(database, folder, before)
    text = EVERYTHING.replace("[org_id, user, day]", "[org_id, user, day, lens]")
    after = compiled(text.replace("indexes:", "  lens: {type: text, path: output.lens}\nindexes:"))
    name = draft_and_migrate(database, folder, after)
    assert list_problems(database, after) == []
    assert len(upsert_and_query(database, after, {**VALUES, "lens": "one"})) == 1
    with pytest.raises(StoreRefused):
        upsert_and_query(database, after, {**VALUES, "lens": "two"})  # the old index stands until a person drops it
    dropped = next(line for line in (folder / name).read_text().splitlines() if "DROP INDEX" in line)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(dropped.removeprefix("--").encode())
    assert len(upsert_and_query(database, after, {**VALUES, "lens": "two"})) == 2


def test_nothing_is_dropped_or_narrowed(database: str, folder: Path, compiled: Callable[[str], Plan]) -> None:
    draft_and_migrate(database, folder, compiled(EVERYTHING))
    text = EVERYTHING.replace("type: bigint", "type: integer").replace(
        '  tags: {type: "text[]", path: output.tags}\n', ""
    )
    text = text.replace("[[org_id, small, large], [tags]]", "[]") + "  # a comment\n"
    after = compiled(text.replace("  at:", "  mood: {type: text, path: output.mood}\n  at:"))
    name = draft_and_migrate(database, folder, after)
    statements = [line for line in (folder / name).read_text().splitlines() if line and not line.startswith("--")]
    assert statements == ['ALTER TABLE "order" ADD COLUMN IF NOT EXISTS mood TEXT;']
    assert "`large` is bigint here and integer in the spec" in (folder / name).read_text()
    with psycopg.connect(database) as connection:
        connection.execute('select tags, large from "order"')
    with pytest.raises(NothingToDraft, match="has every column"):
        draft_and_migrate(database, folder, after)


def test_an_index_asked_for_later_comes_with_the_next_draft(
    database: str, folder: Path, compiled: Callable[[str], Plan]
) -> None:
    before = EVERYTHING.replace("output.exact, filter: true", "output.exact").replace(", [tags]]", "]")
    draft_and_migrate(database, folder, compiled(before))
    after = compiled(EVERYTHING.replace("[tags]]", "[tags], [org_id, day]]"))
    name = draft_and_migrate(database, folder, after)
    assert name.endswith("_order_indexes.sql")
    text = (folder / name).read_text()
    assert "(org_id, exact, created_at DESC, id DESC)" in text and "(tags)" in text
    assert text.count("CREATE INDEX") == 2, "one that begins with org_id, day is there: the filter's"
    with pytest.raises(NothingToDraft):
        draft_and_migrate(database, folder, after)


def test_a_table_that_nobody_follows_gets_its_triggers(
    database: str, folder: Path, compiled: Callable[[str], Plan]
) -> None:
    """A table of an earlier release, or made by hand: its rows are followed from then on, old ones included."""
    plan = compiled(EVERYTHING)
    draft_and_migrate(database, folder, plan)
    upsert_and_query(database, plan, VALUES)
    with psycopg.connect(database, autocommit=True) as connection:
        for word in ("insert", "update", "delete", "truncate"):
            connection.execute(f'drop trigger note_changes_{word} on "order"'.encode())
        connection.execute("delete from row_changes")
    name = draft_and_migrate(database, folder, plan)
    assert name.endswith("_order_changes.sql") and list_problems(database, plan) == []
    upsert_and_query(database, plan, {**VALUES, "day": None})
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from row_changes").fetchone() == (2,)
    with pytest.raises(NothingToDraft):
        draft_and_migrate(database, folder, plan)


def test_a_new_table_stores_the_words_of_its_search(
    database: str, folder: Path, compiled: Callable[[str], Plan]
) -> None:
    """They refuse no row, so a backfill does not try out each."""

    async def find_refusing() -> bool:
        async with await connect(database) as connection:
            return await may_refuse_rows(connection, plan)

    plan = compiled(EVERYTHING + "search: [tags, user]\n")
    draft_and_migrate(database, folder, plan)
    assert list_problems(database, plan, reading=True) == []
    assert not asyncio.run(find_refusing())
    with pytest.raises(NothingToDraft):
        draft_and_migrate(database, folder, plan)


def test_a_search_that_is_added_or_changed_finds_the_rows_at_once(
    database: str, folder: Path, compiled: Callable[[str], Plan]
) -> None:
    """To store the words locks the table, so it is a comment in a draft, and the hint of `dex check --database`."""

    def count_found(plan: Plan, words: str) -> int:
        async def work() -> int:
            async with await connect(database) as connection:
                return len((await select.fetch_page(connection, plan, build_query(plan, ORG, {"q": words}))).rows)

        return asyncio.run(work())

    draft_and_migrate(database, folder, compiled(EVERYTHING))
    upsert_and_query(database, compiled(EVERYTHING), VALUES)
    for search, found in (("[user]", {"ada": 1, "b": 0}), ("[tags, user]", {"ada": 1, "b": 1})):
        plan = compiled(EVERYTHING + f"search: {search}\n")
        assert {words: count_found(plan, words) for words in found} == found
        with pytest.raises(NothingToDraft):
            draft_and_migrate(database, folder, plan)
        (problem,) = list_problems(database, plan, reading=True)
        with psycopg.connect(database) as connection:
            connection.execute(problem.split("hint: ")[1].encode())
        assert {words: count_found(plan, words) for words in found} == found
        assert list_problems(database, plan, reading=True) == []
    more = EVERYTHING.replace("tags: {", "extra: {type: text, path: output.extra}\n  tags: {") + "search: [extra]\n"
    text = (folder / draft_and_migrate(database, folder, compiled(more))).read_text()
    assert '\n--     ALTER TABLE "order" DROP COLUMN search_document;\n--     ALTER TABLE "order" ADD' in text
    (problem,) = list_problems(database, compiled(EVERYTHING), reading=True)
    assert "the spec searches none" in problem
    with psycopg.connect(database) as connection:
        connection.execute(problem.split("hint: ")[1].encode())
    assert list_problems(database, compiled(EVERYTHING), reading=True) == []


def test_the_type_of_a_column_whose_words_are_stored_can_be_changed(
    database: str, folder: Path, compiled: Callable[[str], Plan]
) -> None:
    draft_and_migrate(database, folder, compiled(EVERYTHING + "search: [user, tags]\n"))
    changed = EVERYTHING.replace('tags: {type: "text[]"', "tags: {type: text") + "search: [user, tags]\n"
    (problem,) = (one for one in list_problems(database, compiled(changed), reading=True) if "TABLE503" in one)
    with psycopg.connect(database) as connection:
        connection.execute(problem.split("hint: ")[1].encode())
    assert list_problems(database, compiled(changed), reading=True) == []


def test_a_draft_that_waits_is_not_drafted_again(compiled: Callable[[str], Plan]) -> None:
    with pytest.raises(NothingToDraft, match=r"`027_order\.sql` would create it"):
        draft_migration.draft_migration(compiled(EVERYTHING), 28, ["026_x.sql", "027_order.sql"], None)


def test_the_projects_own_tables_need_nothing(database: str, folder: Path, plans: tuple[Plan, ...]) -> None:
    for plan in plans:
        with pytest.raises(NothingToDraft):
            draft_and_migrate(database, folder, plan)


def test_a_title_stays_a_comment(compiled: Callable[[str], Plan]) -> None:
    plan = compiled(EVERYTHING.replace("title: Everything", 'title: "a\\n; DROP TABLE orgs; --"'))
    text = draft_migration.build_create_migration(plan)
    assert "\n;" not in text
    assert all(line.startswith("--") for line in text.splitlines() if "DROP TABLE" in line)


def test_types_are_spelled_for_every_column_type(compiled: Callable[[str], Plan]) -> None:
    text = draft_migration.build_create_migration(compiled(EVERYTHING))
    assert "    tags TEXT[],\n" in text
    assert '    "user" TEXT NOT NULL,\n' in text
    assert "    at TIMESTAMPTZ,\n" in text


LEADS = """\
spec: 1
name: leads
title: Leads
operations: [test.leads]
table: {table}
row_name: lead
conflict: [org_id, email]
fields:
  email: {{type: text, path: output.email, normalize: [email], required: true, filter: true}}
  score: {{type: integer, path: output.score}}
"""


@pytest.mark.parametrize(
    "definition",
    [
        "lead_id serial primary key, org_id uuid not null references orgs (id), email text not null",
        "id uuid primary key default gen_random_uuid(), org_id uuid not null, email text, unique (org_id, email)",
        "org_id uuid not null, email text not null, score integer, primary key (org_id, email)",
        "code text primary key default md5(random()::text), org_id uuid not null, email text unique",
    ],
)
def test_a_table_with_a_key_of_its_own_is_adopted(
    database: str, folder: Path, compiled: Callable[[str], Plan], definition: str
) -> None:
    plan = compiled(LEADS.format(table="leads"))
    asyncio.run(migrate(database, folder))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into orgs (id, name, slug) values (%s, 'a', 'a')", [ORG])
        connection.execute(f"create table leads ({definition})".encode())
        connection.execute("insert into leads (org_id, email) values (%s, 'old@acme.example')", [ORG])
    draft_and_migrate(database, folder, plan)
    assert [problem for problem in list_problems(database, plan) if "TABLE505" not in problem] == []
    assert len(upsert_and_query(database, plan, {"email": "Ada@Acme.example", "score": 7})) == 2
    assert len(upsert_and_query(database, plan, {"email": "old@acme.example", "score": 8})) == 2
    with pytest.raises(NothingToDraft):
        draft_and_migrate(database, folder, plan)


def test_the_schema_of_a_table_is_made(database: str, folder: Path, compiled: Callable[[str], Plan]) -> None:
    plan = compiled(LEADS.format(table="research.leads"))
    draft_and_migrate(database, folder, plan)
    assert list_problems(database, plan) == []
    assert len(upsert_and_query(database, plan, {"email": "ada@acme.example"})) == 1
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from research.leads").fetchone() == (1,)


def test_what_a_person_decides_stands_as_a_comment(
    database: str, folder: Path, compiled: Callable[[str], Plan]
) -> None:
    asyncio.run(migrate(database, folder))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table leads (code text primary key, org_id uuid not null, email text, score bigint)")
    name = draft_and_migrate(database, folder, compiled(LEADS.format(table="leads")))
    text = (folder / name).read_text()
    assert "-- `code` is NOT NULL and nothing fills it" in text
    assert "-- `score` is bigint here and integer in the spec" in text
