"""Laws that hold for any step output.

Live is backfill, a pruned document is a whole one, SQL is JMESPath, order does not matter, twice is once.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.rows import tuple_row

from engine.backfill.reader import extract_step
from engine.jmespath import path
from engine.rows.document import Run, build_from_payload
from engine.rows.fetch_plan import _INDEX_LIKE, FetchPlan
from engine.sql import step_results
from engine.sql.json_paths import build_first_truthy
from engine.sql.step_results import Scope
from engine.values import exact_json
from tests.conftest import count_examples
from tests.database.conftest import World

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPERATION = ("finance.fetch.quotes",)
NUMBERS = (
    "0",
    "-0",
    "-0.0",
    "1",
    "1.10",
    "1E+2",
    "1.5e-7",
    "1e400",
    "123456789012345678901234567890",
    "0.30000000000000004",
)
numbers = st.sampled_from(NUMBERS).map(exact_json.parse_number)
texts = st.one_of(
    st.sampled_from(["", " ", "a", "Acme", "acme.example", "null", "1", "ü", "日本", "100%", "it's", "\\"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
keys = st.sampled_from(
    ["a", "b", "c", "aa", "0", "-1", " 1", "+1", "a.b", "", "100%", "it's", "back\\slash", 'quo"te', "ü", "日"]
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
LAW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
SYNTHETIC = """
symbol: {type: text, path: "output.symbol || context.symbol", required: true, normalize: [trim]}
venue: {type: text, path: "output.venue.code", on_missing: clear}
label: {type: text, path: "output.price", normalize: [text]}
price: {type: numeric, path: "output.price", on_missing: clear}
tags: {type: "text[]", path: "output.items[].b"}
held: {type: jsonb, path: "output.body.content || output.body || context.body"}
held_clear: {type: jsonb, path: 'output."100%"', on_missing: clear}
travels: {type: jsonb, path: "output.items[?a].{a: a, all: @}"}
chosen: {type: jsonb, path: "output.items | [0] || output.body", normalize: [json_or_text]}
"""


raws = st.one_of(values, st.fixed_dictionaries({"output": st.fixed_dictionaries({"content": values})}))
domains = st.sampled_from(["acme.example", "https://www.acme.example/x", "other.example", "", " ", None, 7])
people = st.sampled_from(["Ada", "Bob", "", None])
COMPANY = st.fixed_dictionaries(
    {},
    optional={
        "domain": domains,
        "target_company_domain": domains,
        "company_name": leaves,
        "target_company_name": leaves,
        "client_company_name": people,
        "client_company_description": leaves,
        "parallel_raw_response": raws,
        "parallel_run_id": people,
        "processor": leaves,
    },
)
TITLES = st.fixed_dictionaries(
    {},
    optional={
        "domain": domains,
        "company_domain": domains,
        "company_name": people,
        "parallel_raw_response": raws,
        "processor": people,
    },
)
PERSON = st.fixed_dictionaries(
    {},
    optional={
        "full_name": people,
        "person_full_name": people,
        "linkedin_url": st.sampled_from(["https://de.linkedin.com/in/Ada/", "", None, "nowhere"]),
        "person_current_company_name": people,
        "title": people,
        "client_company_name": people,
        "customer_company_name": leaves,
        "parallel_raw_response": raws,
    },
)
QUOTE = st.fixed_dictionaries(
    {},
    optional={
        "symbol": st.sampled_from(["ACME", " ACME ", "B", "", None]),
        "venue": st.one_of(st.fixed_dictionaries({"code": people}), leaves),
        "price": st.one_of(numbers, leaves),
        "items": st.lists(st.dictionaries(keys, leaves, max_size=3), max_size=4),
        "body": st.one_of(values, st.fixed_dictionaries({"content": values})),
        "100%": values,
    },
)
SPECS = {
    "company_intel_briefings": ("company.derive.intel_briefing", COMPANY),
    "icp_job_titles": ("company.derive.icp_job_titles", TITLES),
    "person_intel_briefings": ("person.derive.intel_briefing", PERSON),
    "quotes": ("finance.fetch.quotes", QUOTE),
}


def write_json(value: Any) -> str:
    return exact_json.dumps(value).decode()


@pytest.mark.law
@pytest.mark.parametrize("name", SPECS)
def test_live_rows_are_backfilled_rows(world: World, name: str) -> None:
    """One upsert after the other and one backfill leave the same table, documents byte for byte."""
    plan = world.create_spec(SYNTHETIC) if name == "quotes" else world.specs[name]
    operation, outputs_ = SPECS[name]
    org = world.add_org()

    @settings(LAW, max_examples=count_examples(10, 250))
    @given(st.lists(outputs_, min_size=1, max_size=5), values, st.sampled_from([1, 2, 500]))
    def check_law(outputs: Any, context: Any, batch_size: int) -> None:
        world.db.execute("delete from submissions")
        world.delete_rows(plan)
        steps = [
            world.add_step(
                world.add_run(org),
                operation,
                write_json(output),
                context=write_json({"symbol": "C", "body": context}),
                at=at,
            )
            for at, output in enumerate(outputs)
        ]
        for step in steps:
            world.upsert_live(plan, step)
        live = world.read_rows(plan)
        world.delete_rows(plan)
        account = world.run_backfill(plan, batch_size=batch_size)
        assert world.read_rows(plan) == live
        assert account.pending == 0
        before = world.db.execute(f"select ctid, xmin from {plan.table} order by id").fetchall()
        again = world.run_backfill(plan, all=True, batch_size=batch_size)
        for step in steps:
            assert not set(world.upsert_live(plan, step)) & {"written"}
        assert again.outcomes["written"] == 0
        assert world.db.execute(f"select ctid, xmin from {plan.table} order by id").fetchall() == before

    check_law()


EXPRESSIONS = (
    "output.a",
    "output.a || context.a",
    "output.a.b || output.b.a || context.b",
    'output."0"',
    'output.a."-1"."a.b"',
    'output." 1" || output."+1"',
    'output.""',
    'output."100%"."it\'s"',
    "output.*",
    "output.a.*",
    "*.a",
    "@",
    "context",
    "keys(@)",
    "keys(output)",
    "output.a[0]",
    "output.a[-1].b",
    "output.a[1:].a",
    "output.a[]",
    "output.a[*].b",
    "output.a[].[a, b]",
    "output.a[?b]",
    "output.a[?b == `1`].a | [0]",
    "output.[a, b]",
    "output.{x: a, y: b.c}",
    "[output.a, context.b]",
    "{x: output.a, y: context}",
    "output.a && context.b",
    "!(output.a)",
    "output.a == context.a",
    "output.a < output.b",
    "length(output.a)",
    "output.a.length(@)",
    "output.a.not_null(b, c)",
    "not_null(output.a.b, output.b, context.c)",
    "sort_by(output.a, &b)",
    "max_by(output.a, &a)",
    "map(&b, output.a || `[]`)",
    "merge(output.a, output.b)",
    "contains(output.a, context.a)",
    "output.a | b",
    "output.a | [0] | a",
    "(output.a || output.b).c",
    "(output.a && output).b",
    "output.a.{b: b, all: @}",
    "output.a.b.{c: c}",
    "type(output.a.b)",
    "to_array(output.a)[0].b",
    "run.org_id && output.a",
    "output.{a: a} | a.b",
    "output.a[?b].b | [0] || output.b.c",
)


ANY = """
spec: 1
name: quotes
title: Quotes
operations: [finance.fetch.quotes]
table: quotes
row_name: quote
conflict: [org_id]
"""


@pytest.mark.law
def test_a_pruned_document_gives_what_the_whole_gives(world: World) -> None:
    """What travels to the client is enough for every path: `reads` names each part an expression looks at."""
    symbol = "symbol: {{type: jsonb, path: '{}', normalize: [trim]}}"  # normalized, so it does not stay on the server
    plans = [world.compile_plan(symbol.format(item.replace("'", "''")), head=ANY) for item in EXPRESSIONS]
    run = world.add_run()

    @settings(LAW, max_examples=count_examples(10, 250))
    @given(st.lists(st.tuples(values, values), min_size=1, max_size=8))
    def check_law(documents: Any) -> None:
        world.db.execute("delete from step_results")
        world.steps.clear()
        for output, context in documents:
            world.add_step(run, "finance.fetch.quotes", write_json(output), context=write_json(context))
        for expression, plan in zip(EXPRESSIONS, plans, strict=True):
            statement = step_results.build_step_results_statement(FetchPlan(plan), Scope())
            with world.db.cursor(row_factory=tuple_row) as cursor:
                rows = cursor.execute(statement.text, statement.parameters).fetchall()
            for step in [extract_step(FetchPlan(plan), row) for row in rows]:
                assert step.extraction == world.extract_step(plan, step.id), (expression, world.steps[step.id][1])

    check_law()


named = keys.filter(lambda key: not _INDEX_LIKE.fullmatch(key))  # what looks like an index is never read by the server


@pytest.mark.law
def test_first_truthy_in_sql_is_jmespath(world: World) -> None:
    """`a.b || c` of a document that never leaves the server; the context has the step's own output merged into it."""

    roots = st.sampled_from(("output", "context"))

    @settings(LAW, max_examples=count_examples(150, 2500))
    @given(values, values, st.lists(st.tuples(roots, st.lists(named, max_size=3)), min_size=1, max_size=4))
    def check_law(output: Any, context: Any, alternatives: Any) -> None:
        expression = " || ".join(".".join([root, *map(quote_key, steps)]) for root, steps in alternatives)
        compiled = path.compile_path(expression)
        assert compiled.alternatives == tuple((root, *steps) for root, steps in alternatives)
        stored = {"operation_result": {"output": output}, "cumulative_context": context}
        wanted = compiled.search(build_from_payload(exact_json.convert_to_stored(stored), Run()))
        query = (
            f"select ({build_first_truthy(compiled.alternatives)})::text as found,"
            " %(wanted)s::jsonb::text as wanted"
            " from (select %(output)s::jsonb as output, %(context)s::jsonb as context) as document"
        )
        texts = {
            "output": write_json(output),
            "context": write_json(context),
            "wanted": None if wanted is None else write_json(wanted),
        }
        answer = world.db.execute(query, texts).fetchone()
        assert answer["found"] == answer["wanted"], expression

    check_law()


