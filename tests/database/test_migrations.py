"""How migrations are applied: in order, each once, whole or not at all, and never a changed one."""

import asyncio
import hashlib
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from engine.store.connection import connect, fetch_value
from engine.tables.migrate import State, list_pending, migrate, read_status
from engine.tables.migration_files import MigrationError, load_migrations
from tests.conftest import ROOT, create_database
from tests.world import fetch_rows

FOLDER = ROOT / "migrations"
NAMES = tuple(sorted(path.name for path in FOLDER.glob("*.sql")))
BY_HAND = tuple(name for name in NAMES if int(name[:3]) <= 16)

#: Everything a migration can leave behind, spelled the same in every database.
CATALOG = """
select 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
    concat_ws(' ', a.attnotnull, a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attcompression)
from pg_attribute a join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
union all select 'index', tablename, indexname, indexdef, '' from pg_indexes where schemaname = 'public'
union all select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), ''
from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n'
union all select 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), ''
from pg_trigger where not tgisinternal
union all select 'policy', tablename, policyname, concat_ws(' ', roles, cmd, qual, with_check), '' from pg_policies
union all select 'table', relname, relrowsecurity::text, relacl::text, reloptions::text
from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
union all select 'function', proname, prosecdef::text, prosrc, proconfig::text
from pg_proc where pronamespace = 'public'::regnamespace
"""


