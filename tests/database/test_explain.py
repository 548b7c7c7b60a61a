"""Why a cell can be believed, what a row was before, and why a key has no row."""

import json
from typing import Any

import pytest

from engine.explain.absence import Absence
from engine.explain.history import History, read_history
from engine.explain.key import explain_key, read_key_history
from engine.explain.key_lookup import SeveralRows, parse_key
from engine.explain.row import Explanation, explain_row
from engine.plan import Plan
from engine.rows.query import QueryRejected
from tests.database.conftest import START, THINGS, World, build_head
from tests.world import insert_run, insert_step, insert_submission

HEAD = build_head("things", THINGS, "domain")
FIELDS = """
domain: {type: text, path: "output.site || context.site", normalize: [domain, lower], required: true}
score: {type: numeric, path: "output.score", on_invalid: missing}
note: {type: text, path: "output.note"}
checked: {type: text, path: "output.checked", on_missing: clear}
seen_at: {type: timestamptz, path: "output.seen_at"}
document: {type: jsonb, path: "output.document"}
"""
LISTS = """
spec: 1
name: lists
title: Lists
operations: [company.derive.lists]
table: lists
row_name: list_row
conflict: [org_id, domain, identity]
rows: ["output.teams", "item.people"]
"""
PEOPLE = """
domain: {type: text, path: "output.domain", normalize: [domain], required: true}
team: {type: text, path: "parent.team"}
url: {type: text, path: "item.url", normalize: [linkedin_url]}
name: {type: text, path: "item.name"}
identity: {type: text, coalesce: [url, name], normalize: [lower]}
"""


@pytest.fixture
def plan(world: World) -> Plan:
    return world.create_spec(FIELDS, head=HEAD)


def find_row(world: World, plan: Plan, **values: Any) -> tuple[str, str]:
    """Return organisation and id of the one row with these values."""
    conditions = " and ".join(f'"{name}" = %s' for name in values) or "true"
    (row,) = world.db.execute(
        f'select org_id::text, id::text from "{plan.table}" where {conditions}', list(values.values())
    ).fetchall()
    return row["org_id"], row["id"]


def explain(world: World, plan: Plan, field: str | None = None, **values: Any) -> dict[str, Any]:
    org, row_id = find_row(world, plan, **values)
    found = world.loop.run(explain_row(world.own, plan, org, row_id, field))
    assert isinstance(found, Explanation)
    return found.as_dict()


