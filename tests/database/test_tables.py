"""What the tables promise to whoever writes to them by hand, to the engine, and to a tenant."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import (
    CheckViolation,
    ForeignKeyViolation,
    InsufficientPrivilege,
    InvalidParameterValue,
    UniqueViolation,
)

from tests.conftest import ROOT, create_database

A = "aaaaaaaa-0000-4000-8000-000000000000"
B = "bbbbbbbb-0000-4000-8000-000000000000"
ORGS = (A, B)
TENANT_TABLES = (
    *("companies", "submissions", "pipeline_runs", "step_results", "step_persistence"),
    *("icp_job_titles", "company_intel_briefings", "person_intel_briefings"),
)
RESEARCH_TABLES = ("icp_job_titles", "company_intel_briefings", "person_intel_briefings")


@pytest.fixture(scope="module")
def filled(server_dsn: str, template: str) -> Iterator[str]:
    """Two organisations, each with one of everything, written with no more columns than the contract asks for."""
    with create_database(server_dsn, template) as dsn:
        with psycopg.connect(dsn) as connection:
            for org in ORGS:
                write_one_of_everything(connection, org)
        yield dsn


@pytest.fixture
def connection(filled: str) -> Iterator[Connection[Any]]:
    """A transaction of the test's own, which is not kept."""
    with psycopg.connect(filled) as opened, opened.transaction(force_rollback=True):
        yield opened


def write_one_of_everything(connection: Connection[Any], org: str) -> None:
    letter = org[0]
    submission, run, step = derive_ids(org)
    connection.execute("insert into orgs (id, name, slug) values (%s, %s, %s)", [org, letter, letter])
    connection.execute("insert into companies (org_id, name) values (%s, 'Customer')", [org])
    connection.execute(
        "insert into submissions (id, org_id, input_payload, status) values (%s, %s, '{}', 'completed')",
        [submission, org],
    )
    connection.execute(
        "insert into pipeline_runs (id, org_id, submission_id, status) values (%s, %s, %s, 'succeeded')",
        [run, org, submission],
    )
    connection.execute(
        "insert into step_results (id, org_id, submission_id, pipeline_run_id, step_position, status, output_payload)"
        " values (%s, %s, %s, %s, 1, 'succeeded', %s)",
        [step, org, submission, run, json.dumps(build_payload("company.derive.icp_job_titles", "found"))],
    )
    connection.execute(
        "insert into api_tokens (org_id, name, token_hash, role) values (%s, 'laptop', %s, 'member')",
        [org, hashlib.sha256(org.encode()).hexdigest()],
    )
    connection.execute(
        "insert into step_persistence (step_result_id, spec, spec_digest, org_id, outcome)"
        " values (%s, 'icp_job_titles', 'd', %s, 'written')",
        [step, org],
    )
    for table, key in zip(RESEARCH_TABLES, ("company_domain", "company_domain", "person_full_name"), strict=True):
        connection.execute(
            f"insert into {table} (org_id, {key}, raw_parallel_output, source_submission_id, source_pipeline_run_id)"
            " values (%s, 'x', '{}', %s, %s)",
            [org, submission, run],
        )


def derive_ids(org: str) -> tuple[str, str, str]:
    """The ids of an organisation's submission, run and step result."""
    submission, run, step = (org[:-1] + digit for digit in "123")
    return submission, run, step


def build_payload(operation_id: Any, status: Any) -> dict[str, Any]:
    return {"operation_result": {"operation_id": operation_id, "status": status}, "cumulative_context": {}}


def fetch_one(connection: Connection[Any], query: str, *parameters: Any) -> Any:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


@contextmanager
def act_as_tenant(connection: Connection[Any], org: str) -> Iterator[None]:
    """Do a part of the transaction with the role and the organisation, as the API does a whole one."""
    take = "select set_config('role', %s, true), set_config('app.org_id', %s, true)"
    with connection.transaction():
        connection.execute(take, ["dex_tenant", org])
        yield
        connection.execute(take, ["none", ""])


# 016


