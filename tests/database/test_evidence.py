"""The evidence of research as rows: every entry of a basis, counted in and out, live as by backfill."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.explain.row import explain_row
from engine.plan import Plan
from tests.conftest import ROOT
from tests.database.conftest import World

COMPANY = "company.derive.intel_briefing"
TITLES = "company.derive.icp_job_titles"
PERSON = "person.derive.intel_briefing"
SAMPLES = ROOT.parent / "shared" / "samples"
BASIS: list[Any] = [
    {
        "field": "funding.total",
        "reasoning": "two sources say so",
        "confidence": "High",
        "citations": [
            {"url": "https://www.News.example/a?b=1", "title": "A", "excerpts": ["12m", "in 2025"]},
            {"url": "https://news.example/c", "title": None, "excerpts": None},
            {"url": "https://news.example/c", "excerpts": ["another part of the same page"]},
        ],
    },
    {"field": "funding", "reasoning": "r", "confidence": "", "citations": []},
    {"field": "founders.0.name", "reasoning": "", "confidence": None},
    {"field": "founders", "reasoning": "no source", "citations": None},
    {"field": None, "citations": [{"url": "no address", "title": "B"}]},
]


@pytest.fixture
def plan(world: World) -> Plan:
    return world.specs["research_evidence"]


def build_output(basis: Any, run_id: str = "trun_1", **names: Any) -> dict[str, Any]:
    content = {"funding": {"total": "12m"}, "founders": [{"name": "Ann"}]}
    raw = {"run": {"run_id": run_id}, "output": {"type": "json", "content": content, "basis": basis}}
    return {"parallel_run_id": run_id, "processor": "pro", "parallel_raw_response": raw, **names}


def read(world: World, plan: Plan, *names: str, **values: Any) -> list[tuple[Any, ...]]:
    rows = [row for row in world.read_rows(plan) if values.items() <= row.items()]
    return sorted((tuple(row[name] for name in names) for row in rows), key=str)


def count_citations(basis: list[Any]) -> int:
    """A row per citation, and one for an entry without."""
    return sum(len(entry.get("citations") or []) or 1 for entry in basis)


def test_a_row_per_citation_and_one_for_an_entry_without(world: World, plan: Plan) -> None:
    step = world.add_step(world.add_run(), COMPANY, build_output(BASIS, domain="https://www.Acme.example"))
    account = world.run_backfill(plan)
    assert account.elements == {"elements": 7, "rows": 7, "duplicates": 0, "refused": 0}
    assert world.read_ledger(plan)[step]["outcome"] == "written"
    assert read(world, plan, "subject", "operation", "parallel_run_id") == [("acme.example", COMPANY, "trun_1")] * 7
    assert read(world, plan, "field", "site", "title", "confidence", "reasoning") == sorted(
        [
            ("funding.total", "news.example", "A", "high", "two sources say so"),
            ("funding.total", "news.example", None, "high", "two sources say so"),
            ("funding.total", "news.example", None, "high", "two sources say so"),
            ("funding", None, None, None, "r"),
            ("founders.0.name", None, None, None, None),
            ("founders", None, None, None, "no source"),
            (None, None, "B", None, None),
        ],
        key=str,
    )
    assert read(world, plan, "url", "excerpts", title="A") == [("https://www.News.example/a?b=1", '["12m", "in 2025"]')]


@pytest.mark.parametrize("basis", [None, [], False, ""])
def test_an_answer_without_a_basis_is_filtered(world: World, plan: Plan, basis: Any) -> None:
    step = world.add_step(world.add_run(), COMPANY, build_output(basis, domain="a.com"))
    world.run_backfill(plan)
    assert world.read_outcomes(plan, step) == ["filtered"]


def test_a_person_is_the_subject_of_its_briefing(world: World, plan: Plan) -> None:
    world.add_step(world.add_run(), PERSON, build_output(BASIS[:1], full_name=" Ann Lee "))
    world.add_step(world.add_run(), TITLES, build_output(BASIS[:1], run_id="trun_2", company_domain="b.com"))
    world.run_backfill(plan)
    assert set(read(world, plan, "subject", "operation")) == {("Ann Lee", PERSON), ("b.com", TITLES)}


def test_researches_of_one_company_leave_each_others_citations_alone(world: World, plan: Plan) -> None:
    run = world.add_run()
    for operation, run_id in ((COMPANY, "trun_1"), (COMPANY, "trun_2"), (TITLES, "trun_3")):
        world.add_step(run, operation, build_output(BASIS, run_id=run_id, domain="a.com"))
    world.add_step(run, COMPANY, build_output([], run_id="trun_4", domain="a.com"))
    world.run_backfill(plan)
    assert [len(read(world, plan, "field", parallel_run_id=f"trun_{number}")) for number in (1, 2, 3, 4)] == [
        7,
        7,
        7,
        0,
    ]


def test_one_answer_of_two_step_results_is_one_set_of_rows(world: World, plan: Plan) -> None:
    """A step that takes the answer of an earlier order has the same research."""
    run = world.add_run()
    first = world.add_step(run, COMPANY, build_output(BASIS, domain="a.com"))
    second = world.add_step(world.add_run(run.org), COMPANY, build_output(BASIS, domain="a.com"), at=1)
    world.run_backfill(plan)
    assert world.read_outcomes(plan, first, second) == ["superseded", "written"]
    assert len(world.read_rows(plan)) == 7


def test_without_any_id_of_the_research_its_pipeline_run_tells_it(world: World, plan: Plan) -> None:
    run = world.add_run()
    output = {"domain": "a.com", "parallel_raw_response": {"output": {"basis": BASIS}}}
    world.add_step(run, COMPANY, output)
    world.run_backfill(plan)
    assert set(read(world, plan, "parallel_run_id")) == {(run.id,)}


def test_live_is_backfill(world: World, plan: Plan) -> None:
    steps = [
        world.add_step(world.add_run(), operation, build_output(BASIS, run_id=f"trun_{operation}", domain="a.com"))
        for operation in (COMPANY, TITLES)
    ]
    for step in steps:
        extraction = world.extract_step(plan, step)
        assert len(extraction.rows) == 7
        world.upsert_live(plan, step)
    live = world.read_rows(plan)
    assert len(live) == 14
    world.delete_rows(plan)
    world.db.execute("delete from row_lineage")
    world.run_backfill(plan)
    assert world.read_rows(plan) == live


def test_a_second_spec_on_the_operation_has_accounts_of_its_own(world: World, plan: Plan) -> None:
    other = world.specs["company_intel_briefings"]
    world.add_step(world.add_run(), COMPANY, build_output(BASIS, domain="a.com"))
    world.run_backfill(other)
    accounts = {account["spec"]: account for account in world.read_accounts(plan, other)}
    assert (accounts[plan.name]["pending"], accounts[other.name]["pending"]) == (1, 0)
    world.run_backfill(plan)
    accounts = {account["spec"]: account for account in world.read_accounts(plan, other)}
    assert (accounts[plan.name]["rows"], accounts[other.name]["rows"]) == (7, 1)


# --- what explain shows of it ---


def explain_cell(world: World, plan: Plan, field: str, **values: Any) -> Any:
    conditions = " and ".join(f'"{name}" = %s' for name in values) or "true"
    (row,) = world.db.execute(
        f'select org_id::text, id::text from "{plan.table}" where {conditions}', list(values.values())
    ).fetchall()
    found = world.loop.run(explain_row(world.own, plan, row["org_id"], row["id"], field))
    assert found is not None
    (cell,) = found.as_dict()["cells"]
    return cell


def test_a_cell_shows_the_basis_of_its_path_and_of_its_nearest_ancestor(world: World) -> None:
    head = """