def execute_text(dsn: str, text: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(text.encode())


def read_catalog(dsn: str) -> set[tuple[Any, ...]]:
    return {row for row in fetch_rows(dsn, CATALOG) if row[1] != "dex_migrations"}


def read_history(dsn: str) -> list[tuple[Any, ...]]:
    return fetch_rows(dsn, "select number, name, checksum, baseline from dex_migrations order by number")


def list_tables(dsn: str) -> set[str]:
    return {name for (name,) in fetch_rows(dsn, "select tablename from pg_tables where schemaname = 'public'")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may spoil."""
    return Path(shutil.copytree(FOLDER, tmp_path / "migrations"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of its own, with two migrations that work."""
    made = tmp_path / "small"
    made.mkdir()
    (made / "001_one.sql").write_text("create table one (id integer);\n")
    (made / "003_three.sql").write_text("create table three (id integer);\n")
    return made


async def test_an_empty_database_gets_them_all_in_order(empty_database: str) -> None:
    report = await migrate(empty_database, FOLDER)
    assert report.as_dict() == {"baselined": [], "applied": list(NAMES), "dry_run": False}
    states = await read_status(empty_database, FOLDER)
    assert [(state.name, state.state) for state in states] == [(name, "applied") for name in NAMES]
    assert all(datetime.strptime(str(state.applied_at), "%Y-%m-%dT%H:%M:%S.%f%z") for state in states)


async def test_a_second_time_changes_nothing(empty_database: str) -> None:
    await migrate(empty_database, FOLDER)
    before = read_history(empty_database), read_catalog(empty_database)
    assert (await migrate(empty_database, FOLDER)).applied == ()
    assert (read_history(empty_database), read_catalog(empty_database)) == before


async def test_several_migrators_at_once_apply_each_once(empty_database: str) -> None:
    reports = await asyncio.gather(*(migrate(empty_database, FOLDER) for _ in range(4)))
    assert sorted(name for report in reports for name in report.applied) == list(NAMES)
    assert [row[1] for row in read_history(empty_database)] == list(NAMES)


async def test_a_dry_run_names_what_it_would_apply_and_writes_nothing(empty_database: str) -> None:
    report = await migrate(empty_database, FOLDER, dry_run=True)
    assert (report.applied, report.dry_run) == (NAMES, True)
    assert list_tables(empty_database) == set()
    assert {state.state for state in await read_status(empty_database, FOLDER)} == {"pending"}
    assert list_tables(empty_database) == set()


async def test_a_changed_file_is_refused_with_both_checksums(empty_database: str, folder: Path) -> None:
    await migrate(empty_database, folder)
    changed = folder / "015_icp_job_titles.sql"
    was = hashlib.sha256(changed.read_bytes()).hexdigest()
    changed.write_text(changed.read_text() + "-- one more line\n")
    now = hashlib.sha256(changed.read_bytes()).hexdigest()
    (folder / "900_more.sql").write_text("create table more (id integer);")

    for attempt in (migrate(empty_database, folder), migrate(empty_database, folder, dry_run=True)):
        with pytest.raises(MigrationError) as refused:
            await attempt
        assert all(part in refused.value.message for part in ("015_icp_job_titles.sql", was, now))
        assert "a new migration" in refused.value.hint
    states = {state.name: state.state for state in await read_status(empty_database, folder)}
    assert (states["015_icp_job_titles.sql"], states["900_more.sql"]) == (State.CHANGED, State.PENDING)
    assert "more" not in list_tables(empty_database)


async def test_other_line_ends_are_no_change(empty_database: str, small: Path) -> None:
    await migrate(empty_database, small)
    (small / "001_one.sql").write_bytes(b"create table one (id integer);\r\n")
    assert (await migrate(empty_database, small)).applied == ()


async def test_a_missing_file_is_refused(empty_database: str, folder: Path) -> None:
    await migrate(empty_database, folder)
    (folder / "016_intel_briefing_tables.sql").unlink()
    with pytest.raises(MigrationError, match=r"`016_intel_briefing_tables.sql` was applied at .*file is missing"):
        await migrate(empty_database, folder)
    states = {state.number: state for state in await read_status(empty_database, folder)}
    assert (states[16].name, states[16].state) == ("016_intel_briefing_tables.sql", State.MISSING)


async def test_a_renamed_file_is_refused(empty_database: str, small: Path) -> None:
    await migrate(empty_database, small)
    (small / "001_one.sql").rename(small / "001_uno.sql")
    with pytest.raises(MigrationError, match=r"`001_uno.sql` is not what was applied"):
        await migrate(empty_database, small)


async def test_a_file_below_an_applied_one_is_refused(empty_database: str, small: Path) -> None:
    await migrate(empty_database, small)
    (small / "002_two.sql").write_text("create table two (id integer);")
    with pytest.raises(MigrationError, match=r"`002_two.sql` comes before `003_three.sql`"):
        await migrate(empty_database, small)
    assert "two" not in list_tables(empty_database)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("003_other.sql", b"", "`003_other.sql` and `003_three.sql` have the same number"),
        ("0003_other.sql", b"", "have the same number"),
        ("four.sql", b"", "`four.sql` is not named as a migration"),
        ("004-four.sql", b"", "is not named as a migration"),
        ("004_four.sql", b"select '\xff'", "`004_four.sql` is not UTF-8 text (byte 8)"),
        ("004_four.sql", b"-- commit;\nselect 1;\nCOMMIT;\n", "004_four.sql:3: `COMMIT` in a migration"),
        ("004_four.sql", b"begin;\nselect 1;\nend", "004_four.sql:1: `begin` in a migration"),
        ("004_four.sql", b"select 1; rollback work", "004_four.sql:1: `rollback` in a migration"),
        ("004_four.sql", b"-- dex: no transactions\n", "004_four.sql:1: `-- dex: no transactions` is not understood"),
        ("004_four.sql", b"select 1;\n-- dex: no transaction\n", "004_four.sql:2: `-- dex: no transaction` is not"),
        ("004_four.sql", b"-- dex: no transaction\nbegin;\nselect 1;", "004_four.sql:2: `BEGIN` without `COMMIT`"),
        ("004_four.sql", b"-- dex: no transaction\nselect 1;\ncommit;", "004_four.sql:3: `COMMIT` without `BEGIN`"),
    ],
)
async def test_a_folder_that_cannot_be_applied_is_refused_whole(
    empty_database: str, small: Path, name: str, text: bytes, said: str
) -> None:
    (small / name).write_bytes(text)
    with pytest.raises(MigrationError) as refused:
        await migrate(empty_database, small)
    assert said in refused.value.message
    assert refused.value.hint
    assert list_tables(empty_database) == set()