def test_016_is_the_directives_text() -> None:
    text = (ROOT / "migrations" / "016_intel_briefing_tables.sql").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "f9071c0aebf33dad85d3a6a25eac5a079f948429ead9d9e97598be9ccac7d7f2"


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (
            "icp_job_titles",
            "id! org_id! company_domain! company_name company_description raw_parallel_output! parallel_run_id"
            " processor source_submission_id source_pipeline_run_id created_at! updated_at!"
            " source_step_result_id source_recorded_at",
        ),
        (
            "company_intel_briefings",
            "id! org_id! company_domain! company_name client_company_name client_company_description"
            " raw_parallel_output! parallel_run_id processor source_submission_id source_pipeline_run_id created_at!"
            " updated_at! source_step_result_id source_recorded_at",
        ),
        (
            "person_intel_briefings",
            "id! org_id! person_linkedin_url person_full_name! person_current_company_name person_current_job_title"
            " client_company_name client_company_description customer_company_name raw_parallel_output!"
            " parallel_run_id processor source_submission_id source_pipeline_run_id created_at! updated_at!"
            " source_step_result_id source_recorded_at",
        ),
    ],
)
def test_the_research_tables_have_the_directives_columns(connection: Connection[Any], table: str, columns: str) -> None:
    found = fetch_one(
        connection,
        "select string_agg(column_name || case is_nullable when 'NO' then '!' else '' end, ' ' order by"
        " ordinal_position) from information_schema.columns where table_name = %s",
        table,
    )
    assert found == columns


@pytest.mark.parametrize("table", RESEARCH_TABLES)
def test_research_outlives_the_run_it_came_from(connection: Connection[Any], table: str) -> None:
    connection.execute("delete from pipeline_runs")
    connection.execute("delete from submissions")
    sources = f"select source_submission_id, source_pipeline_run_id from {table}"
    assert connection.execute(sources).fetchall() == [(None, None)] * 2


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ("company_intel_briefings", {"company_domain": "coreweave.com"}),
        ("company_intel_briefings", {"company_domain": "coreweave.com", "client_company_name": "SecurityPal"}),
        ("person_intel_briefings", {"person_full_name": "Jim Higgins"}),
        ("person_intel_briefings", {"person_full_name": "Jim Higgins", "client_company_name": "SecurityPal"}),
    ],
)
def test_a_key_with_nulls_in_it_is_a_key(connection: Connection[Any], table: str, keys: dict[str, str]) -> None:
    columns = ", ".join(("org_id", *keys, "raw_parallel_output"))
    insert = f"insert into {table} ({columns}) values ({', '.join(['%s'] * (len(keys) + 1))}, '1')"
    connection.execute(insert, [A, *keys.values()])
    connection.execute(insert, [B, *keys.values()])
    with pytest.raises(UniqueViolation, match=f"idx_{table}_dedup"):
        connection.execute(insert, [A, *keys.values()])


def test_the_raw_columns_take_lz4_where_the_server_has_it(connection: Connection[Any]) -> None:
    try:
        with connection.transaction():
            connection.execute("set local default_toast_compression = 'lz4'")
        expected = {"l"}
    except InvalidParameterValue:
        expected = {""}
    found = connection.execute(
        "select distinct attcompression::text from pg_attribute where (attrelid::regclass::text, attname) in"
        " (('step_results', 'output_payload'), ('step_results', 'input_payload'),"
        "  ('icp_job_titles', 'raw_parallel_output'), ('company_intel_briefings', 'raw_parallel_output'),"
        "  ('person_intel_briefings', 'raw_parallel_output'))"
    ).fetchall()
    assert {name for (name,) in found} == expected


@pytest.mark.parametrize(
    ("table", "filters"),
    [
        ("icp_job_titles", ("", "company_domain")),
        ("company_intel_briefings", ("", "company_domain", "client_company_name")),
        (
            "person_intel_briefings",
            ("", "person_linkedin_url", "person_current_company_name", "client_company_name"),
        ),
    ],
)
def test_each_filter_has_an_index_that_ends_in_the_order_of_the_answer(
    connection: Connection[Any], table: str, filters: tuple[str, ...]
) -> None:
    found = connection.execute("select indexdef from pg_indexes where tablename = %s", [table]).fetchall()
    ends = {definition.partition("(")[2] for (definition,) in found}
    columns = [f'{name} COLLATE "C", ' if name else "" for name in filters]
    assert {f"org_id, {column}created_at DESC, id DESC)" for column in columns} <= ends


# writing by hand


@pytest.mark.parametrize("status", ["queued", "running", "succeeded", "failed", "skipped", "retrying"])
def test_a_step_takes_every_status_there_is(connection: Connection[Any], status: str) -> None:
    connection.execute("update step_results set status = %s", [status])


@pytest.mark.parametrize(
    ("table", "status"), [("step_results", "canceled"), ("pipeline_runs", "skipped"), ("submissions", "succeeded")]
)
def test_a_word_of_another_table_is_no_status(connection: Connection[Any], table: str, status: str) -> None:
    with pytest.raises(CheckViolation):
        connection.execute(f"update {table} set status = %s", [status])