def read_cells(explained: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {cell["field"]: cell for cell in explained["cells"]}


def ask_key(world: World, plan: Plan, org: str, **key: str) -> Explanation | SeveralRows | Absence:
    return world.loop.run(explain_key(world.own, plan, org, parse_key(plan, key), world.specs.values()))


def ask_why(world: World, plan: Plan, org: str, **key: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the state of a key without a row, and each finding's state and step result."""
    found = ask_key(world, plan, org, **key)
    assert isinstance(found, Absence), found
    return found.state.value, [(finding.state.value, finding.step_result_id) for finding in found.findings]


def read_versions(world: World, plan: Plan, **values: Any) -> list[tuple[str, Any]]:
    org, row_id = find_row(world, plan, **values)
    found = world.loop.run(read_history(world.own, plan, org, row_id))
    assert found is not None
    return [(version.step_result_id, version.row) for version in found.versions]


# --- a row ---


def test_every_cell_has_its_step_result_path_raw_value_and_normalizer_steps(world: World, plan: Plan) -> None:
    output = {"site": "https://WWW.Acme.Example/about", "score": 1.10, "document": {"b": 1, "a": [1.50]}}
    step = world.add_step(
        world.add_run(),
        THINGS,
        '{"site": "https://WWW.Acme.Example/about", "score": 1.10,'
        ' "seen_at": "2026-02-01T00:00:00.120Z", "document": {"b": 1, "a": [1.50]}}',
    )
    world.run_backfill(plan)
    explained = explain(world, plan)
    assert explained["state"] == "sourced", explained
    cells = read_cells(explained)
    assert list(cells) == [column.name for column in plan.fields]
    assert {cell["step_result_id"] for cell in cells.values()} == {step}
    domain = cells["domain"]
    assert (domain["path"], domain["raw"]) == ("output.site || context.site", output["site"])
    assert domain["steps"] == [
        {"normalizer": "domain", "result": "acme.example"},
        {"normalizer": "lower", "result": "acme.example"},
    ]
    assert domain["value"] == "acme.example"
    assert repr(cells["score"]["value"]) == repr(cells["score"]["raw"]) == "1.10"
    assert cells["seen_at"]["value"] == "2026-02-01T00:00:00.12+00:00"
    assert cells["document"]["value"] == cells["document"]["raw"] == output["document"]
    assert cells["checked"]["value"] is cells["checked"]["raw"] is None


def test_a_kept_value_is_of_the_older_step_result(world: World, plan: Plan) -> None:
    run = world.add_run()
    older = world.add_step(run, THINGS, {"site": "a.com", "note": "old", "score": 1, "document": {"v": 1}}, at=1)
    newer = world.add_step(run, THINGS, {"site": "a.com", "score": 2, "document": None}, at=2)
    world.run_backfill(plan)
    cells = read_cells(explain(world, plan))
    assert {name: cell["step_result_id"] for name, cell in cells.items()} == {
        "domain": newer,
        "score": newer,
        "note": older,
        "checked": newer,
        "seen_at": newer,
        "document": older,
    }
    assert cells["note"]["value"] == cells["note"]["raw"] == "old"
    assert newer in cells["note"]["note"]
    assert cells["document"]["value"] == {"v": 1}


def test_a_value_that_was_taken_for_missing_says_so(world: World, plan: Plan) -> None:
    run = world.add_run()
    older = world.add_step(run, THINGS, {"site": "a.com", "score": 7})
    world.add_step(run, THINGS, {"site": "a.com", "score": "many"}, at=1)
    world.run_backfill(plan)
    (kept,) = explain(world, plan, "score")["cells"]
    assert (kept["step_result_id"], kept["value"]) == (older, 7)
    alone = world.add_step(world.add_run(), THINGS, {"site": "b.com", "score": "many"})
    world.run_backfill(plan)
    (missing,) = explain(world, plan, "score", domain="b.com")["cells"]
    assert (missing["step_result_id"], missing["value"], missing["raw"]) == (alone, None, "many")
    assert missing["note"].startswith("treated as missing:")


def test_an_element_within_an_element_and_the_first_identity_that_has_a_value(world: World) -> None:
    lists = world.create_spec(PEOPLE, head=LISTS)
    ann = {"name": "Ann", "url": "https://www.linkedin.com/in/Ann/"}
    teams = [{"team": "red", "people": [ann]}, {"team": "blue", "people": [{"name": "Bob"}, {"name": "bob"}]}]
    step = world.add_step(world.add_run(), "company.derive.lists", {"domain": "a.com", "teams": teams})
    world.run_backfill(lists)
    cells = read_cells(explain(world, lists, identity="bob"))
    assert (cells["team"]["value"], cells["team"]["raw"], cells["team"]["path"]) == ("blue", "blue", "parent.team")
    assert {(cell["step_result_id"], cell["element"]) for cell in cells.values()} == {(step, 2)}
    assert (cells["identity"]["path"], cells["identity"]["value"]) == ("coalesce: name", "bob")
    cells = read_cells(explain(world, lists, team="red"))
    assert (cells["identity"]["path"], cells["identity"]["element"]) == ("coalesce: url", 0)
    assert cells["url"]["steps"][0]["normalizer"] == "linkedin_url"


def test_a_row_of_no_step_result_says_so(world: World, plan: Plan) -> None:
    org = world.add_org()
    world.upsert_rows(plan, org, {**dict.fromkeys(column.name for column in plan.fields), "domain": "hand.com"})
    explained = explain(world, plan)
    assert explained["state"] == "unsourced"
    assert "no step result" in explained["explanation"]
    (domain,) = explain(world, plan, "domain")["cells"]
    assert (domain["value"], domain["step_result_id"], domain["path"], domain["steps"]) == ("hand.com", None, None, [])
    assert read_versions(world, plan) == []


def test_a_row_whose_step_result_was_deleted_is_unsourced(world: World, plan: Plan) -> None:
    step = world.add_step(world.add_run(), THINGS, {"site": "a.com", "note": "n"})
    world.run_backfill(plan)
    world.db.execute("delete from step_results where id = %s", [step])
    assert explain(world, plan)["state"] == "pending"
    world.run_backfill(plan)
    explained = explain(world, plan)
    assert explained["state"] == "unsourced"
    assert read_cells(explained)["note"]["value"] == "n"


def test_a_cell_changed_by_hand_says_so(world: World, plan: Plan) -> None:
    world.add_step(world.add_run(), THINGS, {"site": "a.com", "note": "n", "score": 1})
    world.run_backfill(plan)
    world.db.execute("update things set note = 'by hand'")
    explained = explain(world, plan)
    assert explained["state"] == "changed" and "dex verify things --repair" in explained["explanation"]
    cells = read_cells(explained)
    assert cells["note"]["value"] == "by hand" and cells["note"]["raw"] == "n"
    assert "another value" in cells["note"]["note"] and cells["score"]["note"] is None


def test_what_waits_for_a_backfill_is_pending(world: World, plan: Plan) -> None:
    step = world.add_step(world.add_run(), THINGS, {"site": "a.com", "note": "n"})
    world.run_backfill(plan)
    world.db.execute(
        "update step_results set output_payload = replace(output_payload::text, '\"n\"', '\"m\"')::jsonb where id = %s",
        [step],
    )
    explained = explain(world, plan)
    assert explained["state"] == "pending"
    note = read_cells(explained)["note"]
    assert (note["value"], note["raw"]) == ("n", "m"), "the row as it stands, and what its step result says now"
    remapped = world.compile_plan(FIELDS.replace("output.note", "output.remark"), head=HEAD)
    world.run_backfill(plan)
    assert explain(world, plan)["state"] == "sourced"
    assert explain(world, remapped)["state"] == "pending"


def test_a_contribution_the_database_refuses_explains_nothing(world: World, plan: Plan) -> None:
    world.db.execute("alter table things add constraint low check (score < 10)")
    run = world.add_run()
    admitted = world.add_step(run, THINGS, {"site": "a.com", "score": 1})
    refused = world.add_step(run, THINGS, {"site": "a.com", "score": 100, "note": "n"}, at=1)
    world.run_backfill(plan)
    explained = explain(world, plan)
    assert explained["state"] == "sourced"
    assert {cell["step_result_id"] for cell in explained["cells"]} == {admitted}
    assert [step for step, _ in read_versions(world, plan)] == [admitted]
    alone = world.add_step(world.add_run(run.org), THINGS, {"site": "b.com", "score": 100})
    world.run_backfill(plan)
    state, findings = ask_why(world, plan, run.org, domain="b.com")
    assert (state, findings[0]) == ("rejected", ("rejected", alone))
    assert refused not in dict(map(reversed, findings))


def test_another_organisations_row_is_not_there(world: World, plan: Plan) -> None:
    world.add_step(world.add_run(), THINGS, {"site": "a.com"})
    world.run_backfill(plan)
    _, row_id = find_row(world, plan)
    other = world.add_org()
    assert world.loop.run(explain_row(world.own, plan, other, row_id)) is None
    assert world.loop.run(read_history(world.own, plan, other, row_id)) is None
    assert ask_why(world, plan, other, domain="a.com") == ("never_asked", [])


def test_a_field_that_does_not_exist(world: World, plan: Plan) -> None:
    world.add_step(world.add_run(), THINGS, {"site": "a.com"})
    world.run_backfill(plan)
    with pytest.raises(QueryRejected, match="no field `nota`") as caught:
        explain(world, plan, "nota")
    assert "`note`" in caught.value.hint


# --- its history ---


def test_history_is_the_row_after_each_contribution_newest_first(world: World, plan: Plan) -> None:
    run = world.add_run()
    contents: list[dict[str, Any]] = [
        {"note": "a", "score": 1, "checked": "yes", "document": {"n": 1}},
        {"score": 2},
        {"note": "c", "document": {"n": 3}},
    ]
    steps = [
        world.add_step(run, THINGS, {"site": "a.com", **content}, at=number) for number, content in enumerate(contents)
    ]
    world.run_backfill(plan)
    versions = read_versions(world, plan)
    assert [step for step, _ in versions] == steps[::-1]
    shown = [(row["note"], row["score"], row["checked"], row["document"]) for _, row in versions]
    assert shown == [("c", 2, None, {"n": 3}), ("a", 2, None, {"n": 1}), ("a", 1, "yes", {"n": 1})]
    (stored,) = world.db.execute("select to_jsonb(things) - 'created_at' - 'updated_at' as row from things").fetchall()
    assert json.loads(json.dumps(versions[0][1])) == stored["row"], "the newest is the row as it stands"


def test_each_version_is_what_a_backfill_up_to_there_leaves(world: World, plan: Plan) -> None:
    run = world.add_run()
    for number in range(50):
        content = {"note": f"n{number}" if number % 3 else None, "score": number if number % 5 else "none"}
        world.add_step(run, THINGS, {"site": "a.com", **content}, at=number)
        if number % 10 == 0:
            world.run_backfill(plan)
    expected = []
    world.run_backfill(plan)
    for number in range(49, -1, -1):
        notes = [each for each in range(number + 1) if each % 3]
        scores = [each for each in range(number + 1) if each % 5]
        expected.append((f"n{notes[-1]}" if notes else None, scores[-1] if scores else None))
    assert [(row["note"], row["score"]) for _, row in read_versions(world, plan)] == expected
    org, row_id = find_row(world, plan)
    few = world.loop.run(read_history(world.own, plan, org, row_id, 7))
    assert few is not None and few.more and len(few.versions) == 7


def test_history_of_a_key_that_went_and_came_back(world: World) -> None:
    fields = "domain: {type: text, path: output.domain, required: true}\nname: {type: text, path: item, required: true}"
    lists = world.create_spec(
        fields,
        head=LISTS.replace('["output.teams", "item.people"]', "output.names").replace("identity", "name"),
        on_absent="delete",
    )
    run = world.add_run()
    steps = [
        world.add_step(run, "company.derive.lists", {"domain": "a.com", "names": names}, at=at)
        for at, names in enumerate((["x", "y"], ["y"], ["y"], ["x"]))
    ]
    world.run_backfill(lists)
    versions = read_versions(world, lists, name="x")
    assert [(step, row and row["name"]) for step, row in versions] == [
        (steps[3], "x"),
        (steps[1], None),
        (steps[0], "x"),
    ]
    state, findings = ask_why(world, lists, run.org, domain="a.com", name="y")
    assert (state, findings[0]) == ("superseded", ("superseded", steps[2]))
    gone = world.loop.run(
        read_key_history(world.own, lists, run.org, parse_key(lists, {"domain": "a.com", "name": "y"}))
    )
    assert isinstance(gone, History)
    assert [(one.step_result_id, one.row and one.row["name"]) for one in gone.versions] == [
        (steps[3], None),
        (steps[2], "y"),
        (steps[1], "y"),
        (steps[0], "y"),
    ]


# --- a key ---


def test_a_key_finds_its_row_normalized(world: World, plan: Plan) -> None:
    run = world.add_run()
    step = world.add_step(run, THINGS, {"site": "a.com"})
    world.run_backfill(plan)
    found = ask_key(world, plan, run.org, domain="https://www.A.com/x")
    assert isinstance(found, Explanation)
    assert {cell.step_result_id for cell in found.cells} == {step}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"domian": "a.com"}, "`domian` is no conflict column of `things`"),
        ({"domain": "no domain at all"}, "`domain` refuses it"),
        ({"domain": " "}, "`domain` is required and missing"),
        ({}, "no column of the key is given"),
    ],
)
def test_a_key_that_cannot_be(world: World, plan: Plan, given: dict[str, str], said: str) -> None:
    with pytest.raises(QueryRejected, match=said):
        parse_key(plan, given)


