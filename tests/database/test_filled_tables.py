"""Migrations over filled tables: a reader and a writer work on, and neither waits long for a lock."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import pytest

from engine.tables.migrate import migrate
from engine.tables.migration_files import MigrationError
from tests.conftest import create_database
from tests.database.test_migrations import BY_HAND, FOLDER, execute_text, read_catalog
from tests.forked_dex import run_dex_text, start_dex
from tests.world import fetch_rows

#: Seconds that nobody may wait for a lock.
MOST_WAITED: Final = 1.0
#: A fifth of the step results is not found; each holds 20 KB that do not compress.
FILL: Final = """
insert into orgs (id, name, slug) select gen_random_uuid(), 'o' || n, 'o' || n from generate_series(1, 20) as n;
insert into submissions (org_id, status) select id, 'completed' from orgs;
insert into pipeline_runs (org_id, submission_id, status)
    select org_id, id, 'succeeded' from submissions, generate_series(1, 50);
with noise as (select string_agg(md5(n::text), '') as text from generate_series(1, 1250) as n)
insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status, output_payload, finished_at)
select org_id, submission_id, id, place, 'succeeded', jsonb_build_object('cumulative_context', '{{}}'::jsonb,
    'operation_result', jsonb_build_object('operation_id', 'company.derive.icp_job_titles',
        'status', case when place %% 5 = 0 then 'not_found' else 'found' end,
        'output', jsonb_build_object('domain', place || '.com', 'text', substr(text, place %% 20000 + 1, 20000)))),
    timestamptz '2026-01-01' + place * interval '1 second'
from pipeline_runs, generate_series(1, {places}) as place, noise;
insert into company_intel_briefings (org_id, company_domain, raw_parallel_output)
    select id, n || '.com', '{{}}' from orgs, generate_series(1, {places}) as n;
"""
READ: Final = (
    "select status, updated_at from step_results where pipeline_run_id = %(run)s and step_position = %(place)s",
    "select count(*) from company_intel_briefings where org_id = %(org)s",
)
WRITE: Final = (
    "insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status)"
    " values (%(org)s, %(submission)s, %(run)s, %(new)s, 'running')",
    "update step_results set status = 'succeeded', finished_at = now(), output_payload ="
    ' \'{"operation_result": {"operation_id": "company.derive.icp_job_titles", "status": "found"}}\''
    " where pipeline_run_id = %(run)s and step_position = %(new)s",
    "update step_results set duration_ms = 1 where pipeline_run_id = %(run)s and step_position = %(place)s",
    "insert into company_intel_briefings (org_id, company_domain, raw_parallel_output)"
    " values (%(org)s, 'new' || %(new)s, '{}')",
    "update pipeline_runs set updated_at = now() where id = %(run)s",
)


class Worker:
    """Somebody who works on the tables while they are migrated, in short transactions."""

    def __init__(self, dsn: str, name: str, statements: tuple[str, ...], runs: list[tuple[Any, ...]]) -> None:
        self.dsn, self.name, self.statements, self.runs = dsn, name, statements, runs
        self.longest = 0.0
        self.count = 0

    def work(self, stop: threading.Event) -> None:
        with psycopg.connect(self.dsn, autocommit=True, application_name=self.name) as connection:
            while not stop.is_set():
                self.count += 1
                org, submission, run = self.runs[self.count % len(self.runs)]
                values = {"org": org, "submission": submission, "run": run}
                values |= {"place": 1 + self.count % 5, "new": 1_000_000 + self.count}
                begun = time.perf_counter()
                with connection.transaction():
                    for statement in self.statements:
                        connection.execute(statement.encode(), values)
                self.longest = max(self.longest, time.perf_counter() - begun)


class LockWatch:
    """Notes how long the workers wait for locks."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.longest = 0.0

    def work(self, stop: threading.Event) -> None:
        query = (
            "select coalesce(extract(epoch from max(clock_timestamp() - waitstart)), 0)::float8 from pg_locks"
            " join pg_stat_activity using (pid) where not granted and application_name in ('reader', 'writer')"
        )
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not stop.is_set():
                row = connection.execute(query).fetchone()
                self.longest = max(self.longest, row[0] if row else 0.0)
                time.sleep(0.01)


