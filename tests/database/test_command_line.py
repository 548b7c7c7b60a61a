"""`dex` as a stranger types it: in a project of one's own, over a database of one's own."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT, create_database
from tests.forked_dex import run_dex_text

Dex = Callable[..., "subprocess.CompletedProcess[str]"]
ORG = "aaaaaaaa-0000-4000-8000-000000000000"
SUBMIT = ("submit", "--step", "market.find.quotes")
TYPES = ("text", "integer", "bigint", "numeric", "boolean", "date", "timestamptz", "uuid")
ROW = ("12", 7, 9007199254740993, "1.10", True, "2026-01-02", "2026-01-02T03:04:05Z", ORG)
COLUMNS = [f"a_{kind}" for kind in TYPES]
SPEC = """\
spec: 1
name: quotes
title: Quotes
description: One row per quote.
operations: [market.find.quotes]
table: quotes
row_name: quote
conflict: [org_id, a_text]
fields:
""" + "".join(f'  a_{kind}: {{type: {kind}, path: "output.a_{kind}", filter: true}}\n' for kind in TYPES)


@pytest.fixture(scope="module")
def dex(tmp_path_factory: pytest.TempPathFactory, server_dsn: str, template: str) -> Iterator[Dex]:
    """Run `dex` in a project with the table of one spec, in which one row has a value in every column."""
    project = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "pyproject.toml", project)
    shutil.copytree(ROOT / "migrations", project / "migrations")
    (project / "specs").mkdir()
    (project / "specs" / "quotes.yaml").write_text(SPEC)
    with create_database(server_dsn, template) as database:
        run = runner(project, database)
        for words in (("draft-migration", "quotes"), ("migrate",)):
            assert (done := run(*words)).returncode == 0, done.stderr
        with psycopg.connect(database) as connection:
            connection.execute("insert into orgs (id, name, slug) values (%s, 'a', 'a')", [ORG])
            names, places = ", ".join(COLUMNS), ", ".join(["%s"] * len(ROW))
            connection.execute(f"insert into quotes (org_id, {names}) values (%s, {places})".encode(), [ORG, *ROW])
        yield run


def runner(project: Path, database: str) -> Dex:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": "/usr/bin:/bin", "DATABASE_URL": database}
        return run_dex_text(*words, environment=env, folder=project)

    return run


def test_a_project_without_migrations_begins_with_those_of_the_installation(
    tmp_path: Path, empty_database: str
) -> None:
    """As after `dex init`, once the example and its migration are deleted."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("specs", "migrations"):
        (tmp_path / name).mkdir()
    (tmp_path / "specs" / "quotes.yaml").write_text(SPEC)
    run = runner(tmp_path, empty_database)
    drafted = run("draft-migration", "quotes")
    assert drafted.stdout == "wrote migrations/1001_quotes.sql\n", drafted.stderr
    applied = run("migrate").stdout.split()[1::2]
    assert (applied[0], applied[-1]) == ("001_tenancy.sql", "1001_quotes.sql")
    (tmp_path / "migrations" / "1001_quotes.sql").write_text("select 1;")
    status = run("migrate", "--status")
    assert status.returncode == 1 and status.stdout.split()[-3:] == ["applied", "1001_quotes.sql", "changed"]


def test_a_migration_of_ones_own_in_a_checkout_leaves_the_numbers_to_the_engine(
    tmp_path: Path, empty_database: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "quotes.yaml").write_text(SPEC)
    run = runner(tmp_path, empty_database)
    assert run("draft-migration", "quotes").stdout == "wrote migrations/1001_quotes.sql\n"
    assert run("migrate").returncode == 0
    numbers = [int(file.name[:3]) for file in (ROOT / "migrations").glob("*.sql")]
    upgrade = f"{max(numbers) + 1:03}_of_the_next_release.sql"
    (tmp_path / "migrations" / upgrade).write_text("select 1;")
    upgraded = run("migrate")
    assert upgraded.stdout == f"applied {upgrade}\n", upgraded.stderr


