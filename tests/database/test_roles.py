"""`dex db roles`: who migrates owns the tables, the API's login owns nothing and does all that the API does."""

import json
import os
import re
import stat
import subprocess
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.sql.tenant import ENGINE_ROLE, TENANT_ROLE
from engine.store.database_url import replace_login
from tests import world
from tests.api.loopback import INTERNAL_KEY, JWT_SECRET
from tests.conftest import API_LOGIN, LOGIN_PASSWORD
from tests.forked_dex import run_dex_text, start_dex

OPERATION = "company.derive.icp_job_titles"


def run_dex(dsn: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": dsn, "COLUMNS": "200", **variables}
    return run_dex_text(*arguments, environment=environment)


def test_from_an_empty_database_to_rows_with_two_logins(empty_database: str, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex[:12]  # roles belong to the server, which other tests share
    names = ("--migrate-login", f"m_{mark}", "--api-login", f"a_{mark}")
    file = tmp_path / "kept" / "roles.env"
    made = run_dex(empty_database, "db", "roles", *names, "--to", str(file), DEX_API_PASSWORD="p@ss/word: 100%")
    assert made.returncode == 0, made.stderr
    urls = dict(line.split("=", 1) for line in file.read_text().splitlines() if line.startswith("DEX_"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    migrating, serving = urls["DEX_MIGRATE_DATABASE_URL"], urls["DEX_API_DATABASE_URL"]
    password = re.search(r":([^:@]+)@", migrating)[1]
    assert len(password) >= 32 and password not in made.stdout + made.stderr
    assert "100%" not in made.stdout + made.stderr and str(file) in made.stderr

    assert run_dex(migrating, "migrate").returncode == 0
    refused = run_dex(serving, "migrate")
    assert refused.returncode == 1 and "permission denied" in refused.stderr
    with psycopg.connect(empty_database, autocommit=True) as connection:
        org = world.insert_organisation(connection)
        run = world.insert_run(connection, org, world.insert_submission(connection, org))
        output = {"domain": "acme.com", "company_name": "Acme", "parallel_raw_response": {"a": 1}}
        world.insert_step(connection, run, payload=world.build_payload(OPERATION, output))
    for command in (["backfill", "icp_job_titles"], ["reconcile"], ["verify"], ["coverage", "--strict"]):
        done = run_dex(serving, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    (row,) = [json.loads(line) for line in run_dex(serving, "query", "icp_job_titles").stdout.splitlines()]
    assert row["company_domain"] == "acme.com"

    again = run_dex(empty_database, "db", "roles", *names, "--to", str(file), "--json")
    assert json.loads(again.stdout) == [
        {"role": f"m_{mark}", "login": True, "member_of": [TENANT_ROLE], "owns": count_tables(empty_database)},
        {"role": f"a_{mark}", "login": True, "member_of": [ENGINE_ROLE, TENANT_ROLE], "owns": 0},
        {"role": ENGINE_ROLE, "login": False, "member_of": [], "owns": 0},
        {"role": TENANT_ROLE, "login": False, "member_of": [], "owns": 0},
    ]
    assert "nothing had to be changed" in run_dex(empty_database, "db", "roles", *names, "--to", str(file)).stderr
    assert urls["DEX_API_DATABASE_URL"] in file.read_text(), "a login that was there keeps its password"


def test_in_a_schema_that_is_not_open_to_all(empty_database: str, tmp_path: Path) -> None:
    """Where nobody may use `public` unasked, as hosting providers set it up, or with a schema of its own."""
    mark = uuid.uuid4().hex[:12]
    names = ("--migrate-login", f"m_{mark}", "--api-login", f"a_{mark}")
    file = tmp_path / "roles.env"
    with psycopg.connect(empty_database, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'create schema research; alter database "{name}" set search_path = research')
    assert run_dex(empty_database, "db", "roles", *names, "--to", str(file)).returncode == 0
    urls = dict(line.split("=", 1) for line in file.read_text().splitlines() if line.startswith("DEX_"))
    migrated = run_dex(urls["DEX_MIGRATE_DATABASE_URL"], "migrate")
    assert migrated.returncode == 0, migrated.stderr
    with psycopg.connect(empty_database, autocommit=True) as connection:
        org = world.insert_organisation(connection)
    given = ("--step", OPERATION, "--input", '{"company_name": "Acme", "domain": "acme.com"}')
    for command in (["submit", "--org", org, *given], ["export", "icp_job_titles", "--org", org]):
        done = run_dex(urls["DEX_API_DATABASE_URL"], *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def count_tables(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')"
        return int(connection.execute(query).fetchone()[0])


def test_what_a_superuser_made_is_handed_over_whole(database: str) -> None:
    """The tests' template was migrated by the superuser, and its logins made afterwards."""
    query = """
        select c.oid::regclass::text from pg_class as c
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'S') and relowner <> %(owner)s::regrole
        union all
        select oid::regprocedure::text from pg_proc
        where pronamespace = 'public'::regnamespace and proowner <> %(owner)s::regrole
    """
    with psycopg.connect(database) as connection:
        assert connection.execute(query, {"owner": "tests_migrate"}).fetchall() == []
        unseen = "select relname from pg_class as c where relrowsecurity and not exists (select from pg_policy where"
        unseen += " polrelid = c.oid and polname = 'engine')"
        assert connection.execute(unseen).fetchall() == [], (
            "a table the API cannot see: `engine/tables/engine_rights.py`"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "set role postgres",
        "set role tests_migrate",
        "create table mine (id int)",
        "drop table icp_job_titles",
        "alter table icp_job_titles disable row level security",
        "create policy mine on icp_job_titles using (true)",
        "truncate icp_job_titles",
        "create role mine",
        "update api_tokens set org_id = gen_random_uuid()",
        "insert into orgs (name, slug) values ('x', 'x')",
        "insert into api_tokens (org_id, name, token_hash, role) select id, 'x', 'x', 'org_admin' from orgs",
        "update users set is_active = true",
        "update budgets set usd = 1e9",
        "delete from research_orders",
        "delete from step_results",
        "delete from pipeline_runs",
        "delete from submissions",
        "update dex_migrations set checksum = ''",
        "copy (select 1) to program 'true'",
    ],
)
def test_the_api_login_can_do_no_more_than_it_needs(shared_database: str, statement: str) -> None:
    with (
        psycopg.connect(replace_login(shared_database, API_LOGIN.name, LOGIN_PASSWORD), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_the_default_login_does_not_take_the_place_of_the_one_in_use(database: str) -> None:
    refused = run_dex(database, "db", "roles", "--migrate-login", f"m_{uuid.uuid4().hex[:12]}")
    assert refused.returncode == 2
    assert f"--api-login {API_LOGIN.name}" in refused.stderr and "--api-login dex_api to make it" in refused.stderr


def test_as_a_tenant_it_sees_the_rows_of_one_organisation(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        orgs = [world.insert_organisation(connection) for _ in range(2)]
        insert = "insert into icp_job_titles (org_id, company_domain, raw_parallel_output) values (%s, 'x.com', '{}')"
        for org in orgs:
            connection.execute(insert, [org])
    query = "select array_agg(org_id::text order by org_id) from icp_job_titles"
    with psycopg.connect(replace_login(database, API_LOGIN.name, LOGIN_PASSWORD)) as connection:
        assert connection.execute(query).fetchone() == (sorted(orgs),)
        connection.execute(
            "select set_config('role', %s, true), set_config('app.org_id', %s, true)", [TENANT_ROLE, orgs[0]]
        )
        assert connection.execute(query).fetchone() == ([orgs[0]],)


def test_a_login_that_would_pass_every_wall_is_refused(database: str, server_dsn: str, tmp_path: Path) -> None:
    name = f"big_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as server:
        server.execute(f"create role {name} superuser login")
    for arguments in (["--api-login", name], ["--migrate-login", name, "--api-login", API_LOGIN.name]):
        done = run_dex(database, "db", "roles", *arguments, "--to", str(tmp_path / "roles.env"))
        assert done.returncode == 1 and "is a superuser" in done.stderr
        assert not (tmp_path / "roles.env").exists()
    serving = replace_login(database, API_LOGIN.name, LOGIN_PASSWORD)
    done = run_dex(serving, "db", "roles", "--api-login", API_LOGIN.name, "--to", str(tmp_path / "roles.env"))
    assert done.returncode == 1 and "as a superuser" in done.stderr, done.stderr


def test_the_start_warns_of_a_superuser_and_of_nobody_else(database: str) -> None:
    def list_login_warnings(dsn: str) -> list[dict[str, Any]]:
        environment = {"DATABASE_URL": dsn, "INTERNAL_API_KEY": INTERNAL_KEY, "JWT_SECRET": JWT_SECRET}
        with start_dex("serve", "--port", "0", environment={**os.environ, **environment}) as process:
            process.wait_for_line('"no budget"')
            return [line for line in process.log if "superuser" in line["event"]]

    with psycopg.connect(database, autocommit=True) as connection:
        world.insert_organisation(connection)
    assert [line["level"] for line in list_login_warnings(database)] == ["warning"]
    assert list_login_warnings(replace_login(database, API_LOGIN.name, LOGIN_PASSWORD)) == []
