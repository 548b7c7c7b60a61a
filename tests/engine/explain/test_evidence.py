"""Which part of the provider's answer a cell comes from, and what the provider says for it."""

from typing import Any

import pytest

from engine.explain.answer_places import list_answer_places
from engine.explain.evidence import choose_evidence
from engine.jmespath.path import compile_path
from engine.jmespath.places import list_places
from engine.plan import OperationMapping
from engine.research.providers import PROVIDERS
from engine.rows.document import Run, build_document
from engine.rows.elements import list_elements

PARALLEL = PROVIDERS["parallel"]
CONTENT = "output.parallel_raw_response.output.content"
ANSWER = {
    "funding": {"total": "12m", "rounds": [{"name": "Seed", "investors": [{"name": "A"}, {"name": "B"}]}, {}]},
    "claims": ["first", {"text": "second"}],
    "text": '{"founded": 2010}',
}
BASIS = [
    {
        "field": name,
        "citations": [{"url": f"https://a.example/{name}"}],
        "reasoning": f"as {name}",
        "confidence": "high",
    }
    for name in (
        "funding",
        "funding.total",
        "funding.rounds.0.name",
        "funding.rounds",
        "claims.1",
        "people.name",
        "text",
    )
]


def build_answer(content: Any) -> dict[str, Any]:
    output = {"domain": "a.com", "parallel_raw_response": {"output": {"content": content}}}
    return build_document(output, output, Run(), "o")


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("output.a", ["output.a"]),
        ("output.missing || output.a || output.b", ["output.a"]),
        ("output.missing || output.nothing", ["output.nothing"]),
        ("output.list[1].x", ["output.list.1.x"]),
        ("output.list[-1].x", ["output.list.x"]),
        ("output.list[*].x", ["output.list"]),
        ("output.list[?x == 'a'].y | [0]", ["output.list"]),
        ("join(', ', output.list)", ["output.list"]),
        ("parse_json(output.a).b.c", ["output.a.b.c"]),
        ("length(output.a).b", ["output.a"]),
        ("{x: output.a, y: output.b}", ["output.a", "output.b"]),
        ("output.a == 'x' && output.b", ["output.a", "output.b"]),
        ("'literal'", []),
    ],
)
def test_the_places_of_a_path(path: str, places: list[str]) -> None:
    document = {"output": {"a": "1", "b": "2", "list": [{"x": "a"}]}}
    assert [".".join(place) for place in list_places(compile_path(path), document)] == places


@pytest.mark.parametrize(
    ("path", "places"),
    [
        (f"{CONTENT}.funding.total", ["funding.total"]),
        (f"{CONTENT}.claims[1].text || output.domain", ["claims.1.text"]),
        (f"output.domain || {CONTENT}.claims", []),
        (CONTENT, [""]),
        (f"{CONTENT} || output.parallel_raw_response", [""]),
        (f"parse_json({CONTENT}.text).founded", ["text.founded"]),
        ("output.domain", []),
        ("run.org_id", []),
    ],
)
def test_the_part_of_the_answer(path: str, places: list[str]) -> None:
    mapping = OperationMapping(operation="o", rows=None, when=None, fields=(), paths=())
    found = list_answer_places(PARALLEL, mapping, [compile_path(path)], build_answer(ANSWER), None)
    assert [".".join(place) for place in found] == places


@pytest.mark.parametrize(
    ("rows", "inner", "path", "places"),
    [
        (f"{CONTENT}.funding.rounds", None, "item.name", {0: "funding.rounds.0.name", 1: "funding.rounds.1.name"}),
        (f"{CONTENT}.none || {CONTENT}.claims", None, "item", {0: "claims.0", 1: "claims.1"}),
        (f"{CONTENT}.claims[?text]", None, "item.text", {0: "claims.text"}),
        (
            f"{CONTENT}.funding.rounds",
            "item.investors || `[{}]`",
            "item.name",
            {0: "funding.rounds.0.investors.0.name", 1: "funding.rounds.0.investors.1.name", 2: None},
        ),
        (
            f"{CONTENT}.funding.rounds",
            "item.investors",
            "parent.name",
            {0: "funding.rounds.0.name", 1: "funding.rounds.0.name", 2: None},
        ),
    ],
)
def test_the_part_of_an_element(rows: str, inner: str | None, path: str, places: dict[int, str | None]) -> None:
    mapping = OperationMapping(
        operation="o",
        rows=compile_path(rows),
        inner_rows=compile_path(inner) if inner else None,
        when=None,
        fields=(),
        paths=(compile_path(path),),
    )
    document = build_answer(ANSWER)
    elements = list_elements(mapping, document, mapping.rows.search(document) if mapping.rows else [])
    assert len(elements) == len(places), "the elements are counted as a backfill counts them"
    for element, place in places.items():
        found = list_answer_places(PARALLEL, mapping, [compile_path(path)], document, element)
        assert [".".join(steps) for steps in found] == ([] if place is None else [place]), element


@pytest.mark.parametrize(
    ("place", "value", "fields"),
    [
        ("funding.total", "12m", ["funding.total", "funding"]),
        ("funding.total.amount", 12, ["funding.total"]),
        ("funding.rounds.0.name", "Seed", ["funding.rounds.0.name", "funding.rounds"]),
        ("funding.rounds.1.name", None, ["funding.rounds"]),
        ("claims.1.text", "second", ["claims.1"]),
        ("claims.0", "first", []),
        ("people.3.name", "Ann", ["people.name"]),
        ("funding", {"total": "12m"}, ["funding", "funding.total", "funding.rounds.0.name", "funding.rounds"]),
        ("", ANSWER, [entry["field"] for entry in BASIS]),
        ("nothing", "x", []),
        ("fundin", "x", []),
    ],
)
def test_what_is_said_for_a_part(place: str, value: Any, fields: list[str]) -> None:
    found = choose_evidence(PARALLEL, BASIS, [tuple(place.split(".")) if place else ()], value)
    assert [entry["field"] for entry in found] == fields
    for entry in found:
        assert entry == next(one for one in BASIS if one["field"] == entry["field"])


@pytest.mark.parametrize("name", ["content", "output", ""])
def test_what_is_said_for_the_whole_answer_is_said_for_each_part(name: str) -> None:
    basis = [{"field": name, "reasoning": "r", "confidence": "low"}]
    for place in ((), ("funding", "total")):
        (entry,) = choose_evidence(PARALLEL, basis, [place], "text")
        assert entry == {"field": name, "citations": [], "reasoning": "r", "confidence": "low"}


def test_an_index_in_brackets_is_an_index() -> None:
    basis = [{"field": "people[0].name"}, {"field": "people[1].name"}]
    (entry,) = choose_evidence(PARALLEL, basis, [("people", "0", "name")], "Ann")
    assert entry["field"] == "people[0].name"


@pytest.mark.parametrize("basis", [None, "text", {}, [], [1, None, "x"], [{"field": 1}, {"field": None}, {}]])
def test_a_basis_of_another_shape_says_nothing_about_a_part(basis: Any) -> None:
    assert choose_evidence(PARALLEL, basis, [("a",)], {"x": 1}) == []
