"""`dex` as a stranger types it: in a project of one's own, over a database of one's own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT

Dex = Callable[..., "subprocess.CompletedProcess[str]"]
BIN = Path(sys.executable).parent
ORG = "aaaaaaaa-0000-4000-8000-000000000000"
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


@pytest.fixture
def dex(tmp_path: Path, database: str) -> Dex:
    """Run `dex` in a project with the table of one spec, in which one row has a value in every column."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "quotes.yaml").write_text(SPEC)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": "/usr/bin:/bin", "DATABASE_URL": database}
        return subprocess.run([BIN / "dex", *words], cwd=tmp_path, env=env, capture_output=True, text=True)

    for words in (("draft-migration", "quotes"), ("migrate",)):
        assert (done := run(*words)).returncode == 0, done.stderr
    with psycopg.connect(database) as connection:
        connection.execute("insert into orgs (id, name, slug) values (%s, 'a', 'a')", [ORG])
        names, places = ", ".join(COLUMNS), ", ".join(["%s"] * len(ROW))
        connection.execute(f"insert into quotes (org_id, {names}) values (%s, {places})".encode(), [ORG, *ROW])
    return run


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
