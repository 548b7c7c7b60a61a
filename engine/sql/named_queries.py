"""Load fixed SQL statements from the `.sql` files of a package.

A statement without variable parts is easier to read in a SQL file than in a Python string: editors colour and check it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_HEADING = re.compile(r"^-- (name|fragment): (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *--.*\n?", re.MULTILINE)
_INCLUDE = re.compile(r"\{(\w+)\}")


def read_named_queries(package: str, file: str) -> Mapping[str, str]:
    """Return the SQL text of each query of `file` by name, without its comments.

    A query starts at a line `-- name: claim_run`. A line `-- fragment: run_fields` starts a piece of SQL that several
    queries include by writing `{run_fields}`. Raises KeyError when a query includes a fragment that the file lacks.
    """
    queries: dict[str, str] = {}
    fragments: dict[str, str] = {}
    _, *parts = _HEADING.split(files(package).joinpath(file).read_text(encoding="utf-8"))
    for kind, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        target = queries if kind == "name" else fragments
        target[name] = _COMMENT.sub("", text).strip()
    return {name: _include_fragments(text, fragments) for name, text in queries.items()}


def _include_fragments(text: str, fragments: Mapping[str, str]) -> str:
    return _INCLUDE.sub(lambda include: fragments[include[1]], text)