def test_a_migration_of_ones_own_whose_number_the_engine_has_taken_gets_another(
    tmp_path: Path, empty_database: str
) -> None:
    """As docs/howto/operate.md says: earlier versions drafted it with the next number of the engine."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    migrations = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", migrations)
    (tmp_path / "specs").mkdir()
    number = max(int(file.name[:3]) for file in migrations.glob("*.sql")) + 1
    own, engine = f"{number:03}_own.sql", f"{number:03}_engine.sql"
    (migrations / own).write_text("select 1;")
    run = runner(tmp_path, empty_database)
    assert run("migrate").returncode == 0
    (migrations / engine).write_text("select 2;")
    for renamed in (own, "1001_own.sql"):
        (migrations / own).rename(migrations / renamed)
        refused = run("migrate")
        assert refused.returncode == 1 and "docs/howto/operate.md" in refused.stderr, refused.stderr
    with psycopg.connect(empty_database) as connection:
        change = "update dex_migrations set number = 1001, name = '1001_own.sql' where number = %s"
        connection.execute(change, [number])
    assert run("migrate").stdout == f"applied {engine}\n"


@pytest.mark.parametrize(
    ("present", "changed"),
    [
        ("conflict: [org_id, a_text]", "conflict: [org_id, a_text, a_date]"),
        ('{type: integer, path: "output.a_integer", filter: true}', '{type: jsonb, path: "output.a_integer"}'),
    ],
)
def test_a_table_that_does_not_fit_is_told_what_names_and_mends_it(
    tmp_path: Path, database: str, present: str, changed: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "quotes.yaml").write_text(SPEC)
    (tmp_path / "quote.json").write_text('{"a_text": "a", "a_integer": 1}')
    run = runner(tmp_path, database)
    assert run("draft-migration", "quotes").returncode == run("migrate").returncode == 0
    org_id = run("org", "create", "a").stdout.strip()
    (tmp_path / "specs" / "quotes.yaml").write_text(SPEC.replace(present, changed))
    refused = run("import", "quotes", "quote.json", "--org", org_id)
    assert refused.returncode == 1 and "hint: `dex check --database` names where" in refused.stderr, refused.stderr
    assert "are stored, as submission" in refused.stderr and "`dex backfill quotes` writes their rows" in refused.stderr
    assert "TABLE50" in run("check", "--database").stdout
    assert run("rebuild", "quotes", "--yes").returncode == 0
    assert json.loads(run("query", "quotes", "--json").stdout)["data"][0]["a_integer"] == 1


def test_a_database_that_is_not_migrated_is_told_so(tmp_path: Path, new_server: str) -> None:
    """Also where the server has no role of tenants yet, and without the notes of the driver."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("specs", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "answer.json").write_text("{}")
    run = runner(tmp_path, new_server)
    for words in (
        ("query", "icp_job_titles"),
        ("verify", "icp_job_titles"),
        ("orders",),
        ("erase", "--org", ORG, "--company", "acme.com", "--yes"),
        ("import", "icp_job_titles", "answer.json", "--org", ORG),
        ("submit", "--org", ORG, "--step", "company.derive.icp_job_titles", "--input", "{}"),
    ):
        done = run(*words)
        told = [line for line in done.stderr.splitlines() if not line.startswith("1 run(s)")]
        assert done.returncode == 1 and len(told) == 2, done.stderr
        assert told[0].startswith("dex: the database refuses: ") and told[1].startswith("    hint: run `dex migrate`;")
    checked = run("check", "--database")
    (pending,) = [line for line in checked.stdout.splitlines() if "TABLE514" in line]
    assert pending.startswith("migrations: TABLE514 ") and "are pending, from `001_tenancy.sql` to " in pending
    assert checked.returncode == 1