spec: 1
name: funding
title: Funding
operations: [company.derive.funding]
table: funding
row_name: funding
conflict: [org_id, domain]
"""
    fields = """
    domain: {type: text, path: "output.domain", required: true}
    total: {type: text, path: "output.parallel_raw_response.output.content.funding.total"}
    founder: {type: text, path: "output.parallel_raw_response.output.content.founders[0].name"}
    content: {type: jsonb, path: "output.parallel_raw_response.output.content"}
    """
    plan = world.create_spec(fields, head=head)
    run = world.add_run()
    older = world.add_step(run, "company.derive.funding", build_output(BASIS, domain="a.com"))
    newer = build_output([{"field": "founders.0", "reasoning": "new"}], domain="a.com")
    del newer["parallel_raw_response"]["output"]["content"]["funding"]
    world.add_step(run, "company.derive.funding", newer, at=1)
    world.run_backfill(plan)
    total = explain_cell(world, plan, "total")
    assert total["step_result_id"] == older, "a kept value has the evidence of the answer it is kept from"
    assert [entry["field"] for entry in total["evidence"]] == ["funding.total", "funding"]
    assert total["evidence"][0] == {**BASIS[0]}
    founder = explain_cell(world, plan, "founder")
    assert founder["evidence"] == [{"field": "founders.0", "citations": [], "reasoning": "new", "confidence": None}]
    assert [entry["field"] for entry in explain_cell(world, plan, "content")["evidence"]] == ["founders.0"]
    assert explain_cell(world, plan, "domain")["evidence"] == []


def test_an_element_shows_the_basis_of_its_index(world: World) -> None:
    head = """
