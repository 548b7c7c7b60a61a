"""Build SQL expressions that evaluate dotted paths over `step_results.output_payload` with the result of JMESPath.

`engine/rows/reading.py` decides which paths Postgres evaluates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.jmespath.path import Steps
from engine.rows.document import STORED_PATHS


def build_detoast_subquery(source: str, roots: Iterable[str]) -> str:
    """Build a subquery that decompresses each root of a step result once; separate expressions would repeat it."""
    wanted = set(roots)
    wanted |= {"output"} if "context" in wanted else set()  # `build_path_value` merges it into the context
    columns = [f"{_build_root(source, *STORED_PATHS[root])} as {root}" for root in sorted(wanted)]
    return f"(select {', '.join(columns) or '1'} offset 0)"


def build_path_value(steps: Steps, source: str) -> str:
    """Build the expression for the value at a dotted path; a missing key gives SQL null, as JMESPath gives null."""
    root, *rest = steps
    value = f"({source}.{root} #> {_build_text_array(rest)})" if rest else f"{source}.{root}"
    return _build_merged_value(rest, source, value) if root == "context" else value


def _build_merged_value(keys: Steps | list[str], source: str, stored: str) -> str:
    """Build the value of the context with the step's own output merged into it, as `rows.document.merge_context` does.

    `stored` is the context as stored. A path with a key reads only the one of the two that has the key, so that only a
    path to the whole context copies both.
    """
    output = f"{source}.output"
    if keys:
        has_key = f"{output} ? {_quote_literal(keys[0])}"
        own = f"{output} #> {_build_text_array(keys)}"
        condition = f"jsonb_typeof({output}) = 'object' and {has_key}"
    else:
        own = f"case when jsonb_typeof({stored}) = 'object' then {stored} else '{{}}'::jsonb end || {output}"
        condition = f"jsonb_typeof({output}) = 'object'"
    return f"(case when {condition} then {own} else {stored} end)"


def build_first_truthy(alternatives: tuple[Steps, ...], source: str) -> str:
    """Build the expression for `a || b || c` with JMESPath's truthiness; SQL null where JMESPath gives null."""
    *earlier, last = [build_path_value(steps, source) for steps in alternatives]
    parts = [f"case when {value} not in ('null', 'false', '\"\"', '[]', '{{}}') then {value} end" for value in earlier]
    return f"coalesce({', '.join([*parts, _build_null_conversion(last)])})" if parts else _build_null_conversion(last)


def _build_null_conversion(value: str) -> str:
    return f"nullif({value}, 'null'::jsonb)"


def _build_root(source: str, column: str, *steps: str) -> str:
    return " ".join((f"{source}.{column}", *(f"-> {_quote_literal(step)}" for step in steps)))


def _build_text_array(steps: Iterable[str]) -> str:
    return f"array[{', '.join(map(_quote_literal, steps))}]::text[]"


def _quote_literal(text: str) -> str:
    """Quote a text constant. Keys of paths come from checked specs, but are escaped like any other text."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("%", "%%")
    return f"E'{escaped}'" if "\\" in escaped else f"'{escaped}'"


def build_operation_case(expressions: Mapping[str, str], column: str) -> str:
    """Build a `case` over the operation in `column`, or only the expression if all operations share it."""
    if len(set(expressions.values())) == 1:
        return next(iter(expressions.values()))
    cases = " ".join(f"when {_quote_literal(operation)} then {text}" for operation, text in expressions.items())
    return f"case {column} {cases} end"