def test_begin_and_commit_inside_a_body_a_string_or_a_comment_are_none(small: Path) -> None:
    text = """
    -- begin;
    /* commit; */
    do $$ begin perform 1; end $$;
    do $body$ begin perform ';commit;'; end $body$;
    select 'it''s; rollback;';
    create table starting (commit_id text, started text default ';begin;');
    """
    (small / "004_four.sql").write_text(text)
    assert len(load_migrations(small)) == 3


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="there is no folder") as missing:
        load_migrations(tmp_path / "nowhere")
    assert missing.value.hint.startswith("make it: ")
    (tmp_path / "nowhere").mkdir()
    assert load_migrations(tmp_path / "nowhere")[0].name == "001_tenancy.sql"


async def test_a_failing_file_leaves_those_before_it_and_nothing_of_itself(empty_database: str, small: Path) -> None:
    text = "create table four (id integer);\ninsert into four values (1);\n\nselect 'naïve', nothing from four;\n"
    (small / "004_four.sql").write_text(text)
    (small / "005_five.sql").write_text("create table five (id integer);")
    with pytest.raises(MigrationError) as failed:
        await migrate(empty_database, small)
    assert failed.value.message.startswith('004_four.sql:4: 42703: column "nothing" does not exist')
    assert list_tables(empty_database) == {"one", "three", "dex_migrations"}
    assert [row[1] for row in read_history(empty_database)] == ["001_one.sql", "003_three.sql"]

    (small / "004_four.sql").write_text(text.replace("nothing", "id"))
    assert (await migrate(empty_database, small)).applied == ("004_four.sql", "005_five.sql")


async def test_a_failure_without_a_position_says_what_the_server_says(empty_database: str, small: Path) -> None:
    (small / "004_four.sql").write_text(
        "do $$\nbegin\n  raise exception 'not so' using detail = 'because', hint = 'do this';\nend $$;"
    )
    with pytest.raises(MigrationError) as failed:
        await migrate(empty_database, small)
    assert failed.value.message.startswith("004_four.sql: P0001: not so\nbecause\n")
    assert "line 3 at RAISE" in failed.value.message
    assert failed.value.hint == "do this"


NO_TRANSACTION = """-- dex: no transaction
create table four (id integer);
insert into four values (1), (1);
begin;
insert into four values (2);
select 1 / (id - 2) from four;
commit;
create unique index concurrently if not exists four_id on four (id);
do $$
begin
    insert into four values (3);
    commit;
    raise info 'one part is done';
end $$;
select current_setting('transaction_isolation'), ';';
"""


async def test_a_file_without_a_transaction_keeps_what_stands_before_its_failure(
    empty_database: str, small: Path
) -> None:
    file = small / "004_four.sql"
    file.write_text(NO_TRANSACTION)
    with pytest.raises(MigrationError) as failed:
        await migrate(empty_database, small)
    assert failed.value.message.startswith("004_four.sql: 22012: division by zero")
    assert "stays applied, and may be run again" in failed.value.hint
    assert fetch_rows(empty_database, "select id from four") == [(1,), (1,)], (
        "nothing of what is between BEGIN and COMMIT"
    )
    assert [state.state for state in await read_status(empty_database, small)] == ["applied", "applied", "pending"]

    file.write_text(NO_TRANSACTION.replace("create table", "create table if not exists").replace("(id - 2)", "id"))
    with pytest.raises(MigrationError, match="23505: could not create unique index"):
        await migrate(empty_database, small)
    assert fetch_rows(empty_database, "select indisvalid from pg_index where indexrelid = 'four_id'::regclass") == [
        (False,)
    ]
    execute_text(empty_database, "truncate four")
    file.write_text(file.read_text().replace("(1), (1)", "(1)"))
    lines: list[str] = []
    assert (await migrate(empty_database, small, report=lines.append)).applied == ("004_four.sql",)
    assert lines == ["004_four.sql: one part is done"]
    assert fetch_rows(empty_database, "select indisvalid from pg_index where indexrelid = 'four_id'::regclass") == [
        (True,)
    ], "what a broken build left is built anew"
    assert fetch_rows(empty_database, "select id from four order by id") == [(1,), (2,), (3,)]