spec: 1
name: founders
title: Founders
operations: [company.derive.founders]
table: founders
row_name: founder
conflict: [org_id, domain, name]
rows: "output.parallel_raw_response.output.content.founders"
"""
    fields = """
    domain: {type: text, path: "output.domain", required: true}
    name: {type: text, path: "item.name", required: true}
    """
    plan = world.create_spec(fields, head=head)
    output = build_output(BASIS, domain="a.com")
    output["parallel_raw_response"]["output"]["content"]["founders"].append({"name": "Bob"})
    world.add_step(world.add_run(), "company.derive.founders", output)
    world.run_backfill(plan)
    assert [one["field"] for one in explain_cell(world, plan, "name", name="Ann")["evidence"]] == [
        "founders.0.name",
        "founders",
    ]
    assert [one["field"] for one in explain_cell(world, plan, "name", name="Bob")["evidence"]] == ["founders"]


# --- real answers ---


def load_answers(folder: Path) -> dict[str, Any]:
    """Return the answers that have a basis, by name; a file may hold several, one per key."""
    answers: dict[str, Any] = {}
    for file in sorted(folder.glob("*.json")):
        value = json.loads(file.read_bytes())
        answers |= value if "_note" in value else {file.stem: value}
    return {
        name: answer
        for name, answer in answers.items()
        if isinstance(answer, dict) and isinstance(answer.get("output"), dict) and answer["output"].get("basis")
    }


def test_every_basis_entry_of_the_samples_is_in_the_table(world: World, plan: Plan) -> None:
    answers = load_answers(SAMPLES)
    if not answers:
        pytest.skip(f"no samples beside the repository, at {SAMPLES}")
    check_answers(world, plan, answers)


def check_answers(world: World, plan: Plan, answers: dict[str, Any]) -> None:
    for number, (name, answer) in enumerate(answers.items()):
        basis = answer["output"]["basis"]
        output = {"domain": f"s{number}.example", "parallel_raw_response": answer}
        text = json.dumps(output).replace("\\u0000", "\\ufffd")  # as the runner stores what Postgres cannot
        world.add_step(world.add_run(), COMPANY, text)
        account = world.run_backfill(plan)
        counted = count_citations(basis)
        assert account.elements["elements"] == account.elements["rows"] == counted, (name, account)
        rows = read(world, plan, "field", "url", subject=f"s{number}.example")
        given = [
            (entry["field"], citation.get("url")) for entry in basis for citation in entry.get("citations") or [{}]
        ]
        assert rows == sorted(given, key=str), name
