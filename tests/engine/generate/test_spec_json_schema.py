"""The schema says of a spec what the checks say, as far as a schema can."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.generate.spec_json_schema import SCHEMA_FILE, TYPE_DOCS, build_json_schema, build_json_schema_files
from engine.spec import checks, yaml_source
from engine.spec.models import Spec
from engine.values.column_types import TYPES
from engine.values.normalizers import NORMALIZERS
from tests.conftest import ROOT

GOOD = [*sorted((ROOT / "specs").glob("*.yaml")), *sorted((ROOT / "tests" / "cases").glob("[gp]*/*/*.yaml"))]
#: Codes of mistakes that stand in one spec and need no knowledge of JMESPath, YAML or other specs.
SEEN = frozenset(("SPEC201", "SPEC202", "SPEC203", "SPEC204", "SPEC301", "SPEC303", "SPEC304", "SPEC309", "SPEC313"))


@cache
def build_validator() -> jsonschema.Draft202012Validator:
    schema = build_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def list_errors(data: Any) -> list[str]:
    return [error.message for error in build_validator().iter_errors(data)]


@pytest.mark.parametrize("file", GOOD, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_good_spec_is_valid(file: Path) -> None:
    assert list_errors(yaml_source.load_source(file, file.name).data) == []


def list_wrong_specs() -> Iterator[Any]:
    for file in sorted((ROOT / "tests" / "cases" / "wrong").glob("*/*.yaml")):
        origin = yaml_source.load_source(file, f"specs/{file.name}")
        codes = {item.code for item in checks.check_sources([origin]).diagnostics}
        if origin.data is not None and codes & SEEN:
            yield pytest.param(origin.data, id=f"{file.parent.name}/{file.stem}")


@pytest.mark.parametrize("data", list(list_wrong_specs()))
def test_a_wrong_spec_is_flagged(data: Any) -> None:
    assert list_errors(data)


BASE: dict[str, Any] = {
    "spec": 1,
    "name": "a",
    "title": "A",
    "operations": ["a.b"],
    "table": "a",
    "row_name": "a",
    "conflict": ["org_id", "x"],
    "fields": {"x": {"type": "text", "path": "output.x"}},
}


@pytest.mark.parametrize(
    "change",
    [
        {"operations": []},
        {"operations": ["a", "a"]},
        {"operations": {}},
        {"operations": {"a": {"path": "x"}}},
        {"conflict": ["x"]},
        {"conflict": ["org_id", "org_id"]},
        {"table": "Upper"},
        {"slug": "under_score"},
        {"on_absent": "drop"},
        {"fields": {}},
        {"fields": {"org_id": {"type": "text", "path": "output.x"}}},
        {"fields": {"limit": {"type": "text", "path": "output.x"}}},
        {"fields": {"x": {"type": "text"}}},
        {"fields": {"x": {"type": "text", "path": None}}},
        {"fields": {"x": {"type": "jsonb", "path": "output.x", "filter": True}}},
        {"fields": {"x": {"type": "text", "path": "output.x", "required": True, "on_missing": "clear"}}},
        {"fields": {"x": {"type": "text", "path": "output.x", "normalize": ["domian"]}}},
        {"fields": {"x": {"type": "text", "path": "output.x", "normalize": "domain"}}},
        {"indexes": [[]]},
        {"backfill": [{"org_id": "acme", "submissions": []}]},
    ],
)
def test_each_slip_is_flagged(change: dict[str, Any]) -> None:
    assert list_errors(BASE) == []
    assert list_errors({**BASE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"operations": {"a.b": None}},
        {"operations": {"a.b": {"rows": "output.list", "fields": {"x": {"path": "output.y"}}}}},
        {"operations": {"a.b": {"fields": {"x": {"path": "output.y"}}}}, "fields": {"x": {"type": "text"}}},
    ],
)
def test_operations_may_be_a_mapping(change: dict[str, Any]) -> None:
    assert list_errors({**BASE, **change}) == []


def test_it_is_complete() -> None:
    built = build_json_schema()
    assert built["properties"].keys() == Spec.model_fields.keys()
    for name, part in [("Spec", built), *built["$defs"].items()]:
        for key, value in part["properties"].items():
            assert value.get("description"), f"{name}.{key} has no description"
    field = built["$defs"]["FieldSpec"]["properties"]
    assert TYPE_DOCS.keys() == TYPES.keys()
    assert field["type"]["enum"] == sorted(TYPES)
    assert field["normalize"]["items"]["enum"] == sorted(NORMALIZERS)
    assert len(field["normalize"]["items"]["enumDescriptions"]) == len(NORMALIZERS)


def test_every_example_is_valid_where_it_stands() -> None:
    definitions = build_json_schema()["$defs"]
    for part in (build_json_schema(), *definitions.values()):
        for key, value in part["properties"].items():
            for example in value.get("examples", ()):
                errors = jsonschema.Draft202012Validator({**value, "$defs": definitions}).iter_errors(example)
                assert not list(errors), f"{key}: {example}"


def test_the_file_in_the_project_is_this_one() -> None:
    assert (ROOT / SCHEMA_FILE).read_text() == build_json_schema_files()[SCHEMA_FILE]


@pytest.mark.parametrize("file", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_spec_names_the_schema(file: Path) -> None:
    assert file.read_text().startswith("# yaml-language-server: $schema=spec.schema.json\n")