def quote_key(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


NO_KEEP = """
symbol: {type: text, path: "output.symbol", required: true}
price: {type: numeric, path: "output.price", on_missing: clear}
body: {type: jsonb, path: "output.body", on_missing: clear}
"""


@pytest.mark.law
def test_any_order_of_arrival_ends_with_the_newest_source(world: World) -> None:
    """Live, by repair of a run, or in a backfill: without `keep` fields the newest source is what stands there.

    A `keep` field is the exception it is meant to be: what an older source has and the newest misses stays only when it
    was there first.
    """
    plan = world.create_spec(NO_KEEP)
    org = world.add_org()
    quote = st.fixed_dictionaries({"symbol": st.sampled_from("AB")}, optional={"price": numbers, "body": values})

    @settings(LAW, max_examples=count_examples(10, 250))
    @given(st.lists(quote, min_size=2, max_size=6), st.randoms(use_true_random=False))
    def check_law(outputs: Any, chance: Any) -> None:
        world.db.execute("delete from submissions")
        world.delete_rows(plan)
        runs = [world.add_run(org) for _ in outputs]
        steps = [
            world.add_step(run, *OPERATION, write_json(output), at=at)
            for at, (run, output) in enumerate(zip(runs, outputs, strict=True))
        ]
        arrivals = list(zip(runs, steps, strict=True))
        chance.shuffle(arrivals)
        for run, step in arrivals:
            way = chance.choice(("live", "repair", "both", "later"))
            if way in ("live", "both"):
                world.upsert_live(plan, step)
            if way in ("repair", "both"):
                world.repair_run(run, plan)
        world.run_backfill(plan, batch_size=chance.choice((1, 2, 500)))
        newest = {output["symbol"]: at for at, output in enumerate(outputs)}
        rows = {row["symbol"]: row for row in world.read_rows(plan)}
        assert {symbol: row["source_recorded_at"] for symbol, row in rows.items()} == {
            symbol: START + timedelta(seconds=at) for symbol, at in newest.items()
        }
        assert {symbol: row["source_pipeline_run_id"] for symbol, row in rows.items()} == {
            symbol: runs[at].id for symbol, at in newest.items()
        }
        arrived = rows
        world.delete_rows(plan)
        world.run_backfill(plan)
        assert {row["symbol"]: row for row in world.read_rows(plan)} == arrived
        world.read_accounts(plan)

    check_law()


def test_twice_is_once(world: World) -> None:
    """A second backfill, live upsert or repair changes no tuple, and `updated_at` stays."""
    plan = world.specs["icp_job_titles"]
    run = world.add_run()
    for number in range(20):
        output = {"domain": f"acme{number}.example", "parallel_raw_response": {"n": 1.10, "body": "x" * 5000}}
        world.add_step(
            run, "company.derive.icp_job_titles", write_json(exact_json.loads(write_json(output))), at=number
        )
    assert world.run_backfill(plan).outcomes["written"] == 20
    shown = f"select id, ctid, xmin, updated_at from {plan.table} order by id"
    before, counted = world.db.execute(shown).fetchall(), world.count_writes(plan)
    assert world.run_backfill(plan).found == 0
    assert world.run_backfill(plan, all=True).outcomes == {"unchanged": 20}
    assert world.repair_run(run, plan)[0].outcomes == {"unchanged": 20}
    assert {outcome for step in world.steps for outcome in world.upsert_live(plan, step)} == {"unchanged"}
    assert world.db.execute(shown).fetchall() == before
    assert world.count_writes(plan) == counted == (20, 0, 0)