def asked(dex: Dex, *filters: str) -> int:
    """How many rows a query by these filters gives."""
    done = dex("query", "quotes", "--json", *(word for text in filters for word in ("--filter", text)))
    assert done.returncode == 0, done.stderr
    return len(json.loads(done.stdout)["data"])


def test_a_filter_is_typed_as_its_column_is(dex: Dex) -> None:
    values = ["true" if value is True else value for value in ROW]
    words = [f"{name}={value}" for name, value in zip(COLUMNS, values, strict=True)]
    assert [asked(dex, word) for word in words] == [1] * len(words)
    assert asked(dex, *words) == 1
    assert asked(dex, "a_integer=8", "a_integer=7") == 1
    assert [asked(dex, word) for word in ("a_text=7", "a_integer=8", "a_bigint=9007199254740992")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query", "quotes", "--filter", "a_integer=seven"], "`a_integer`: expected a whole number, found a string"),
        (["query", "quotes", "--filter", "a_integer=null"], "`a_integer`: expected a whole number, found a string"),
        (["query", "quotes", "--filter", "a_boolean=1"], "`a_boolean`: expected true or false, found a string"),
        (["query", "quotes", "--filter", "a_text="], "`a_text` is blank"),
        (["query", "quotes", "--fields", "b_text"], "unknown column `b_text`"),
        (["query", "quotes", "--filter", "b_text=1"], "`b_text` is not a filter of this spec"),
        (["query", "quote"], "unknown spec `quote`"),
        (
            [*SUBMIT, "--org", ORG, "--input", "{}"],
            "no spec says how `market.find.quotes` is executed; operations with",
        ),
        ([*SUBMIT, "--org", ORG, "--input", '{"a": "\\u0000"}'], "a NUL character"),
        ([*SUBMIT, "--org", ORG, "--input", '{"a": "\\ud800"}'], "a lone surrogate"),
        ([*SUBMIT, "--org", ORG], "name either `--input`, once or more, or `--inputs FILE`"),
        (["migrate", "--baseline", "0"], "no migration has the number of the baseline, 0;"),
        (["migrate", "--baseline", "999"], "no migration has the number of the baseline, 999;"),
    ],
)
def test_what_cannot_be_asked_is_wrong_usage(dex: Dex, words: list[str], said: str) -> None:
    done = dex(*words, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_worker_of_no_organisation_is_not_one_of_all(dex: Dex) -> None:
    """`--org "$ORG"` where nobody has set it."""
    done = dex("worker", "--until-idle", "--org", "")
    assert (done.returncode, "--org: `` is not a UUID" in done.stderr) == (2, True), done.stderr


def test_an_address_in_use_is_named_once(dex: Dex) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = dex("serve", "--dev", "--port", str(port))
    assert refused.returncode == 1
    assert f"dex: cannot listen on 127.0.0.1:{port}: Address already in use\n" in refused.stderr


def test_a_draft_needs_no_sample(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "specs").mkdir()
    dex = runner(tmp_path, "")
    done = dex("new", "company.derive.customers")
    assert done.returncode == 0, done.stderr
    spec, extraction, sample = (tmp_path / line.removeprefix("wrote ") for line in done.stdout.splitlines())
    assert "# unsure: there was no sample" in spec.read_text()
    assert dex("check").returncode == 0
    extracted = dex("extract", "company_customers", str(sample), "--json")
    assert json.loads(extracted.stdout) == json.loads(extraction.read_text())
    assert [row["company_domain"] for row in json.loads(extracted.stdout)["rows"]] == ["example.com"]
    assert "key: company_domain" in done.stderr and "research_evidence" not in done.stderr


def test_a_draft_says_how_its_citations_become_rows(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "research_evidence.yaml", tmp_path / "specs")
    done = runner(tmp_path, "")("new", "company.derive.board_members", "--columns", "linkedin:text,full_name:text")
    assert done.returncode == 0 and "key: company_domain, full_name" in done.stderr, done.stderr
    assert "name `company.derive.board_members` under `operations` of specs/research_evidence.yaml" in done.stderr
