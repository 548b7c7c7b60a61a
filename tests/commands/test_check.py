"""`dex check` over specs and their samples, `dex test` and `dex accept`, and fill rates, run as a person runs them."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.commands.test_extract_and_preview import OUTPUT, SPEC, insert_research
from tests.conftest import ROOT
from tests.forked_dex import run_dex_text

CASE = "tests/cases/good/offices"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "offices.yaml").write_text(SPEC)
    return tmp_path


def keep_sample(project: Path) -> None:
    (project / CASE).mkdir(parents=True, exist_ok=True)
    (project / CASE / "step_output.json").write_text(json.dumps(OUTPUT))


def run_process(project: Path, command: str, status: int, dsn: str) -> subprocess.CompletedProcess[str]:
    env = {"DATABASE_URL": dsn} if dsn else {}
    done = run_dex_text(*command.split(), environment=env, folder=project)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def run_dex(project: Path, command: str, status: int = 0, dsn: str = "") -> str:
    done = run_process(project, command, status, dsn)
    return done.stdout + done.stderr


def run_json(project: Path, command: str, status: int = 0, dsn: str = "") -> Any:
    return json.loads(run_process(project, f"{command} --json", status, dsn).stdout)


def test_a_spec_with_rows_and_no_sample_is_a_warning(project: Path) -> None:
    report = run_json(project, "check")
    assert (report["diagnostics"], [each["code"] for each in report["warnings"]]) == ([], ["SPEC702"])
    assert [each["code"] for each in run_json(project, "check --strict", 1)["diagnostics"]] == ["SPEC702"]
    assert "1 spec(s): nothing wrong, 1 warning(s)" in run_dex(project, "check")
    assert "specs/offices.yaml: nothing wrong, 1 warning(s)" in run_dex(project, "check specs/offices.yaml")


def test_a_difference_has_no_long_lines(project: Path) -> None:
    keep_sample(project)
    (project / CASE / "extraction.json").write_text("x" * 5000)
    lines = run_dex(project, "test", 1).splitlines()
    assert max(map(len, lines)) == 201 and any(line.endswith("x…") for line in lines)


def test_check_says_how_many_samples_gave_a_value(project: Path) -> None:
    keep_sample(project)
    (report,) = run_json(project, "check --strict")["samples"]
    assert (report["spec"], report["samples"], report["rows"], report["refused"]) == ("offices", 1, 1, 1)
    columns = {each["column"]: (each["values"], each["rows"], each["refused"]) for each in report["columns"]}
    assert columns == {"company": (1, 1, 0), "city": (1, 1, 0), "people": (1, 1, 1), "facts": (1, 1, 0)}


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("item.facts", "item.fact", "14:"),
        ("item.city", "item.town", "12:"),
        ("output.offices", "output.places", "9:"),
    ],
)
def test_a_path_that_never_matches_is_seen(project: Path, right: str, wrong: str, place: str) -> None:
    keep_sample(project)
    (project / "specs" / "offices.yaml").write_text(SPEC.replace(right, wrong))
    assert f"specs/offices.yaml:{place}" in run_dex(project, "check")
    assert {each["code"] for each in run_json(project, "check --strict", 1)["diagnostics"]} == {"SPEC701"}


def test_check_of_files_says_what_is_about_them(project: Path) -> None:
    other = SPEC.replace("offices", "shops").replace("office", "shop").replace("type: integer", "type: number")
    (project / "specs" / "shops.yaml").write_text(other)
    keep_sample(project)
    report = run_json(project, "check specs/offices.yaml")
    assert (report["diagnostics"], [each["spec"] for each in report["samples"]]) == ([], ["offices"])
    assert [each["code"] for each in run_json(project, "check specs/shops.yaml", 1)["diagnostics"]] == ["SPEC301"]
    (project / "elsewhere.yaml").write_text(SPEC.replace("org_id, ", ""))
    found = run_json(project, "check elsewhere.yaml", 1)["diagnostics"]
    assert {(each["file"], each["code"]) for each in found} == {
        ("elsewhere.yaml", "SPEC205"),
        ("elsewhere.yaml", "SPEC303"),
    }
    assert "there is no file `missing.yaml`" in run_dex(project, "check missing.yaml", 2)


def test_accept_writes_what_test_compares(project: Path) -> None:
    keep_sample(project)
    assert "extraction.json" in run_dex(project, "test", 1)
    assert run_json(project, "accept offices") == {"written": [f"{CASE}/extraction.json"], "failures": []}
    assert run_json(project, "test offices") == {"cases": 1, "failures": []}
    (project / "specs" / "offices.yaml").write_text(SPEC.replace("normalize: [trim, lower]", "normalize: [trim]"))
    (failure,) = run_json(project, "test", 1)["failures"]
    assert failure["file"] == f"{CASE}/extraction.json"
    assert '-      "company": "acme",\n+      "company": "ACME",' in failure["difference"]
    run_dex(project, "accept")
    run_dex(project, "test")


def test_a_spec_without_a_case_cannot_be_tested(project: Path) -> None:
    assert f"there is no case in `{CASE}`" in run_dex(project, "test offices", 1)
    assert "unknown spec `office`" in run_dex(project, "accept office", 2)


def test_fill_rates_come_from_history_and_not_from_the_table(project: Path, database: str) -> None:
    shutil.copytree(ROOT / "migrations", project / "migrations")
    with psycopg.connect(database, autocommit=True) as connection:
        insert_research(connection)
        for command in ("draft-migration offices", "migrate"):
            run_dex(project, command, dsn=database)
        run_dex(project, "backfill offices", 1, database)  # one element is refused
        (project / "specs" / "offices.yaml").write_text(SPEC.replace("item.facts", "item.fact"))
        (report,) = run_json(project, "coverage --columns", dsn=database)
        assert (report["spec"], report["step_results"], report["rows"], report["refused"]) == ("offices", 1, 1, 1)
        columns = {each["column"]: each["values"] for each in report["columns"]}
        assert columns == {"company": 1, "city": 1, "people": 1, "facts": 0}
        assert connection.execute("select count(facts) from offices").fetchone() == (1,)
        preview = run_json(project, "backfill offices --preview", dsn=database)["preview"]
        assert preview["columns"] == report["columns"]
        assert "  facts: 0 of 1\n" in run_dex(project, "backfill offices --preview", dsn=database)
        assert "people: 1 of 1, 1 refused for it" in run_dex(project, "coverage --columns", dsn=database)
        assert "--columns goes with" in run_dex(project, "coverage --columns --strict", 2, database)


def test_what_a_removed_spec_had_generated_is_removed(project: Path) -> None:
    assert "wrote docs/reference/offices.md" in run_dex(project, "generate")
    (project / "specs" / "offices.yaml").unlink()
    lines = run_dex(project, "generate").splitlines()
    assert "removed docs/reference/offices.md" in lines and "wrote docs/reference/README.md" in lines
    assert not (project / "docs/reference/offices.md").exists()


def test_a_mistake_in_a_spec_is_found_before_a_migration_is_applied(project: Path, empty_database: str) -> None:
    shutil.copytree(ROOT / "migrations", project / "migrations")
    (project / "specs" / "offices.yaml").write_text(SPEC.replace("conflict: [org_id, company, city]", "conflict: []"))
    assert "SPEC" in run_dex(project, "migrate", 1, empty_database)
    states = run_json(project, "migrate --status", dsn=empty_database)["migrations"]
    assert {each["state"] for each in states} == {"pending"}