def test_part_of_a_key_is_enough_where_one_row_has_it(world: World) -> None:
    lists = world.create_spec(PEOPLE, head=LISTS)
    run = world.add_run()
    teams = [{"team": "red", "people": [{"name": "ann"}, {"name": "bob"}]}]
    world.add_step(run, "company.derive.lists", {"domain": "a.com", "teams": teams})
    world.run_backfill(lists)
    assert isinstance(ask_key(world, lists, run.org, identity="Bob"), Explanation)
    several = ask_key(world, lists, run.org, domain="a.com").as_dict()
    assert (several["id"], several["state"], several["more"]) == (None, "several_rows", False)
    keys = [{"domain": "a.com", "identity": name} for name in ("ann", "bob")]
    assert several["rows"] == [{"id": find_row(world, lists, **key)[1], "key": key} for key in keys]
    with pytest.raises(QueryRejected, match="several rows") as caught:
        world.loop.run(read_key_history(world.own, lists, run.org, parse_key(lists, {"domain": "a.com"})))
    assert "`identity`" in caught.value.hint


def test_a_key_that_no_element_of_an_answer_has(world: World) -> None:
    lists = world.create_spec(
        """
domain: {type: text, path: "output.domain || context.domain", normalize: [domain], required: true}
name: {type: text, path: "item.name", normalize: [trim], required: true}
since: {type: integer, path: "item.since"}
""",
        head=LISTS.replace('["output.teams", "item.people"]', "output.people").replace("identity", "name"),
    )
    org = world.add_org()

    def add_people(domain: str, *people: Any) -> str:
        output = {"domain": domain, "people": list(people)}
        return world.add_step(world.add_run(org), "company.derive.lists", output)

    whole = add_people("whole.com", {"name": "Ann", "since": 2020}, {"name": "Bob", "since": 2021})
    partly = add_people(
        "partly.com", {"name": "Ann", "since": 1}, {"name": "Bob", "since": "long ago"}, "Cy, since 3", {"since": 4}
    )
    world.run_backfill(lists)

    def ask_finding(**key: str) -> tuple[str, str, list[Any]]:
        found = ask_key(world, lists, org, **key)
        assert isinstance(found, Absence)
        (finding,) = found.findings
        places = [(reason["element"], reason["field"], reason["value"]) for reason in finding.reasons]
        return finding.step_result_id, finding.message, places

    step, message, reasons = ask_finding(domain="whole.com", name="Somebody")
    assert (step, reasons) == (whole, []) and "lists 2 elements, none with this key" in message and whole in message
    step, message, reasons = ask_finding(domain="partly.com", name="Somebody")
    assert (step, reasons) == (partly, []) and "lists 4 elements, none with this key (3 of them rejected" in message
    assert "long ago" not in message
    step, message, reasons = ask_finding(domain="partly.com", name="Bob")
    assert (step, reasons) == (partly, [(1, "since", '"long ago"')]) and "rows[1]" in message
    assert ask_finding(domain="partly.com", name="cy")[2] == [(2, None, '"Cy, since 3"')]
    assert ask_finding(name="cy")[0] == partly
    assert ask_why(world, lists, org, name="Somebody") == ("never_asked", [])
    assert ask_why(world, lists, org, domain="other.com", name="Ann") == ("never_asked", [])


