"""Statements that travel together: one transaction, one round trip, and a connection that is whole afterwards."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import errors

from engine.sql.identifiers import Statement
from engine.store import round_trip as module
from engine.store.connection import Connection, RawJson, build_pool, connect
from engine.store.round_trip import send_statements
from engine.store.tenant import open_tenant_transaction, run_as_tenant
from tests.conftest import create_database

T = TypeVar("T")
WRITE = "insert into notes (n) values (%(n)s::integer) returning n"
WHO = "select current_user::text, coalesce(current_setting('app.org_id', true), '')"
ORG = "b0293785-aa7a-4234-8201-cc47305295f8"


@pytest.fixture(scope="module")
def database(server_dsn: str, template: str) -> Iterator[str]:
    """A database for all tests here, each with a new table."""
    with create_database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture
def run(database: str) -> Callable[[Callable[[Connection], Awaitable[T]]], T]:
    """Give a function a connection, on an event loop."""
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("drop table if exists notes")
        owner.execute("create table notes (n integer primary key check (n < 1000), body jsonb)")

    async def alone(function: Callable[[Connection], Awaitable[T]]) -> T:
        async with await connect(database) as connection:
            return await function(connection)

    return lambda function: asyncio.run(alone(function))


def notes(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as owner:
        return [row[0] for row in owner.execute("select n from notes order by n").fetchall()]


def test_each_statement_answers_its_rows_as_text(run: Any) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("select 1, null, 'a%%b', %(word)s::text", {"word": "é"}),
        ("select n from generate_series(1, 3) as n", {}),
        ("select %(document)s::jsonb, %(list)s::text[]", {"document": RawJson(b'{"a": 1.10}'), "list": ['x"', None]}),
        ("select from generate_series(1, 2)", {}),
    ]
    assert run(lambda connection: send_statements(connection, calls)) == [
        [(b"1", None, b"a%b", "é".encode())],
        [(b"1",), (b"2",), (b"3",)],
        [(b'{"a": 1.10}', b'{"x\\"",NULL}')],
        [(), ()],
    ]


def test_all_or_none(run: Any, database: str) -> None:
    async def write_twice(connection: Connection) -> None:
        with pytest.raises(errors.UniqueViolation):
            await send_statements(
                connection, [(WRITE, {"n": 1}), (WRITE, {"n": 2}), (WRITE, {"n": 1}), (WRITE, {"n": 3})]
            )
        await send_statements(connection, [(WRITE, {"n": 4}), (WRITE, {"n": 5})])

    run(write_twice)
    assert notes(database) == [4, 5]


@pytest.mark.parametrize(
    ("text", "values", "error"),
    [
        ("selec 1", {}, errors.SyntaxError),
        ("select * from nowhere", {}, errors.UndefinedTable),
        ("select %(n)s::integer", {"n": "x"}, errors.InvalidTextRepresentation),
        ("select %(n)s::jsonb", {"n": RawJson(b"{")}, errors.InvalidTextRepresentation),
        (WRITE, {"n": 5000}, errors.CheckViolation),
        ("select %(n)s::text", {"n": "a\0b"}, psycopg.DataError),
    ],
)
def test_an_error_is_psycopgs_and_the_connection_goes_on(run: Any, text: str, values: Any, error: Any) -> None:
    async def again(connection: Connection) -> list[Any]:
        for _ in range(3):
            with pytest.raises(error):
                await send_statements(connection, [("select 1", {}), (text, values), ("select 2", {})])
        return await send_statements(connection, [("select 3", {})])

    assert run(again) == [[(b"3",)]]


def test_the_error_of_a_deferred_constraint_is_psycopgs_too(run: Any, database: str) -> None:
    """The commit fails, after all statements have their results."""
    unique = "alter table notes add column word text, add unique (word) deferrable initially deferred"
    write = "insert into notes (n, word) values (%(n)s::integer, 'a') returning n"

    async def write_twice(connection: Connection) -> Any:
        await connection.execute(unique)
        with pytest.raises(errors.UniqueViolation):
            await send_statements(connection, [(write, {"n": 1}), (write, {"n": 2})])
        return await send_statements(connection, [(write, {"n": 3})])

    assert run(write_twice) == [[(b"3",)]]
    assert notes(database) == [3]


def test_role_and_organisation_end_with_the_transaction(run: Any) -> None:
    async def who(connection: Connection) -> list[Any]:
        inside = await run_as_tenant(connection, ORG, [Statement(WHO), Statement(WHO)])
        outside = await run_as_tenant(connection, None, [Statement(WHO)])
        with pytest.raises(errors.DivisionByZero):
            await run_as_tenant(connection, ORG, [Statement("select 1 / 0")])
        return [*inside, *outside, *await send_statements(connection, [(WHO, {})])]

    tenant = [(b"dex_tenant", ORG.encode())]
    assert run(who) == [tenant, tenant, [(b"postgres", b"")], [(b"postgres", b"")]]


def test_a_value_may_change_its_kind(run: Any) -> None:
    """A statement is prepared without types: what the first value was binds no later one."""

    async def several(connection: Connection) -> list[Any]:
        text = "select %(n)s::numeric"
        return [await send_statements(connection, [(text, {"n": value})]) for value in (1, None, "2", 10**30, 1.5)]

    assert run(several) == [[[(b"1",)]], [[(None,)]], [[(b"2",)]], [[(b"1" + b"0" * 30,)]], [[(b"1.5",)]]]


def test_what_was_discarded_is_prepared_again(run: Any) -> None:
    async def discarded(connection: Connection) -> list[Any]:
        await send_statements(connection, [("select 1", {}), ("select 2", {})])
        await connection.execute("deallocate all")
        again = await send_statements(connection, [("select 3", {}), ("select 1", {})])
        return [*again, *await send_statements(connection, [("select 2", {}), ("select 3", {})])]

    assert run(discarded) == [[(b"3",)], [(b"1",)], [(b"2",)], [(b"3",)]]


def test_a_rollback_by_psycopg_discards_and_nothing_is_lost(run: Any, database: str) -> None:
    async def rolled_back(connection: Connection) -> list[Any]:
        answers = []
        for number in range(3):
            answers += await send_statements(connection, [(WRITE, {"n": number})])
            with pytest.raises(errors.DivisionByZero):
                async with connection.transaction():
                    await connection.execute("select 1 / 0")
            answers += await send_statements(connection, [(f"select {number}", {}), (WRITE, {"n": 10 + number})])
        return answers

    assert len(run(rolled_back)) == 9
    assert notes(database) == [0, 1, 2, 10, 11, 12]


def test_a_statement_that_cannot_be_prepared_leaves_the_others(run: Any) -> None:
    async def broken(connection: Connection) -> list[Any]:
        for number in range(module._MOST_PREPARED):
            await send_statements(connection, [(f"select {number}", {})])
        for _ in range(3):
            with pytest.raises(errors.UndefinedTable):
                await send_statements(connection, [("select * from nowhere", {}), ("select 0", {})])
        return [await send_statements(connection, [(f"select {number}", {})]) for number in range(3)]

    assert run(broken) == [[[(b"0",)]], [[(b"1",)]], [[(b"2",)]]]


def test_a_table_that_changes_is_planned_again(run: Any, database: str) -> None:
    async def changed(connection: Connection) -> list[Any]:
        text = "select n from notes"
        await send_statements(connection, [(WRITE, {"n": 1}), (text, {})])
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute("alter table notes add column more text")
        return await send_statements(connection, [(text, {})])

    assert run(changed) == [[(b"1",)]]


def test_no_connection_keeps_more_than_a_hundred_statements(run: Any) -> None:
    async def many(connection: Connection) -> Any:
        for number in range(250):
            assert await send_statements(connection, [(f"select {number}", {}), ("select -1", {})]) == [
                [(str(number).encode(),)],
                [(b"-1",)],
            ]
        cursor = await connection.execute("select count(*) from pg_prepared_statements where name like 'dex_%'")
        return await cursor.fetchone()

    assert run(many) == (module._MOST_PREPARED,)


def test_behind_a_pooler_nothing_is_prepared(database: str) -> None:
    async def unprepared() -> Any:
        async with await connect(f"{database}&prepare_threshold=0") as connection:
            assert await send_statements(connection, [("select %(n)s::text", {"n": "x"})]) == [[(b"x",)]]
            return await (await connection.execute("select count(*) from pg_prepared_statements")).fetchone()

    assert asyncio.run(unprepared()) == (0,)


def test_a_batch_larger_than_every_buffer(run: Any) -> None:
    async def large(connection: Connection) -> int:
        document = RawJson(b'"' + b"x" * 100_000 + b'"')
        text = "select %(d)s::jsonb::text"
        answers = await send_statements(connection, [(text, {"d": document})] * 200)
        return sum(len(answer[0][0] or b"") for answer in answers)

    assert run(large) == 200 * 100_002


def test_a_connection_that_is_killed_says_so(run: Any, database: str) -> None:
    async def killed(connection: Connection) -> None:
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            await send_statements(connection, [("select 1", {})])

    run(killed)


def test_a_caller_that_goes_away_leaves_no_half_read_connection(run: Any) -> None:
    async def cancelled(connection: Connection) -> Any:
        task = asyncio.create_task(send_statements(connection, [("select pg_sleep(30)", {}), ("select 1", {})]))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        return connection.closed or await send_statements(connection, [("select 2", {})])

    assert run(cancelled) in (True, [[(b"2",)]])


def test_a_canceled_transaction_leaves_no_pipeline_to_the_next_user_of_a_pool(database: str) -> None:
    async def run_transaction(pool: Any) -> None:
        async with pool.connection() as connection, open_tenant_transaction(connection, ORG) as cursor:
            await cursor.execute("select 1")
            assert await cursor.fetchall() == [(1,)]

    async def cancel_at_each_step() -> None:
        pool = build_pool(database, 1)
        await pool.open()
        for steps in range(60):
            task = asyncio.create_task(run_transaction(pool))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with pool.connection() as connection:
                assert connection._pipeline is None, f"canceled after {steps} steps"
            await run_transaction(pool)
        await pool.close()

    asyncio.run(cancel_at_each_step())