@contextmanager
def run_threads(*targets: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=target, args=(stop,)) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def fill_by_hand(dsn: str, count: int) -> None:
    """Make the database that an earlier system leaves, with `count` step results."""
    for name in BY_HAND:
        execute_text(dsn, (FOLDER / name).read_text())
    execute_text(dsn, FILL.format(places=count // 1000).replace("%%", "%"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze step_results")


@pytest.mark.parametrize("count", [5_000, pytest.param(200_000, marks=pytest.mark.long)])
async def test_nobody_waits_for_the_migrations_of_a_filled_database(empty_database: str, count: int) -> None:
    fill_by_hand(empty_database, count)
    runs = fetch_rows(empty_database, "select org_id, submission_id, id from pipeline_runs order by id limit 100")
    file = "select pg_relation_filenode('step_results'), pg_current_wal_lsn() - '0/0'::pg_lsn"
    ((before, written),) = fetch_rows(empty_database, file)
    edited = fetch_rows(empty_database, "select max(updated_at) from step_results")
    reader, writer = (
        Worker(empty_database, name, statements, runs) for name, statements in (("reader", READ), ("writer", WRITE))
    )
    watch = LockWatch(empty_database)
    lines: list[str] = []
    begun = time.perf_counter()
    with run_threads(reader.work, writer.work, watch.work):
        await asyncio.sleep(0.5)
        await migrate(empty_database, FOLDER, baseline=16, report=lines.append)
    seconds = time.perf_counter() - begun
    ((after, written_after),) = fetch_rows(empty_database, file)
    size = fetch_rows(empty_database, "select pg_size_pretty(pg_total_relation_size('step_results'))")[0][0]
    print(
        f"{count} step results ({size}): migrated in {seconds:.1f} s,"
        f" {float(written_after - written) / 1e6:.0f} MB of WAL;"
        f" longest wait for a lock {watch.longest:.3f} s; longest transaction of the reader {reader.longest:.3f} s"
        f" ({reader.count}), of the writer {writer.longest:.3f} s ({writer.count})",
        *lines,
        sep="\n    ",
    )
    assert watch.longest < MOST_WAITED
    assert reader.count > 20 and writer.count > 20
    assert after == before, "the table was not written anew"
    filled = (
        "select count(*) filter (where result_status = 'found'), count(*) filter (where recorded_at <> finished_at),"
        " max(updated_at) filter (where pipeline_run_id <> all(%s)) from step_results"
        " where operation_id = 'company.derive.icp_job_titles' and step_position {} 1000000"
    )
    used = [run for _, _, run in runs]
    ((found, moved, updated),) = fetch_rows(empty_database, filled.format("<"), used)
    assert (found, moved) == (count * 4 // 5, 0)
    assert updated <= edited[0][0], "a fill is no edit"
    assert fetch_rows(empty_database, filled.format(">"), used)[0][:2] == (writer.count, 0)
    assert fetch_rows(empty_database, "select indexrelid::regclass from pg_index where not indisvalid") == []


async def test_a_long_transaction_is_waited_for_without_anybody_waiting_behind(empty_database: str) -> None:
    for name in BY_HAND:
        execute_text(empty_database, (FOLDER / name).read_text())
    watch = LockWatch(empty_database)
    lines: list[str] = []

    is_read = threading.Event()

    def read_for_long(stop: threading.Event) -> None:
        with psycopg.connect(empty_database) as connection:
            connection.execute("select count(*) from step_results")
            is_read.set()
            while not watch.longest and not stop.is_set():  # until the migrations have come to the table
                time.sleep(0.01)
            time.sleep(2)

    def read_shortly(stop: threading.Event) -> None:
        with psycopg.connect(empty_database, autocommit=True, application_name="reader") as connection:
            while not stop.is_set():
                connection.execute("select count(*) from step_results")

    with run_threads(read_for_long, read_shortly, watch.work):
        assert await asyncio.to_thread(is_read.wait, 60)
        report = await migrate(empty_database, FOLDER, baseline=16, report=lines.append)
    assert len(report.applied) > 10
    assert 0 < watch.longest < MOST_WAITED


async def test_a_transaction_that_does_not_end_is_named(empty_database: str) -> None:
    for name in BY_HAND:
        execute_text(empty_database, (FOLDER / name).read_text())
    with psycopg.connect(empty_database) as connection:
        connection.execute("select count(*) from icp_job_titles")
        await asyncio.sleep(1.1)
        with pytest.raises(MigrationError) as refused:
            await migrate(empty_database, FOLDER, baseline=16, patience=0.5)
    assert refused.value.message.startswith("017_row_source.sql: a table it changes was in use for 0.5 seconds")
    assert "select count(*) from icp_job_titles" in refused.value.message
    assert "end the transaction" in refused.value.hint
    assert (await migrate(empty_database, FOLDER)).applied[0] == "017_row_source.sql"


def test_migrations_that_are_killed_anywhere_are_gone_on_with(empty_database: str, server_dsn: str) -> None:
    fill_by_hand(empty_database, 3_000)
    column = "select count(*) > 0 from pg_attribute where attrelid = 'step_results'::regclass and attname = '{}'"
    moments = (column.format("recorded_at"), column.format("order_id"))  # which stay, however late they are seen
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": empty_database}
    with psycopg.connect(empty_database, autocommit=True) as watcher:
        for moment in moments:
            with start_dex("migrate", "--baseline", "16", environment=environment) as running:
                while not is_true(watcher, moment):
                    assert running.popen.poll() is None, running.text
                    time.sleep(0.002)
                running.kill()
    ended = run_dex_text("migrate", "--baseline", "16", environment=environment)
    assert ended.returncode == 0, ended.stderr
    with create_database(server_dsn, "template0") as fresh:
        run_dex_text("migrate", environment={**environment, "DATABASE_URL": fresh}).check_returncode()
        assert read_catalog(empty_database) == read_catalog(fresh)
    filled = "select count(*) from step_results where operation_id = 'company.derive.icp_job_titles'"
    assert fetch_rows(empty_database, filled) == [(3_000,)]


def is_true(connection: psycopg.Connection[Any], query: str) -> bool:
    try:
        row = connection.execute(query.encode()).fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    return bool(row and row[0])
