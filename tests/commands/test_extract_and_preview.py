"""`dex extract`, `dex generate` and `dex backfill --preview`, run as a person runs them."""

import json
import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import ROOT
from tests.forked_dex import run_dex_text
from tests.world import build_payload, insert_organisation, insert_run, insert_step, insert_submission

SPEC = """
spec: 1
name: offices
title: Offices
operations: [company.derive.offices]
table: offices
row_name: office
conflict: [org_id, company, city]
rows: output.offices
fields:
  company: {type: text, path: output.company, normalize: [trim, lower], required: true}
  city: {type: text, path: item.city, required: true}
  people: {type: integer, path: item.people}
  facts: {type: jsonb, path: "item.facts"}
"""
OUTPUT = {
    "company": " ACME ",
    "offices": [
        {"city": "Oslo", "people": 5, "facts": {"note": ":key: [red]old[/red]", "more": "x" * 100}},
        {"city": "Rome", "people": "1,200"},
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "offices.yaml").write_text(SPEC)
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    (tmp_path / "output.json").write_text(json.dumps(OUTPUT))
    return tmp_path


def run_dex(project: Path, command: str, dsn: str = "", status: int = 0) -> str:
    env = {"DATABASE_URL": dsn} if dsn else {}
    done = run_dex_text(*command.split(), environment=env, folder=project)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_explain_follows_every_element(project: Path) -> None:
    traces = json.loads(run_dex(project, "extract offices output.json --explain --json"))["explain"]
    assert [(item["element"], item["field"]) for item in traces] == [
        (element, field) for element in (0, 1) for field in ("company", "city", "people", "facts")
    ]
    company, people = traces[0], traces[6]
    assert (company["path"], company["raw"], company["result"]) == ("output.company", " ACME ", "acme")
    assert company["steps"] == [{"normalizer": "trim", "gives": "ACME"}, {"normalizer": "lower", "gives": "acme"}]
    assert (people["raw"], people["reason"]["code"]) == ("1,200", "wrong_type")
    text = run_dex(project, "extract offices output.json --explain")
    assert 'people of element 1  <- item.people\n    raw        "1,200"\n    rejected   ' in text


def test_what_is_stored_is_shown_as_json(project: Path) -> None:
    more = '  tags: {type: "text[]", path: item.tags}\n  open: {type: boolean, path: item.open}\n'
    (project / "specs" / "offices.yaml").write_text(SPEC + more)
    office = {**OUTPUT["offices"][0], "tags": ["hq"], "open": False}
    (project / "output.json").write_text(json.dumps({"company": "ACME", "offices": [office]}))
    text = run_dex(project, "extract offices output.json --explain")
    stored = [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("    stored ")]
    assert [*stored[:3], *stored[4:]] == ['"acme"', '"Oslo"', "5", '["hq"]', "false"], "not as Python spells it"
    assert len(stored[3]) == 80 and stored[3].startswith('{"') and stored[3].endswith("…")


@pytest.mark.parametrize("text", ["1.10", "123456789012345678901234567890", r'"a\ud800b"', r'"a\u0000"'])
def test_a_value_is_explained_as_it_was_read(project: Path, text: str) -> None:
    output = f'{{"company": "a", "offices": [{{"city": "Oslo", "facts": {{"value": {text}}}}}]}}'
    (project / "output.json").write_text(output)
    is_stored = text[0] != '"'
    explained = run_dex(project, "extract offices output.json --explain --json", status=0 if is_stored else 1)
    assert f'"raw":{{"value":{text}}}' in explained.replace(": {", ":{")
    assert json.loads(explained)["outcome"] == ("row" if is_stored else "rejected")


def test_a_value_is_printed_as_it_stands(project: Path) -> None:
    assert '"note":":key: [red]old[/red]"' in run_dex(project, "extract offices output.json")


def test_a_preview_shows_what_would_change_and_changes_nothing(project: Path, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        insert_research(connection)
        for command in ("draft-migration offices", "migrate"):
            run_dex(project, command, database)
        text = run_dex(project, "backfill offices --preview", database)
        assert "1 found would be 1 written" in text and "2 elements would be 1 rows" in text
        assert "    company acme, city Oslo: would be added: people 5, facts {" in text
        run_dex(project, "backfill offices", database, status=1)  # Rome is refused
        assert json.loads(run_dex(project, "coverage --explain refused --json", database))[0]["outcome"] == "written"
        stored = connection.execute("select * from offices").fetchall()
        changed = SPEC.replace("item.facts", "item.facts.{note: note}")
        (project / "specs" / "offices.yaml").write_text(changed.replace("path: item.people", "path: '`7`'"))
        preview = json.loads(run_dex(project, "backfill offices --preview --json", database))["preview"]
        assert (preview["new_rows"], preview["changed_rows"]) == (1, 1)  # Rome is no longer refused
        assert sorted((cell["column"], cell["count"]) for cell in preview["cells"]) == [("facts", 1), ("people", 1)]
        samples = {sample["column"]: sample for sample in preview["samples"]}
        assert samples["people"] == {"key": {"company": "acme", "city": "Oslo"}, "column": "people", "from": 5, "to": 7}
        assert samples["facts"]["from"].startswith('{"more": "xxx') and "… #" in samples["facts"]["from"]
        assert samples["facts"]["to"] == '{"note": ":key: [red]old[/red]"}'
        assert preview["added"] == [{"key": {"company": "acme", "city": "Rome"}, "cells": {"people": 7}}]
        text = run_dex(project, "backfill offices --preview", database)
        assert "company acme, city Oslo: people: 5 -> 7" in text
        assert connection.execute("select * from offices").fetchall() == stored


def insert_research(connection: psycopg.Connection[Any]) -> None:
    """Insert what a run of the operation leaves behind."""
    org_id = insert_organisation(connection)
    run_id = insert_run(connection, org_id, insert_submission(connection, org_id))
    insert_step(connection, run_id, payload=build_payload("company.derive.offices", OUTPUT, context=OUTPUT))


def test_a_missing_column_says_how_it_gets_there(project: Path, database: str) -> None:
    for command in ("draft-migration offices", "migrate"):
        run_dex(project, command, database)
    (project / "specs" / "offices.yaml").write_text(f"{SPEC}  floors: {{type: integer, path: item.floors}}\n")
    with psycopg.connect(database, autocommit=True) as connection:
        insert_research(connection)
    environment = {"DATABASE_URL": database}
    done = run_dex_text("backfill", "offices", "--preview", environment=environment, folder=project)
    assert done.returncode != 0 and "floors" in done.stderr, done.stderr
    assert done.stderr.index("run `dex migrate`") < done.stderr.index("`dex draft-migration SPEC`"), done.stderr
