"""`dex query` page by page, and `dex export` in every format: to a file, to standard output, and cut off."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyarrow import parquet

from tests import forked_dex, world
from tests.conftest import ROOT, create_database

SPEC = "icp_job_titles"
ROWS = 250


def run_dex(dsn: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return forked_dex.run_dex(*arguments, environment={"DATABASE_URL": dsn, "COLUMNS": "200"})


@pytest.fixture(scope="module")
def database(server_dsn: str, template: str) -> Iterator[str]:
    """A database that every test here only reads."""
    with create_database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def org(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        for org in (world.insert_organisation(connection), world.insert_organisation(connection)):
            connection.execute(
                "insert into icp_job_titles (org_id, company_domain, company_name, raw_parallel_output)"
                " select %s, 'c' || number || '.example.com', case when number %% 2 = 0 then 'A \"quoted\", näme' end,"
                " jsonb_build_object('number', number, 'price', 1.10) from generate_series(1, %s) as number",
                [org, ROWS],
            )
    return org


def test_pages_by_cursor_meet_each_row_once(database: str, org: str) -> None:
    met: list[str] = []
    cursor: list[str] = []
    while True:
        ended = run_dex(
            database, "query", SPEC, "--org", org, "--order", "company_domain", "--limit", "100", "--json", *cursor
        )
        page = json.loads(ended.stdout)
        met += [row["company_domain"] for row in page["data"]]
        assert page["meta"]["more"] == (page["meta"]["next_cursor"] is not None)
        if page["meta"]["next_cursor"] is None:
            break
        cursor = ["--cursor", page["meta"]["next_cursor"]]
    assert met == sorted(f"c{number}.example.com" for number in range(1, ROWS + 1))
    wrong = run_dex(database, "query", SPEC, "--org", org, *cursor)
    assert wrong.returncode == 2 and b"does not belong to this query" in wrong.stderr


def read_rows(format_: str, content: bytes) -> list[dict[str, Any]]:
    """Return domain, name and document of each row of a file."""
    match format_:
        case "ndjson":
            rows = [json.loads(line) for line in content.splitlines()]
        case "csv":
            rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        case _:
            rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    names = ("company_domain", "company_name", "raw_parallel_output")
    found = [{name: row[name] or None for name in names} for row in rows]
    if format_ != "ndjson":
        found = [{**row, "raw_parallel_output": json.loads(row["raw_parallel_output"])} for row in found]
    return sorted(found, key=lambda row: str(row["company_domain"]))


@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet"])
def test_an_export_is_the_whole_answer(database: str, org: str, format_: str, tmp_path: Path) -> None:
    out = tmp_path / f"rows.{format_}"
    question = ("export", SPEC, "--org", org, "--format", format_)
    ended = run_dex(database, *question, "--out", str(out))
    assert ended.returncode == 0 and ended.stdout == b"", ended.stderr
    piped = run_dex(database, *question)
    assert piped.returncode == 0, piped.stderr
    expected = [
        {
            "company_domain": f"c{number}.example.com",
            "company_name": 'A "quoted", näme' if number % 2 == 0 else None,
            "raw_parallel_output": {"number": number, "price": 1.1},
        }
        for number in range(1, ROWS + 1)
    ]
    expected.sort(key=lambda row: str(row["company_domain"]))
    assert read_rows(format_, out.read_bytes()) == expected == read_rows(format_, piped.stdout)


def test_an_export_takes_the_words_of_a_query(database: str, org: str) -> None:
    filters = ("--filter", "company_domain.prefix=c1", "--order", "company_domain", "--fields", "company_domain")
    ended = run_dex(database, "export", SPEC, "--org", org, *filters)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    names = sorted(f"c{number}.example.com" for number in range(1, ROWS + 1) if str(number).startswith("1"))
    assert found == [{"company_domain": name} for name in names]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((SPEC, "--org", "x"), "not a UUID"),
        ((SPEC, "--org", "8b2f1f1e-0000-4000-8000-000000000000"), "there is no organisation"),
        ((SPEC, "--org", "ORG", "--filter", "company_domian=x"), "did you mean `company_domain`?"),
        ((SPEC, "--org", "ORG", "--format", "xml"), "ndjson"),
        (("icp_job_title", "--org", "ORG"), "did you mean `icp_job_titles`?"),
    ],
)
def test_what_cannot_be_exported_is_named(
    database: str, org: str, arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    out = tmp_path / "rows.csv"
    words = [org if word == "ORG" else word for word in arguments]
    ended = run_dex(database, "export", *words, "--out", str(out))
    assert ended.returncode == 2 and ended.stdout == b""
    assert sentence in ended.stderr.decode() and not out.exists(), ended.stderr


def test_a_folder_is_no_file_to_export_to(database: str, org: str, tmp_path: Path) -> None:
    ended = run_dex(database, "export", SPEC, "--org", org, "--out", str(tmp_path))
    assert ended.returncode == 2 and f"--out: `{tmp_path}` is a folder" in ended.stderr.decode()


def test_a_file_that_cannot_be_written_is_named(database: str, org: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words in (
        ("export", SPEC, "--org", org, "--out", str(tmp_path / "no folder" / "rows.csv")),
        ("export-steps", "--to", str(tmp_path / "file")),
    ):
        ended = run_dex(database, *words)
        assert ended.returncode == 2 and b"no folder" in ended.stderr and b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("script", "status", "sentence"),
    [
        ("dex export icp_job_titles --org $ORG > /dev/full", 1, "cannot write the output: no space left on device"),
        ("ulimit -f 4; dex export icp_job_titles --org $ORG --out rows.ndjson", 1, "the output: file too large"),
        ("dex query icp_job_titles --org $ORG --json >&-", 0, ""),
        (
            "PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 LC_ALL=C dex query icp_job_titles --org $ORG --limit 250",
            0,
            "250 row(s)",
        ),
    ],
)
def test_an_output_that_takes_nothing_is_named(
    database: str, org: str, script: str, status: int, sentence: str, tmp_path: Path
) -> None:
    """Through the program itself, as a shell starts it: its streams are what this is about."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "ORG": org, "DATABASE_URL": database, "PYTHONDONTWRITEBYTECODE": "1"}
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    words = ["bash", "-c", script]
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert ended.returncode == status, ended.stderr
    assert sentence in ended.stderr and "Traceback" not in ended.stderr and "rollback" not in ended.stderr
    assert not list(tmp_path.glob("rows.ndjson*")), "half a file"
