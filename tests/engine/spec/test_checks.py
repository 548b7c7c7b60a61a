"""Laws of the checks: they never raise, they point into the file, and what they pass can be compiled and spelled."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine import plan
from engine.generate import python, typescript
from engine.generate.docs import spec_pages
from engine.rows.fetch_plan import FetchPlan
from engine.spec import yaml_source
from engine.spec.checks import check_sources
from engine.spec.models import CORE_TABLES
from engine.sql import lineage, merge, step_results, upsert
from engine.tables.engine_rights import CORE_RIGHTS
from tests.conftest import count_examples

GOOD = {
    "spec": 1,
    "name": "quotes",
    "title": "Quotes",
    "operations": {
        "finance.fetch.quotes": {"rows": "output.quotes", "when": "output.ok"},
        "finance.fetch.prices": {"fields": {"symbol": {"path": "item.code"}, "price": {"path": "output.price"}}},
    },
    "table": "quotes",
    "row_name": "quote",
    "conflict": ["org_id", "venue", "symbol"],
    "rows": "output.results",
    "on_absent": "delete",
    "fields": {
        "venue": {"type": "text", "path": "output.venue", "filter": True},
        "symbol": {"type": "text", "path": "item.symbol || 'none'", "normalize": ["trim"], "required": True},
        "price": {"type": "numeric", "path": "item.price", "on_missing": "clear"},
        "body": {"type": "jsonb", "path": "item", "description": "As it came."},
    },
    "indexes": [["org_id", "venue"]],
    "backfill": [
        {"org_id": "b0293785-aa7a-4234-8201-cc47305295f8", "submissions": ["b8001673-d0a4-4c4f-824a-9904964d8400"]}
    ],
}
WORDS = (
    "output.a || context.b",
    "item.x",
    "output.",
    "lenght(output)",
    "!output.a.b",
    "`x`",
    "",
    " ",
    "org_id",
    "symbol",
    "id",
    "text",
    "text[]",
    "jsonb",
    "integer",
    "trim",
    "number",
    "list",
    "keep",
    "clear",
    "delete",
    "quotes",
    "a-b",
    "A",
    "\n",
    "output\n",
    "é",
    "🚀",
    "'",
    '"',
    "@",
    "*",
    "run.org_id",
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS) | st.sampled_from(["path", "type", "fields", "rows", "when"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def places(value: Any, place: Any = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*place, key))


PLACES = [place for place in places(GOOD) if place]
LAW = settings(deadline=None, max_examples=count_examples(150, 4000), suppress_health_check=[HealthCheck.too_slow])


def changed(changes: Any) -> dict[str, Any]:
    """The good spec with some of its places overwritten, renamed or removed."""
    data: dict[str, Any] = copy.deepcopy(GOOD)
    for place, value, how in changes:
        holder: Any = data
        for step in place[:-1]:
            holder = holder[step] if isinstance(holder, dict) and step in holder else {}
        if not isinstance(holder, dict) or place[-1] not in holder:
            continue
        if how == "remove":
            del holder[place[-1]]
        elif how == "rename":
            holder[str(value)] = holder.pop(place[-1])
        else:
            holder[place[-1]] = value
    return data


CHANGES = st.lists(
    st.tuples(st.sampled_from(PLACES), values, st.sampled_from(["set", "set", "rename", "remove"])), max_size=3
)


def test_the_good_one_is_good() -> None:
    assert not check_sources([yaml_source.parse_source(json.dumps(GOOD), "specs/quotes.yaml")]).diagnostics


@pytest.mark.law
@LAW
@given(CHANGES)
@example([(("fields", "price", "path"), None, "set")])
@example([(("operations",), [], "set")])
def test_what_the_checks_pass_compiles_and_can_be_spelled(changes: Any) -> None:
    text = json.dumps(changed(changes), ensure_ascii=False).replace("\x7f", "")
    read = yaml_source.parse_source(text, "specs/quotes.yaml")
    found = check_sources([read])
    lines = text.split("\n")
    for item in found.diagnostics:
        assert 1 <= item.line <= len(lines) + 1 and 1 <= item.column <= len(lines[min(item.line, len(lines)) - 1]) + 2
        assert item.message and "\n" not in item.code
    if not found.diagnostics:
        ((_, spec),) = found.specs
        made = plan.compile_spec(spec, "quotes.yaml", found.paths)
        fetch_plan = FetchPlan(made)
        for spelled in (
            upsert.build_upsert_sql(made),
            merge.build_lookup_sql(fetch_plan),
            merge.build_insert_sql(fetch_plan),
            merge.build_update_sql(fetch_plan),
            step_results.build_step_results_statement(fetch_plan, step_results.Scope()).text,
        ):
            assert spelled
        assert made.on_absent == "keep" or lineage.build_remove_absent_sql(made)
        assert (
            typescript.build_typescript_files([made])
            and python.build_python_files([made])
            and spec_pages.build_spec_pages([made])
        )


@pytest.mark.law
@LAW
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t0\u00e9\U0001f680\ufeff", max_size=40))
@example("? a\n: b")
@example("&a [*a]")
@example("a: &a {b: *a}")
@example("{<<: [1]}")
@example("a: " + "[" * 100_000 + "]" * 100_000)
@example("a: " + "{a: " * 2_000 + "}" * 2_000)
@example("spec: " + "1" * 5_000)
@example("a: 'b\0c'")
def test_any_text_is_read_without_raising(text: str) -> None:
    read = yaml_source.parse_source(text, "specs/any.yaml")
    check_sources([read])
    assert read.diagnostics or read.data is not None


def test_a_table_holds_so_many_columns_and_no_more() -> None:
    def said(count: int) -> list[str]:
        fields = {f"c{index}": {"type": "text", "path": "item.c"} for index in range(count)}
        text = json.dumps({**GOOD, "on_absent": "keep", "conflict": ["org_id", "c1"], "fields": fields, "indexes": []})
        text = text.replace('"fields": {"symbol": {"path": "item.code"}, "price": {"path": "output.price"}}', "")
        return [
            item.message for item in check_sources([yaml_source.parse_source(text, "specs/quotes.yaml")]).diagnostics
        ]

    assert said(1592) == []
    assert said(1593) == ["`fields` has more than 1592 entries, which Postgres cannot hold"]


def test_two_files_of_anything_do_not_raise_together() -> None:
    odd = [
        yaml_source.parse_source(json.dumps({"table": value, "operations": value, "name": value}), "specs/odd.yaml")
        for value in (1, [1], {"a": 1}, None, "x")
    ]
    assert check_sources(odd).diagnostics


def test_no_spec_may_claim_a_table_of_the_engine() -> None:
    """What the API's login may do with the engine's tables stands by their names in another list."""
    assert set(CORE_TABLES) == set(CORE_RIGHTS)