def test_one_attempt_of_a_step_is_recorded_once(connection: Connection[Any]) -> None:
    again = (
        "insert into step_results (org_id, submission_id, pipeline_run_id, step_position, attempt)"
        " select org_id, submission_id, pipeline_run_id, step_position, {} from step_results"
    )
    connection.execute(again.format(2))
    with pytest.raises(UniqueViolation):
        connection.execute(again.format(1))


def test_an_organisation_leaves_with_everything_it_has(connection: Connection[Any]) -> None:
    company = fetch_one(connection, "select id from companies where org_id = %s", A)
    user = fetch_one(
        connection, "insert into users (org_id, company_id, email) values (%s, %s, 'a@b.c') returning id", A, company
    )
    connection.execute("update api_tokens set user_id = %s, company_id = %s where org_id = %s", [user, company, A])
    for table in ("submissions", "pipeline_runs", "step_results"):
        connection.execute(f"update {table} set company_id = %s where org_id = %s", [company, A])
    connection.execute("delete from orgs where id = %s", [A])
    for table in (*TENANT_TABLES, "api_tokens"):
        assert fetch_one(connection, f"select array_agg(distinct org_id::text) from {table}") == [B], table


def test_a_company_with_work_to_its_name_stays(connection: Connection[Any]) -> None:
    connection.execute("update submissions set company_id = (select id from companies where org_id = %s)", [A])
    with pytest.raises(ForeignKeyViolation):
        connection.execute("delete from companies")


def test_a_child_run_outlives_its_parent(connection: Connection[Any]) -> None:
    parent = derive_ids(A)[1]
    child = fetch_one(
        connection,
        "insert into pipeline_runs (org_id, submission_id, parent_pipeline_run_id)"
        " select org_id, submission_id, id from pipeline_runs where id = %s returning id",
        parent,
    )
    connection.execute("delete from pipeline_runs where id = %s", [parent])
    assert fetch_one(connection, "select parent_pipeline_run_id from pipeline_runs where id = %s", child) is None


# what finding reads


@pytest.mark.parametrize(
    ("output_payload", "expected"),
    [
        (build_payload("company.derive.intel_briefing", "found"), ("company.derive.intel_briefing", "found")),
        (build_payload("company.derive.intel_briefing", None), ("company.derive.intel_briefing", None)),
        (build_payload(7, True), ("7", "true")),
        (build_payload(["a"], {"b": 1}), ('["a"]', '{"b": 1}')),
        (build_payload("x" * 9000, "y" * 9000), ("x" * 200, "y" * 200)),
        ({"operation_result": "found"}, (None, None)),
        ({"operation_result": [{"operation_id": "a"}]}, (None, None)),
        ({"operation_result": None}, (None, None)),
        ({"operation_id": "a", "status": "found"}, (None, None)),
        ({}, (None, None)),
        ([build_payload("a", "found")], (None, None)),
        ("found", (None, None)),
        (5, (None, None)),
        (None, (None, None)),
    ],
)
def test_any_payload_is_taken_and_shows_what_it_has(
    connection: Connection[Any], output_payload: Any, expected: tuple[str | None, str | None]
) -> None:
    connection.execute("update step_results set output_payload = %s", [json.dumps(output_payload)])
    assert fetch_one(connection, "select distinct operation_id, result_status from step_results") == expected


def test_no_payload_at_all_is_taken_too(connection: Connection[Any]) -> None:
    connection.execute("update step_results set output_payload = null")
    assert fetch_one(connection, "select distinct operation_id, result_status from step_results") == (None, None)


@pytest.mark.parametrize(
    ("finished_at", "expected"), [("2026-01-03", "finished_at"), (None, "created_at")], ids=["finished", "unfinished"]
)
def test_a_step_result_was_recorded_when_it_finished_else_when_it_was_made(
    connection: Connection[Any], finished_at: str | None, expected: str
) -> None:
    submission, run, _ = derive_ids(A)
    assert fetch_one(
        connection,
        "insert into step_results (org_id, submission_id, pipeline_run_id, step_position, finished_at, updated_at,"
        " created_at) values (%s, %s, %s, 2, %s, '2026-01-02', '2026-01-01')"
        f" returning recorded_at = {expected}",
        *(A, submission, run, finished_at),
    )


_OTHER_SCANS = ["enable_seqscan", "enable_bitmapscan"]