def test_no_migration_builds_an_index_while_writers_wait() -> None:
    for file in load_migrations(FOLDER):
        if file.number > 16:
            made = set(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", file.text))
            indexed = set(re.findall(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)[^(]* ON (\w+)", file.text))
            assert indexed <= made, f"{file.name}: CONCURRENTLY is missing"


def test_no_index_begins_another_one(database: str) -> None:
    """Such an index only costs whoever writes. One with another collation serves other questions."""
    beginning = """
        select short.indexrelid::regclass::text, long.indexrelid::regclass::text
        from pg_index as short join pg_class on pg_class.oid = short.indrelid
        join pg_index as long on long.indrelid = short.indrelid and long.indexrelid <> short.indexrelid
        where relnamespace = 'public'::regnamespace and not short.indisunique and short.indexprs is null
            and starts_with(long.indkey::text || ' ', short.indkey::text || ' ')
            and starts_with(long.indcollation::text || ' ', short.indcollation::text || ' ')
            and starts_with(long.indoption::text || ' ', short.indoption::text || ' ')
            and pg_get_expr(short.indpred, short.indrelid) is not distinct from pg_get_expr(long.indpred, long.indrelid)
    """
    assert fetch_rows(database, beginning) == []


async def test_a_database_made_by_hand_is_adopted_and_ends_like_a_fresh_one(
    empty_database: str, server_dsn: str
) -> None:
    for name in BY_HAND:
        execute_text(empty_database, (FOLDER / name).read_text())
    foreseen = await migrate(empty_database, FOLDER, baseline=16, dry_run=True)
    assert "dex_migrations" not in list_tables(empty_database)
    report = await migrate(empty_database, FOLDER, baseline=16)
    assert (report.baselined, report.applied) == (BY_HAND, NAMES[len(BY_HAND) :])
    assert (foreseen.baselined, foreseen.applied) == (report.baselined, report.applied)
    states = {state.name: state.state for state in await read_status(empty_database, FOLDER)}
    assert states == {name: "baseline" if name in BY_HAND else "applied" for name in NAMES}
    with create_database(server_dsn, "template0") as fresh:
        await migrate(fresh, FOLDER)
        assert read_catalog(empty_database) == read_catalog(fresh)


async def test_a_baseline_twice_adopts_nothing_more(empty_database: str) -> None:
    await migrate(empty_database, FOLDER)
    said: list[str] = []
    report = await migrate(empty_database, FOLDER, baseline=16, report=said.append)
    assert (report.baselined, report.applied) == ((), ())
    assert re.fullmatch(r"nothing to adopt: `016_\w+\.sql` was applied at .*, and so were those before", said[0]), said


@pytest.mark.parametrize("number", [0, -1, 14, 999])
async def test_a_baseline_that_is_no_migration_is_refused(empty_database: str, number: int) -> None:
    with pytest.raises(MigrationError, match=f"no migration has the number of the baseline, {number}; those there are"):
        await migrate(empty_database, FOLDER, baseline=number)


async def test_a_baseline_of_a_database_that_has_nothing_marks_nothing(empty_database: str) -> None:
    for is_dry in (True, False):
        with pytest.raises(MigrationError, match=r"`api_tokens`, .*`users`; nothing was changed") as refused:
            await migrate(empty_database, FOLDER, baseline=16, dry_run=is_dry)
        assert "the last migration that was applied by hand" in refused.value.hint
    execute_text(empty_database, (FOLDER / BY_HAND[0]).read_text())
    with pytest.raises(MigrationError, match="but they do not: `company_intel_briefings`, `icp_job_titles`"):
        await migrate(empty_database, FOLDER, baseline=16)
    assert "dex_migrations" not in list_tables(empty_database)


async def test_readiness_hears_of_what_is_behind_and_not_of_what_is_ahead(empty_database: str, small: Path) -> None:
    async with await connect(empty_database) as connection:
        both = "2 migrations are pending, from `001_one.sql` to `003_three.sql`"
        assert await list_pending(connection, small) == [both]
        await migrate(empty_database, small)
        assert await list_pending(connection, small) == []
        (small / "004_four.sql").write_text("create table four (id integer);")
        assert await list_pending(connection, small) == ["migration `004_four.sql` is pending"]
        (small / "004_four.sql").unlink()
        (small / "003_three.sql").rename(small / "003_drei.sql")
        assert "`003_drei.sql` is not what was applied" in (await list_pending(connection, small))[0]
        (small / "003_drei.sql").unlink()
        assert await list_pending(connection, small) == []


async def test_a_short_statement_timeout_does_not_cut_a_migration(empty_database: str, small: Path) -> None:
    (small / "004_four.sql").write_text("select pg_sleep(0.3);")
    hurried = f"{empty_database}&options={quote('-c statement_timeout=100')}"
    assert (await migrate(hurried, small)).applied == ("001_one.sql", "003_three.sql", "004_four.sql")


async def test_a_server_with_another_isolation_by_default_is_migrated(empty_database: str) -> None:
    """The transaction that holds the lock would have a snapshot for which the build of an index waits."""
    isolated = f"{empty_database}&options={quote('-c default_transaction_isolation=serializable')}"
    async with asyncio.timeout(60):
        assert (await migrate(isolated, FOLDER)).applied[0] == "001_tenancy.sql"
    async with await connect(isolated) as connection:
        assert await fetch_value(connection, "show transaction_isolation") == "read committed"
        async with connection.transaction():
            assert await fetch_value(connection, "show transaction_isolation") == "read committed"


async def test_numbers_have_all_their_digits_whatever_the_server_prints(empty_database: str) -> None:
    async with await connect(f"{empty_database}&options={quote('-c extra_float_digits=0')}") as connection:
        text = await fetch_value(connection, "select to_jsonb(0.1::float8 + 0.2::float8)::text")
        assert text == "0.30000000000000004"


async def test_another_schema_than_public_serves_as_well(empty_database: str) -> None:
    execute_text(empty_database, "create schema research")
    await migrate(f"{empty_database}&options={quote('-c search_path=research')}", FOLDER)
    assert list_tables(empty_database) == set()
    execute_text(
        empty_database,
        """
        insert into research.orgs (name, slug) values ('a', 'a'), ('b', 'b');
        insert into research.submissions (org_id) select id from research.orgs where slug = 'a';
        insert into research.pipeline_runs (org_id, submission_id) select org_id, id from research.submissions;
        insert into research.step_results (org_id, submission_id, pipeline_run_id, step_position)
        select o.id, r.submission_id, r.id, 1 from research.pipeline_runs r, research.orgs o where o.slug = 'b';
        insert into research.step_persistence (step_result_id, spec, spec_digest, org_id, outcome)
        select id, 's', 'd', org_id, 'written' from research.step_results;
        """,
    )
    # The triggers find their tables although this session's search_path does not name them.
    assert fetch_rows(
        empty_database, "select o.slug from research.step_results s join research.orgs o on o.id = s.org_id"
    ) == [("a",)]
    execute_text(empty_database, "update research.step_results set status = 'running'")
    assert fetch_rows(empty_database, "select * from research.step_persistence") == []


async def test_tables_in_several_schemas_of_the_search_path_are_adopted(empty_database: str) -> None:
    execute_text(empty_database, "create schema ops; create schema entities")
    for name in BY_HAND:
        schemas = "entities, ops" if "briefing" in name or "titles" in name else "ops"
        execute_text(empty_database, f"set search_path = {schemas};" + (FOLDER / name).read_text())
    execute_text(
        empty_database,
        """
        set search_path = ops, entities;
        insert into orgs (name, slug) values ('a', 'a'), ('b', 'b');
        insert into submissions (org_id) select id from orgs where slug = 'a';
        insert into pipeline_runs (org_id, submission_id) select org_id, id from submissions;
        insert into company_intel_briefings (org_id, company_domain, raw_parallel_output)
            select id, 'a.com', '1' from orgs;
        """,
    )
    with pytest.raises(MigrationError, match="some are in `entities`, `ops`") as refused:
        await migrate(empty_database, FOLDER, baseline=16)
    assert "search_path%3Dentities,ops,public" in refused.value.hint
    both = f"{empty_database}&options={quote('-c search_path=ops,entities')}"
    with pytest.raises(MigrationError, match="`company_intel_briefings` exists already, in `entities`"):
        await migrate(both, FOLDER)
    execute_text(empty_database, "create table entities.orgs (id integer)")
    with pytest.raises(MigrationError, match="`orgs` exists more than once in the search path: in `ops`, `entities`"):
        await migrate(both, FOLDER, baseline=16)
    assert fetch_rows(empty_database, "select to_regclass('ops.dex_migrations')") == [(None,)], "nothing was changed"
    execute_text(empty_database, "drop table entities.orgs")

    await migrate(both, FOLDER, baseline=16)
    execute_text(
        empty_database,
        """
        insert into ops.step_results (org_id, submission_id, pipeline_run_id, step_position, status, output_payload)
        select o.id, r.submission_id, r.id, 1, 'succeeded', '{"operation_result": {"operation_id": "x", "status": "y"}}'
        from ops.pipeline_runs r, ops.orgs o where o.slug = 'b';
        delete from entities.company_intel_briefings where org_id in (select id from ops.orgs where slug = 'a');
        """,
    )
    made = "select o.slug, s.operation_id from ops.step_results s join ops.orgs o on o.id = s.org_id"
    assert fetch_rows(empty_database, made) == [("a", "x")], "triggers find the tables of both schemas"
    assert fetch_rows(empty_database, "select removed, count(*) from ops.row_changes group by 1 order by 1") == [
        (False, 1),
        (True, 1),
    ]
    with psycopg.connect(both) as connection:
        connection.execute(
            "select set_config('role', 'dex_tenant', true), set_config('app.org_id', id::text, true)"
            " from orgs where slug = 'b'"
        )
        assert connection.execute("select company_domain from company_intel_briefings").fetchall() == [("a.com",)]


async def test_rows_that_share_a_key_stop_the_dedup_index_with_their_list(empty_database: str) -> None:
    for name in BY_HAND:
        execute_text(empty_database, (FOLDER / name).read_text())
    execute_text(
        empty_database,
        """
        insert into orgs (id, name, slug) values ('aaaaaaaa-0000-4000-8000-000000000000', 'a', 'a');
        insert into company_intel_briefings (org_id, company_domain, client_company_name, raw_parallel_output)
        select id, 'coreweave.com', null, '1' from orgs, generate_series(1, 3);
        insert into company_intel_briefings (org_id, company_domain, client_company_name, raw_parallel_output)
        select id, 'coreweave.com', 'SecurityPal', '1' from orgs;
        insert into person_intel_briefings (org_id, person_full_name, client_company_name, raw_parallel_output)
        select id, 'Jim Higgins', 'SecurityPal', '1' from orgs, generate_series(1, 2);
        """,
    )
    with pytest.raises(MigrationError) as stopped:
        await migrate(empty_database, FOLDER, baseline=16)
    said = stopped.value.message
    assert said.startswith("018_dedup_nulls_not_distinct.sql: 23505: 2 keys are held by more than one row")
    lines = [line for line in said.splitlines() if line.startswith("  ")]
    assert len(lines) == 2
    assert "company_intel_briefings: 3 rows" in lines[0]
    assert '"company_domain": "coreweave.com"' in lines[0]
    assert '"client_company_name": null' in lines[0]
    assert "person_intel_briefings: 2 rows" in lines[1]
    assert '"person_full_name": "Jim Higgins"' in lines[1]
    assert "nothing was changed" in stopped.value.hint
    assert fetch_rows(empty_database, "select count(*) from company_intel_briefings") == [(4,)]
    assert fetch_rows(empty_database, "select count(*) from person_intel_briefings") == [(2,)]
    assert [state.state for state in await read_status(empty_database, FOLDER)].count(State.PENDING) == len(NAMES) - 5

    execute_text(
        empty_database,
        "delete from person_intel_briefings where ctid <> (select min(ctid) from person_intel_briefings)",
    )
    execute_text(
        empty_database,
        "update company_intel_briefings set client_company_name = id::text where client_company_name is null",
    )
    assert (await migrate(empty_database, FOLDER)).applied[0] == "018_dedup_nulls_not_distinct.sql"


async def test_a_long_list_of_shared_keys_is_cut_and_counted(empty_database: str) -> None:
    for name in BY_HAND:
        execute_text(empty_database, (FOLDER / name).read_text())
    execute_text(
        empty_database,
        """
        insert into orgs (name, slug) values ('a', 'a');
        insert into company_intel_briefings (org_id, company_domain, raw_parallel_output)
        select id, format('%s.com', n), '1' from orgs, generate_series(1, 60) n, generate_series(1, 2);
        """,
    )
    with pytest.raises(MigrationError) as stopped:
        await migrate(empty_database, FOLDER, baseline=16)
    assert "60 keys are held by more than one row" in stopped.value.message
    assert "and 10 more" in stopped.value.message


async def test_an_owner_who_may_not_take_the_tenant_role_is_told_the_grant(server_dsn: str, template: str) -> None:
    with create_database(server_dsn, "template0") as dsn:
        owner = urlsplit(dsn).path[1:]
        execute_text(
            server_dsn, f"create role {owner} login password 'secret'; alter database {owner} owner to {owner}"
        )
        as_owner = make_conninfo(dsn, user=owner, password="secret")
        try:
            with pytest.raises(MigrationError) as refused:
                await migrate(as_owner, FOLDER)
            assert refused.value.message.startswith("023_tenant_policies.sql: 42501: ")
            assert f"GRANT dex_tenant TO {owner};" in refused.value.hint
            execute_text(server_dsn, f"GRANT dex_tenant TO {owner}")
            assert (await migrate(as_owner, FOLDER)).applied[0] == "023_tenant_policies.sql"
        finally:
            execute_text(dsn, f"reassign owned by {owner} to postgres; drop owned by {owner}; drop role {owner}")


async def test_an_owner_who_may_not_create_roles_is_told_who_helps(new_server: str) -> None:
    with psycopg.connect(new_server, autocommit=True) as server:
        server.execute("create role hosted login password 'secret'")
        server.execute("create database hosted owner hosted")
    hosted = make_conninfo(new_server, dbname="hosted", user="hosted", password="secret")
    with pytest.raises(MigrationError) as refused:
        await migrate(hosted, FOLDER)
    assert refused.value.message.startswith("023_tenant_policies.sql: 42501: permission denied to create role")
    assert "CREATE ROLE dex_tenant NOLOGIN and GRANT dex_tenant" in refused.value.hint
    execute_text(new_server, "CREATE ROLE dex_tenant NOLOGIN; GRANT dex_tenant TO hosted")
    assert (await migrate(hosted, FOLDER)).applied[0] == "023_tenant_policies.sql"


async def test_plain_owners_of_several_databases_make_the_tenant_role_once(new_server: str) -> None:
    with psycopg.connect(new_server, autocommit=True) as server:
        server.execute("create role plain login createrole password 'secret'")
        for name in "abc":
            server.execute(f"create database {name} owner plain")
    owned = [make_conninfo(new_server, dbname=name, user="plain", password="secret") for name in "abc"]
    await asyncio.gather(*(migrate(dsn, FOLDER) for dsn in owned))
    role = "select rolcanlogin, rolsuper, rolbypassrls from pg_roles where rolname = 'dex_tenant'"
    assert fetch_rows(new_server, role) == [(False, False, False)]
    for dsn in owned:
        assert {state.state for state in await read_status(dsn, FOLDER)} == {"applied"}
        with psycopg.connect(dsn) as connection:
            connection.execute("set local role dex_tenant")
            assert connection.execute("select current_user").fetchone() == ("dex_tenant",)