def test_a_key_without_a_row_says_what_is_known(world: World, plan: Plan) -> None:
    org = world.add_org()

    def add_step(site: str, **options: Any) -> str:
        return world.add_step(world.add_run(org), THINGS, options.pop("output", {"site": site}), **options)

    filtered = add_step("none.com", found="not_found")
    rejected = world.add_step(world.add_run(org), THINGS, {"note": "n"}, context={"site": "bad.com\u0001"})
    failed = add_step("failed.com", status="failed")
    pending = add_step("pending.com")
    assert ask_why(world, plan, org, domain="nobody.com") == ("never_asked", [])
    assert ask_why(world, plan, org, domain="none.com") == ("filtered", [("filtered", filtered)])
    assert ask_why(world, plan, org, domain="failed.com") == ("failed", [("failed", failed)])
    assert ask_why(world, plan, org, domain="pending.com") == ("pending", [("pending", pending)])
    world.run_backfill(plan)
    assert isinstance(ask_key(world, plan, org, domain="pending.com"), Explanation)
    world.db.execute("delete from things")
    assert ask_why(world, plan, org, domain="pending.com") == ("removed", [("removed", pending)])
    assert world.read_outcomes(plan, rejected) == ["rejected"]


def test_a_guard_and_a_missing_value_say_why(world: World) -> None:
    guarded = world.create_spec(
        FIELDS.replace("required: true", "required: true")
        + '\nkind: {type: text, path: "output.kind", required: true}',
        head=HEAD,
        when='"output.ready"',
    )
    org = world.add_org()
    filtered = world.add_step(world.add_run(org), THINGS, {"site": "a.com", "ready": False})
    rejected = world.add_step(world.add_run(org), THINGS, {"site": "b.com", "ready": True})
    world.run_backfill(guarded)
    for domain, state, step, reason in (
        ("a.com", "filtered", filtered, "`output.ready` is falsy"),
        ("b.com", "rejected", rejected, "`kind` is required and missing"),
    ):
        found = ask_key(world, guarded, org, domain=domain)
        assert isinstance(found, Absence)
        (finding,) = found.findings
        assert (found.state.value, finding.step_result_id) == (state, step)
        assert reason in finding.message and reason in finding.reasons[0]["message"]


