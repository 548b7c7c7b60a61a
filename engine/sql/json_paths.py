"""Build SQL expressions that evaluate dotted paths over `step_results.output_payload` with the result of JMESPath.

They read the subquery `document`, which `build_detoast_subquery` builds from a step result with the alias `source`.
`engine/rows/fetch_plan.py` decides which paths Postgres evaluates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.jmespath.path import Steps
from engine.rows.document import STORED_PATHS


def build_detoast_subquery(roots: Iterable[str]) -> str:
    """Build a subquery that decompresses each root of the step result `source` once; else each expression would."""
    wanted = set(roots)
    wanted |= {"output"} if "context" in wanted else set()  # `build_path_value` merges it into the context
    columns = [f"{_build_root(*STORED_PATHS[root])} as {root}" for root in sorted(wanted)]
    return f"(select {', '.join(columns) or '1'} offset 0)"


def build_path_value(steps: Steps) -> str:
    """Build the expression for the value at a dotted path; a missing key gives SQL null, as JMESPath gives null."""
    root, *rest = steps
    value = f"(document.{root} #> {_build_text_array(rest)})" if rest else f"document.{root}"
    return _build_merged_value(rest, value) if root == "context" else value


def _build_merged_value(keys: Steps | list[str], stored: str) -> str:
    """Build the value of the context with the step's own output merged into it, as `rows.document.merge_context` does.

    `stored` is the context as stored. A path with a key reads only the one of the two that has the key, so that only a
    path to the whole context copies both.
    """
    if keys:
        has_key = f"document.output ? {_quote_literal(keys[0])}"
        own = f"document.output #> {_build_text_array(keys)}"
        condition = f"jsonb_typeof(document.output) = 'object' and {has_key}"
    else:
        own = f"case when jsonb_typeof({stored}) = 'object' then {stored} else '{{}}'::jsonb end || document.output"
        condition = "jsonb_typeof(document.output) = 'object'"
    return f"(case when {condition} then {own} else {stored} end)"


def build_first_truthy(alternatives: tuple[Steps, ...]) -> str:
    """Build the expression for `a || b || c` with JMESPath's truthiness; SQL null where JMESPath gives null."""
    *earlier, last = map(build_path_value, alternatives)
    parts = [f"case when {value} not in ('null', 'false', '\"\"', '[]', '{{}}') then {value} end" for value in earlier]
    return f"coalesce({', '.join([*parts, _build_null_conversion(last)])})" if parts else _build_null_conversion(last)


def _build_null_conversion(value: str) -> str:
    return f"nullif({value}, 'null'::jsonb)"


def _build_root(column: str, *steps: str) -> str:
    return " ".join((f"source.{column}", *(f"-> {_quote_literal(step)}" for step in steps)))


def _build_text_array(steps: Iterable[str]) -> str:
    return f"array[{', '.join(map(_quote_literal, steps))}]::text[]"


def _quote_literal(text: str) -> str:
    """Quote a text constant. Keys of paths come from checked specs, but are escaped like any other text."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("%", "%%")
    return f"E'{escaped}'" if "\\" in escaped else f"'{escaped}'"


def build_operation_case(expressions: Mapping[str, str]) -> str:
    """Build a `case` over the operation of `source`, or only the expression if all operations share it."""
    if len(set(expressions.values())) == 1:
        return next(iter(expressions.values()))
    cases = " ".join(f"when {_quote_literal(operation)} then {text}" for operation, text in expressions.items())
    return f"case source.operation_id {cases} end"
