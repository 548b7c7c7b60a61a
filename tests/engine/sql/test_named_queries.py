"""Fixed statements are read from .sql files by name."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.runs import imports, run_list, runs
from engine.sql.named_queries import read_named_queries

FILE = """-- The file's own comment.

-- fragment: row_fields
-- What a fragment is for.
'id', r.id,
'status', r.status

-- name: read_row
-- Why the query is as it is.
select json_build_object({row_fields})
    -- A comment between lines.
from rows as r where r.id = %(id)s and r.tags = '{}'

-- name: count_rows
select count(*) from rows
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "statements_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "rows.sql").write_text(FILE)
    (folder / "broken.sql").write_text("-- name: read_row\nselect {missing}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_a_query_is_its_sql_without_comments_and_with_its_fragments(package: str) -> None:
    assert read_named_queries(package, "rows.sql") == {
        "read_row": "select json_build_object('id', r.id,\n'status', r.status)\n"
        "from rows as r where r.id = %(id)s and r.tags = '{}'",
        "count_rows": "select count(*) from rows",
    }


def test_a_fragment_that_is_missing_is_an_error(package: str) -> None:
    with pytest.raises(KeyError, match="missing"):
        read_named_queries(package, "broken.sql")


MODULES = {
    "imports": imports.QUERIES,
    "run_list": run_list.QUERIES,
    "runs": runs.RUN_QUERIES,
    "submissions": runs.SUBMISSION_QUERIES,
}


@pytest.mark.parametrize("queries", MODULES.values(), ids=MODULES)
def test_every_query_of_the_engine_is_used(queries: Mapping[str, str]) -> None:
    folder = Path(__file__).resolve().parents[3] / "engine" / "runs"
    used = set(re.findall(r'"(\w+)"', "".join(path.read_text() for path in folder.glob("*.py"))))
    assert queries.keys() <= used