def test_a_step_without_an_output_is_known_by_what_it_was_given(world: World) -> None:
    plan = world.specs["icp_job_titles"]
    (operation,) = plan.operations
    org = world.add_org()
    given = {"company_name": "Acme", "canonicalDomain": "https://www.acme.example/"}
    submission = insert_submission(world.db, org, given=given, status="running")
    steps = [{"position": 1, "operation_id": operation}]
    run = insert_run(world.db, org, submission, status="queued", steps=steps)
    step = insert_step(world.db, run, status="queued", finished_at=START)
    assert ask_why(world, plan, org, company_domain="acme.example") == ("running", [("running", step)])
    assert ask_why(world, plan, org, company_domain="other.example") == ("never_asked", [])
    entity = {"entity": {"input": {**given, "canonicalDomain": "one.example"}}}
    world.db.execute(
        "update pipeline_runs set blueprint_snapshot = blueprint_snapshot || %s::jsonb", [json.dumps(entity)]
    )
    assert ask_why(world, plan, org, company_domain="one.example") == ("running", [("running", step)])
    assert ask_why(world, plan, org, company_domain="acme.example") == ("never_asked", [])
    world.db.execute(
        "update step_results set status = 'running', input_payload = %s where id = %s", [json.dumps(given), step]
    )
    world.db.execute("update pipeline_runs set status = 'running'")
    (order,) = world.db.execute(
        "insert into research_orders (org_id, operation, provider, processor, question, status, provider_run_id,"
        " step_result_id) values (%s, %s, 'parallel', 'pro', 'q', 'open', 'trun_1', %s) returning id::text as id",
        [org, operation, step],
    ).fetchall()
    world.db.execute("update step_results set order_id = %s where id = %s", [order["id"], step])
    found = ask_key(world, plan, org, company_domain="acme.example")
    assert isinstance(found, Absence)
    assert found.state.value == "ordered" and "`trun_1`" in found.findings[0].message
    assert found.findings[0].order_id == order["id"]
    world.db.execute("update research_orders set status = 'failed'")
    world.db.execute("update step_results set status = 'failed', error_message = 'the provider gave up'")
    found = ask_key(world, plan, org, company_domain="acme.example")
    assert found.state.value == "failed" and "the provider gave up" in found.as_dict()["explanation"]


def test_the_newest_of_several_attempts_comes_first(world: World, plan: Plan) -> None:
    org = world.add_org()
    failed = world.add_step(world.add_run(org), THINGS, {"site": "a.com"}, status="failed")
    filtered = world.add_step(world.add_run(org), THINGS, {"site": "a.com"}, found="not_found", at=5)
    state, findings = ask_why(world, plan, org, domain="a.com")
    assert (state, findings) == ("filtered", [("filtered", filtered), ("failed", failed)])