def vacuum_until_visible(connection: Connection[Any], table: str) -> None:
    """Vacuum and analyze a table until most pages are marked as visible to all: a busy server leaves many out."""
    deadline = time.monotonic() + 20
    visible = "select relallvisible >= 0.9 * relpages from pg_class where oid = %s::regclass"
    connection.execute(f"vacuum analyze {table}")
    while not fetch_one(connection, visible, table):
        assert time.monotonic() < deadline, f"pages of {table} stay unmarked"
        connection.execute(f"vacuum analyze {table}")


def test_found_step_results_are_counted_from_the_index_alone(filled: str) -> None:
    query = (
        "select org_id, count(*) from step_results where status = 'succeeded' and result_status = 'found'"
        " and operation_id = any(%s) group by org_id order by org_id"
    )
    asked = [["company.derive.icp_job_titles"]]
    with psycopg.connect(filled, autocommit=True) as connection:
        # Vacuum marks nothing as visible to all whose commit is not on disk yet, and the tests' server does not wait.
        connection.execute("set synchronous_commit = on")
        connection.execute(
            "insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status, output_payload)"
            """ select org_id, submission_id, pipeline_run_id, n, status,
                jsonb_set(output_payload, '{cumulative_context}', to_jsonb(repeat('x', 500)))"""
            " from step_results, generate_series(2, 2000) n"
        )
        try:
            vacuum_until_visible(connection, "step_results")
            # the table of a test is too small to need an index
            connection.execute("select set_config(name, 'off', false) from unnest(%s::text[]) as name", [_OTHER_SCANS])
            plan = "\n".join(line for (line,) in connection.execute(f"explain {query}", asked).fetchall())
            assert "Index Only Scan using idx_step_results_found_org" in plan
            assert connection.execute(query, asked).fetchall() == [(UUID(org), 2000) for org in ORGS]
        finally:
            connection.execute("delete from step_results where step_position > 1")


# whose it is


def test_a_step_result_belongs_to_the_organisation_of_its_run(connection: Connection[Any]) -> None:
    submission, run, step = derive_ids(B)
    written = fetch_one(
        connection,
        "insert into step_results (org_id, submission_id, pipeline_run_id, step_position) values (%s, %s, %s, 2)"
        " returning org_id::text",
        *(A, submission, run),
    )
    assert written == B
    connection.execute("update step_results set org_id = %s where id = %s", [A, step])
    assert fetch_one(connection, "select org_id::text from step_results where id = %s", step) == B


def test_a_run_given_to_another_organisation_takes_its_research_along(connection: Connection[Any]) -> None:
    _, run, step = derive_ids(A)
    connection.execute("update pipeline_runs set org_id = %s where id = %s", [B, run])
    assert fetch_one(connection, "select org_id::text from step_results where id = %s", step) == B
    assert fetch_one(connection, "select count(*) from step_persistence where step_result_id = %s", step) == 0


# the ledger


@pytest.mark.parametrize(
    ("change", "forgotten"),
    [
        ("status = 'failed'", True),
        ("output_payload = jsonb_set(output_payload, '{operation_result,output}', '{\"price\": 1.1}')", True),
        ("output_payload = null", True),
        ("status = status, output_payload = output_payload", False),
        ("output_payload = (output_payload::text)::jsonb", False),
        ("error_message = 'late', duration_ms = 5", False),
    ],
)
def test_a_step_result_that_says_something_else_is_pending_again(
    connection: Connection[Any], change: str, forgotten: bool
) -> None:
    step = derive_ids(A)[2]
    price = "jsonb_set(output_payload, '{operation_result,output}', '{\"price\": 1.10}')"
    connection.execute(f"update step_results set output_payload = {price}")
    connection.execute(
        "insert into step_persistence (step_result_id, spec, spec_digest, org_id, outcome)"
        " select id, 's', 'd', org_id, 'rejected' from step_results"
    )
    connection.execute(f"update step_results set {change} where id = %s", [step])
    left = connection.execute("select step_result_id::text from step_persistence").fetchall()
    assert (step not in {found for (found,) in left}) is forgotten
    assert derive_ids(B)[2] in {found for (found,) in left}


def test_the_ledger_knows_five_outcomes(connection: Connection[Any]) -> None:
    defaults = fetch_one(connection, "select distinct element_count, row_count, reasons from step_persistence")
    assert defaults == (0, 0, [])
    for outcome in ("written", "unchanged", "superseded", "filtered", "rejected"):
        connection.execute("update step_persistence set outcome = %s", [outcome])
    with pytest.raises(CheckViolation):
        connection.execute("update step_persistence set outcome = 'pending'")


