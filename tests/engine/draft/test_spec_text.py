"""Drafts from samples: what they propose, what they doubt, and that they always pass the checks."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.draft import names, spec_text
from engine.draft.sample import guess_column
from engine.draft.spec_text import NotDrafted
from engine.plan import Plan
from engine.plans import compile_text
from engine.rows import document, extract
from engine.values import exact_json
from tests.conftest import count_examples

CUSTOMERS: dict[str, Any] = {
    "domain": "coreweave.com",
    "company_name": "CoreWeave",
    "customer_count": 3,
    "customers": [
        {"name": "Microsoft", "domain": "https://www.microsoft.com/", "reason": "Azure", "confidence": 0.9},
        {"name": "Meta", "domain": "meta.com", "reason": None, "confidence": 1},
        {"name": "Mistral", "domain": "mistral.ai", "reason": "GPUs", "confidence": 0.75},
    ],
    "parallel_run_id": "trun_1",
    "processor": "pro",
    "parallel_raw_response": {"run": {"run_id": "trun_1"}, "output": {"type": "json", "content": {"customers": []}}},
}
BRIEFING = {
    "domain": "coreweave.com",
    "target_company_domain": "coreweave.com",
    "client_company_name": "SecurityPal",
    "parallel_run_id": "trun_2",
    "processor": "ultra",
    "parallel_raw_response": {"output": {"content": {"summary": "GPUs"}}},
}
PERSON = {
    "full_name": "Jim Higgins",
    "person_full_name": "Jim Higgins",
    "linkedin_url": "https://www.LinkedIn.com/in/jim/",
    "parallel_raw_response": {"output": {"content": "a report in prose"}},
}


def compile_draft(files: dict[str, str]) -> Plan:
    """Compile the spec among some drafted files; it must pass the checks."""
    name, text = next((name, text) for name, text in files.items() if name.startswith("specs/"))
    return compile_text(text, name)


def list_path_texts(built: Plan) -> dict[str, str]:
    """Column -> path."""
    return {field.name: path.text for field, path in zip(built.fields, built.mappings[0].paths, strict=True)}


def list_normalizers(built: Plan) -> dict[str, list[str]]:
    return {field.name: [one.name for one in field.normalizers] for field in built.fields if field.normalizers}


def test_an_array_of_objects_becomes_rows() -> None:
    built = compile_draft(spec_text.draft_from_sample("company.derive.customers", CUSTOMERS))
    assert (built.name, built.row_name, built.slug) == ("company_customers", "company_customer", "company-customers")
    assert built.mappings[0].rows is not None
    assert built.mappings[0].rows.text == "output.customers"
    assert built.conflict == ("org_id", "company_domain", "customer_domain")
    assert list_path_texts(built)["company_domain"] == "output.domain"
    assert list_path_texts(built)["customer_domain"] == "item.domain"
    assert list_normalizers(built) == {"company_domain": ["domain"], "customer_domain": ["domain"]}
    assert {field.name: field.type.name for field in built.fields}["confidence"] == "numeric"
    assert built.field("processor").on_missing == "clear"
    assert built.field("raw_customer").required


def test_an_object_becomes_one_row_with_its_body_as_the_other_specs_keep_it() -> None:
    built = compile_draft(spec_text.draft_from_sample("company.derive.intel_briefing", BRIEFING))
    assert built.conflict == ("org_id", "company_domain", "client_company_name")
    assert list_path_texts(built)["company_domain"] == "output.domain || output.target_company_domain"
    raw = "output.parallel_raw_response.output.content || output.parallel_raw_response"
    assert list_path_texts(built)["raw_parallel_output"] == raw
    assert [field.name for field in built.filters] == ["company_domain", "client_company_name"]


def test_a_person_is_told_by_linkedin() -> None:
    built = compile_draft(spec_text.draft_from_sample("person.derive.intel_briefing", PERSON))
    assert built.conflict == ("org_id", "person_linkedin_url")
    assert list_path_texts(built)["person_full_name"] == "output.full_name || output.person_full_name"


def test_what_only_the_context_has_is_taken_from_there() -> None:
    output = {key: value for key, value in CUSTOMERS.items() if key != "domain"}
    payload = {
        "operation_result": {"operation_id": "company.derive.customers", "status": "found", "output": output},
        "cumulative_context": {"company_domain": "coreweave.com", **output},
    }
    files = spec_text.draft_from_sample("company.derive.customers", payload)
    assert list_path_texts(compile_draft(files))["company_domain"] == "context.company_domain"
    assert "tests/cases/good/company_customers/output_payload.json" in files


def test_the_case_says_what_the_draft_makes_of_the_sample() -> None:
    files = spec_text.draft_from_sample("company.derive.customers", CUSTOMERS)
    found = json.loads(files["tests/cases/good/company_customers/extraction.json"])
    assert found["outcome"] == "row"
    assert [row["customer_domain"] for row in found["rows"]] == ["microsoft.com", "meta.com", "mistral.ai"]
    assert json.loads(files["tests/cases/good/company_customers/step_output.json"]) == CUSTOMERS


def test_numbers_of_the_sample_keep_their_text() -> None:
    value = exact_json.loads('{"domain": "acme.com", "score": 1.10, "large": 123456789012345678901234567890}')
    files = spec_text.draft_from_sample("company.derive.score", value)
    assert '"score": 1.10' in files["tests/cases/good/company_scores/step_output.json"]
    assert "123456789012345678901234567890" in files["tests/cases/good/company_scores/extraction.json"]


@pytest.mark.parametrize(
    ("sample", "doubt"),
    [
        ({"note": "hello"}, "nothing in the sample says what makes two results the same"),
        ({"domain": "acme.com", "founded": None}, "left out, null in the sample"),
        ({"domain": "acme.com", "response": 1}, "no key looks like the provider's body"),
        ({"domain": "acme.com", "status": "in_progress"}, "draft from a completed one"),
        ({"domain": "acme.com", "mixed": "", "size": " "}, "the type is a guess"),
        ({"domain": "acme.com", "people": [{"a": 1}], "x": "y" * 99}, "one row per element of `output.people`?"),
        ([{"name": "A", "x": 1}, {"name": "A", "x": 2}], "nothing in the sample tells the elements apart"),
        ([{"x": 1}, {"x": 2}], "nothing in the sample tells the elements apart"),
        ([{"name": "A", "x": 1}], "the sample has one element"),
        ({"domain": "acme.com", "founded": "2019-05-01"}, "a date in any other spelling rejects the row"),
        ({"domain": "acme.com", "created": 1766000000}, "the number looks like a moment"),
        ({"domain": "acme.com", "phone": "555 1234"}, "`phone` refuses a value of the sample"),
    ],
)
def test_what_one_sample_cannot_tell_is_said(sample: Any, doubt: str) -> None:
    files = spec_text.draft_from_sample("company.derive.things", sample)
    compile_draft(files)
    assert f"# unsure: {doubt}" in files["specs/company_things.yaml"] or doubt in files["specs/company_things.yaml"]


def test_an_answer_that_is_not_completed_is_guarded() -> None:
    body = {"status": "completed", "domain": "acme.com", "content": {"a": 1}}
    built = compile_draft(spec_text.draft_from_sample("company.derive.things", body))
    assert built.mappings[0].when is not None
    assert built.mappings[0].when.text == "output.status == 'completed'"
    pending = document.build_document({**body, "status": "in_progress"}, {}, document.Run(), built.operations[0])
    assert extract.extract_rows(built, built.operations[0], pending).outcome == "filtered"


def test_the_answer_of_a_known_provider_is_found() -> None:
    body = {
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "the answer"}]},
        ],
    }
    built = compile_draft(spec_text.draft_from_sample("company.derive.things", body))
    found = extract.extract_rows(built, built.operations[0], document.build_from_file(body, built.operations[0]))
    assert found.rows[0]["answer"] == "the answer"


def test_names_the_engine_keeps_and_keys_that_are_no_words() -> None:
    body = {"id": "x", "created_at": "y", "limit": 1, "Größe (cm)": 3, "companyName": "Acme", "a-b": "c", "": "d"}
    built = compile_draft(spec_text.draft_from_sample("company.derive.things", body))
    assert list_path_texts(built)["provider_id"] == "output.id"
    assert list_path_texts(built)["provider_limit"] == "output.limit"
    assert list_path_texts(built)["company_name"] == "output.companyName"
    assert list_path_texts(built)["a_b"] == 'output."a-b"'
    found = extract.extract_rows(built, built.operations[0], document.build_from_file(body, built.operations[0]))
    assert found.rows[0]["a_b"] == "c"


def test_a_name_of_ones_own() -> None:
    files = spec_text.draft_from_sample("company.derive.customers", CUSTOMERS, name="clients")
    assert compile_draft(files).table == "clients"
    assert "tests/cases/good/clients/step_output.json" in files


@pytest.mark.parametrize("empty", [None, "", [], {}, {"operation_result": {"output": None}}])
def test_nothing_gives_no_draft(empty: Any) -> None:
    with pytest.raises(NotDrafted):
        spec_text.draft_from_sample("company.derive.customers", empty)


def test_another_operations_payload_is_noticed() -> None:
    payload = {"operation_result": {"operation_id": "company.other", "status": "found", "output": {"domain": "a.com"}}}
    text = spec_text.draft_from_sample("company.derive.things", payload)["specs/company_things.yaml"]
    assert "the sample is of the operation `company.other`" in text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=5),
    max_leaves=25,
)
NAMED = st.dictionaries(
    st.sampled_from(
        [
            "domain",
            "company_domain",
            "email",
            "linkedin_url",
            "name",
            "status",
            "raw_response",
            "results",
            "url",
            "ctid",
        ]
    ),
    JSON | st.lists(st.dictionaries(st.sampled_from(["name", "domain", "id", "x"]), JSON, min_size=1), max_size=4),
    min_size=1,
)


@pytest.mark.law
@settings(max_examples=count_examples(40, 800), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON | NAMED, st.sampled_from(["company.derive.x", "person.y", "Weird-Op/1", "a.b.c.d", "company", "users"]))
def test_every_draft_passes_the_checks(sample: Any, operation: str) -> None:
    try:
        files = spec_text.draft_from_sample(operation, exact_json.loads(json.dumps(sample)))
    except NotDrafted as error:
        assert "the sample holds no output" in error.message, error.message
        return
    built = compile_draft(files)
    assert built.conflict[0] == "org_id"
    assert len(built.conflict) > 1
    folder = f"tests/cases/good/{built.name}"
    found = json.loads(files[f"{folder}/extraction.json"])
    unstorable = any(mark in json.dumps(sample) for mark in ("\\u0000", "\\ud8", "\\ud9", "\\uda", "\\udb", "\\udc"))
    assert found["outcome"] in ("row", "filtered") or unstorable, found


@pytest.mark.parametrize(
    ("key", "values", "wanted"),
    [
        ("x", [True, None], ("boolean", ())),
        ("employee_count", [5], ("bigint", ())),
        ("score", [5], ("numeric", ())),
        ("score", [5, 6], ("bigint", ())),
        ("score", [5, 0.5], ("numeric", ())),
        ("large", [10**30], ("numeric", ())),
        ("x", ["a", 5], ("text", ("text",))),
        ("x", ["a", ["b"]], ("text[]", ("list",))),
        ("x", [["a"], ["b"]], ("text[]", ())),
        ("x", [["a"], [1]], ("jsonb", ())),
        ("x", [{"a": 1}, 5], ("jsonb", ())),
        ("x", ['{"a": 1}'], ("jsonb", ("json",))),
        ("x", ["<think>so</think>{}"], ("jsonb", ("strip_think", "json"))),
        ("x", ["<think>so</think>yes"], ("text", ("strip_think",))),
        ("founded", ["2019-05-01"], ("date", ())),
        ("founded", ["2019"], ("text", ())),
        ("seen_at", ["2026-05-15T18:52:36Z"], ("timestamptz", ())),
        ("created", [1766000000], ("timestamptz", ("epoch_seconds",))),
        ("created_at", [1766000000000.0], ("timestamptz", ("epoch_milliseconds",))),
        ("website", ["www.acme.com"], ("text", ("url",))),
        ("x", ["https://acme.com/a"], ("text", ("url",))),
        ("work_email", ["Ada@Acme.com"], ("text", ("email",))),
        ("linkedin", ["https://linkedin.com/in/ada"], ("text", ("linkedin_url",))),
        ("linkedin", ["ada"], ("text", ())),
        ("domain", ["acme"], ("text", ())),
        ("phone", ["+1 415 555 2671"], ("text", ("phone",))),
    ],
)
def test_guesses(key: str, values: list[Any], wanted: tuple[str, tuple[str, ...]]) -> None:
    built = guess_column(key, values)
    assert (built.type, built.normalize) == wanted


@pytest.mark.parametrize(
    ("one", "many"),
    [
        *(
            ("customer", "customers"),
            ("company", "companies"),
            ("box", "boxes"),
            ("search", "searches"),
            ("key", "keys"),
        ),
        *(("board_member", "board_members"), ("alumnus", "alumni"), ("woman", "women"), ("bonus", "bonuses")),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert names.to_plural(one) == many
    assert names.to_singular(many) == one
    assert names.to_plural(many) == many
    assert names.to_singular(f"{many}_2") == f"{one}_2"
    assert names.to_plural(f"{many}_2") == f"{many}_2"


def test_the_names_of_operations() -> None:
    assert names.build_table_name("company.derive.intel_briefing") == "company_intel_briefings"
    assert names.build_table_name("person.derive.intel_briefing") == "person_intel_briefings"
    assert names.build_table_name("company.company_ads") == "company_ads"
    assert names.build_table_name("customers") == "customers"
