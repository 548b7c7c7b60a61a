"""The databases the tests run on: migrated, and each test's own."""

import psycopg
import pytest


def tables(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        names = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    return {name for (name,) in names}


def test_a_clone_is_migrated(database: str) -> None:
    assert {"orgs", "step_results", "company_intel_briefings", "step_persistence", "dex_migrations"} <= tables(database)


@pytest.mark.parametrize("turn", [1, 2])
def test_a_clone_is_one_tests_own(database: str, turn: int) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("create table mine as select 1")
    assert "mine" in tables(database)


def test_an_empty_database_is_empty(empty_database: str) -> None:
    assert tables(empty_database) == set()


def test_the_server_is_the_one_asked_for(database: str, pytestconfig: pytest.Config) -> None:
    with psycopg.connect(database) as connection:
        major = connection.info.server_version // 10000
    assert (major == 15) == (pytestconfig.getoption("--postgres") == "system15")
