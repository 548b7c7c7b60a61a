"""Load fixed SQL statements by name from the `.sql` files of a package.

A statement without variable parts is easier to read in a SQL file than in a Python string: editors colour and check
it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_HEADING = re.compile(r"^-- (name|fragment): (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *--.*\n?", re.MULTILINE)
_INCLUDE = re.compile(r"\{(\w+)\}")


def read_named_queries(package: str, file: str, *, shared: tuple[str, str] | None = None) -> Mapping[str, str]:
    """Return the SQL text of each query of `file` by name, without its comments.

    A query starts at a line `-- name: claim_run`. A line `-- fragment: run_fields` starts a piece of SQL that queries
    and later fragments include by writing `{run_fields}`; `shared` (package, file) names another file whose fragments
    may be included as well. Raises KeyError for an unknown fragment.
    """
    fragments = _read_parts(*shared, {})[1] if shared else {}
    return _read_parts(package, file, fragments)[0]


def _read_parts(package: str, file: str, fragments: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the queries and the fragments of a file by name; `fragments` are those of other files."""
    queries: dict[str, str] = {}
    known = dict(fragments)
    _, *parts = _HEADING.split(files(package).joinpath(file).read_text(encoding="utf-8"))
    for kind, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        sql = _COMMENT.sub("", text).strip()
        if kind == "fragment":
            known[name] = _include_fragments(sql, known)
        else:
            queries[name] = sql
    return {name: _include_fragments(text, known) for name, text in queries.items()}, known


def _include_fragments(text: str, fragments: Mapping[str, str]) -> str:
    return _INCLUDE.sub(lambda include: fragments[include[1]], text)
