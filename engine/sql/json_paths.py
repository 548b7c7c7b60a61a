"""What of a stored step result travels to the client, and what stays on the server.

In: a Plan. Out: the parts of `output_payload` its paths read, and the fields whose value never leaves the server, with
the SQL that spells their path. It must not know psycopg.

A document of any size behind a plain path (`a.b || c`) without normalizers stays: it is copied from step_results to the
target inside Postgres, so its numbers arrive as they were, and only the small values beside it travel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.jmespath.path import Steps
from engine.rows.document import STORED
from engine.rows.reading import Reading

# --- SQL ------------------------------------------------------------------------------------------------------------


def detoast(source: str, roots: Iterable[str]) -> str:
    """A subquery that reads each root of the toasted column once: every expression on it would read it anew."""
    chosen = [f"{source}.output_payload {_arrows(STORED[root])} as {root}" for root in sorted(set(roots))]
    return f"(select {', '.join(chosen) or '1'} offset 0)"


def value(steps: Steps, source: str) -> str:
    """The value at a dotted path, null where JMESPath says null."""
    root, *rest = steps
    return f"({source}.{root} #> {_array(rest)})" if rest else f"{source}.{root}"


def first_truthy(alternatives: tuple[Steps, ...], source: str) -> str:
    """`a || b || c` by JMESPath's truth, SQL null where the answer is null."""
    *earlier, last = [value(steps, source) for steps in alternatives]
    parts = [f"case when {item} not in ('null', 'false', '\"\"', '[]', '{{}}') then {item} end" for item in earlier]
    return f"coalesce({', '.join([*parts, _not_null(last)])})" if parts else _not_null(last)


def _not_null(item: str) -> str:
    return f"nullif({item}, 'null'::jsonb)"


def _arrows(steps: Steps) -> str:
    return " ".join(f"-> {_literal(step)}" for step in steps)


def _array(steps: Iterable[str]) -> str:
    return f"array[{', '.join(map(_literal, steps))}]::text[]"


def _literal(text: str) -> str:
    """A text constant. Keys of a path come from a checked spec, and still go through no door but this one."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("%", "%%")
    return f"E'{escaped}'" if "\\" in escaped else f"'{escaped}'"


def by_operation(reading: Reading, expression: Mapping[str, str], column: str) -> str:
    """`case` over the operation where the operations' expressions differ, the expression itself where they do not."""
    if len(set(expression.values())) == 1:
        return next(iter(expression.values()))
    cases = " ".join(f"when {_literal(operation)} then {text}" for operation, text in expression.items())
    return f"case {column} {cases} end"