# tenants


@pytest.mark.parametrize("table", TENANT_TABLES)
def test_a_tenant_sees_its_own_and_nothing_else(connection: Connection[Any], table: str) -> None:
    assert fetch_one(connection, f"select count(distinct org_id) from {table}") == 2
    for org in ORGS:
        with act_as_tenant(connection, org):
            assert fetch_one(connection, f"select array_agg(distinct org_id::text) from {table}") == [org]
            assert fetch_one(connection, "select array_agg(id::text) from orgs") == [org]


@pytest.mark.parametrize("table", ["orgs", *TENANT_TABLES])
def test_without_an_organisation_there_is_nothing(connection: Connection[Any], table: str) -> None:
    connection.execute("set local role dex_tenant")
    assert fetch_one(connection, "select current_setting('app.org_id', true)") is None
    assert fetch_one(connection, f"select count(*) from {table}") == 0
    connection.execute("set local app.org_id = ''")
    assert fetch_one(connection, f"select count(*) from {table}") == 0


#: What was researched is never deleted as the tenant, not even its own.
NEVER_DELETED = ("submissions", "pipeline_runs", "step_results")


@pytest.mark.parametrize("table", TENANT_TABLES[1:])
def test_a_tenant_changes_nothing_of_another(connection: Connection[Any], table: str) -> None:
    delete = f"delete from {table} where org_id = %s"
    with act_as_tenant(connection, A):
        assert connection.execute(f"update {table} set org_id = org_id where org_id = %s", [B]).rowcount == 0
        if table not in NEVER_DELETED:
            assert connection.execute(delete, [B]).rowcount == 0
    if table in NEVER_DELETED:
        with pytest.raises(InsufficientPrivilege), act_as_tenant(connection, A):
            connection.execute(delete, [A])


@pytest.mark.parametrize("table", ["submissions", "pipeline_runs", *RESEARCH_TABLES, "step_persistence"])
def test_a_tenant_gives_nothing_to_another(connection: Connection[Any], table: str) -> None:
    with pytest.raises(InsufficientPrivilege, match="row-level security"), act_as_tenant(connection, A):
        connection.execute(f"update {table} set org_id = %s", [B])
    submission = derive_ids(A)[0]
    inserts: dict[str, tuple[str, list[Any]]] = {
        "submissions": ("(org_id) values (%s)", [B]),
        "pipeline_runs": ("(org_id, submission_id) values (%s, %s)", [B, submission]),
        "step_persistence": (
            "(step_result_id, spec, spec_digest, org_id, outcome) values (%s, 'x', 'd', %s, 'written')",
            [derive_ids(A)[2], B],
        ),
        "person_intel_briefings": ("(org_id, person_full_name, raw_parallel_output) values (%s, 'y', '1')", [B]),
    }
    text, parameters = inserts.get(table, ("(org_id, company_domain, raw_parallel_output) values (%s, 'y', '1')", [B]))
    with pytest.raises(InsufficientPrivilege, match="row-level security"), act_as_tenant(connection, A):
        connection.execute(f"insert into {table} {text}", parameters)


def test_a_tenant_cannot_add_to_a_run_of_another(connection: Connection[Any]) -> None:
    submission, run, _ = derive_ids(B)
    with pytest.raises(InsufficientPrivilege, match="row-level security"), act_as_tenant(connection, A):
        connection.execute(
            "insert into step_results (org_id, submission_id, pipeline_run_id, step_position) values (%s, %s, %s, 2)",
            [A, submission, run],
        )


@pytest.mark.parametrize("table", ["users", "api_tokens", "super_admins", "dex_migrations"])
def test_a_tenant_reads_no_credentials(connection: Connection[Any], table: str) -> None:
    with pytest.raises(InsufficientPrivilege), act_as_tenant(connection, A):
        connection.execute(f"select * from {table}")


def test_the_organisation_ends_with_its_transaction(filled: str) -> None:
    take = "select set_config('role', 'dex_tenant', true), set_config('app.org_id', %s, true)"
    with psycopg.connect(filled, autocommit=True) as connection:
        with connection.transaction():
            connection.execute(take, [A])
            assert fetch_one(connection, "select current_user") == "dex_tenant"
        assert fetch_one(connection, "select current_user, current_setting('app.org_id', true)") == ("postgres", "")


def test_every_table_is_under_row_level_security(connection: Connection[Any]) -> None:
    bare = connection.execute(
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
        " and not relrowsecurity"
    ).fetchall()
    assert bare == [("dex_migrations",)]
