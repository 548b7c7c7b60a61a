"""The schema made from fields: the provider takes it, and what is valid for it extracts."""

import random
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from engine.plan import Plan, compile_spec
from engine.research.json_schema_limits import find_schema_mistakes
from engine.research.providers import PROVIDERS
from engine.rows.document import Run, build_document
from engine.rows.extract import extract_rows
from engine.spec import checks, yaml_source

CONTENT = "output.parallel_raw_response.output.content"
#: Types whose values a schema without `format` and `minimum` describes; a whole number is kept within 32 bits below.
TYPES = ("text", "jsonb", "boolean", "integer", "bigint", "numeric", "text[]")
HEAD = """
spec: 1
name: made
title: Made
description: One row per company.
operations: [test.made]
research:
  provider: parallel
  processor: pro
  prompt: "Find {{company}}."
  inputs:
    company: {path: context.company, required: true}
  output_schema: from_fields
table: made
row_name: made_row
"""


def build_random_spec(chance: random.Random) -> str:
    """Return a spec of random fields; some ask for one property as two things, which the checks refuse."""
    has_rows = chance.random() < 0.5
    base = "item" if has_rows else CONTENT
    lines = [HEAD, "conflict: [org_id, company]" if not has_rows else "conflict: [org_id, company, a_key]"]
    if has_rows:
        lines.append(f'rows: "{CONTENT}.{"list.of.things" if chance.random() < 0.3 else "things"}"')
    lines += ["fields:", '  company: {type: text, path: "output.company", required: true}']
    if has_rows:
        lines.append('  a_key: {type: integer, path: "item.key", required: true}')
    for number in range(chance.randint(1, 12)):
        kind = chance.choice(TYPES)
        steps = ".".join(chance.choice("abcdefgh") for _ in range(chance.choice((1, 1, 1, 2, 2, 3))))
        start = base if chance.random() < 0.9 or not has_rows else CONTENT
        required = kind != "text" and chance.random() < 0.3
        alternative = chance.choice(("", "", " || output.company"))
        lines.append(
            f'  f{number}: {{type: "{kind}", path: "{start}.{steps}{alternative if kind == "text" else ""}",'
            f" required: {str(required).lower()}, description: Field {number}}}"
        )
    return "\n".join(lines) + "\n"


def build_random_value(chance: random.Random, schema: dict[str, Any]) -> Any:
    kinds = schema.get("type", "object")
    kind = chance.choice(kinds) if isinstance(kinds, list) else kinds
    match kind:
        case "object":
            if "properties" not in schema:
                return {"any": chance.choice([1, None, "x", [1]])}
            return {name: build_random_value(chance, part) for name, part in schema["properties"].items()}
        case "array":
            return [build_random_value(chance, schema["items"]) for _ in range(chance.randint(0, 3))]
        case "string":
            return chance.choice(["", " ", "text", "é😀", "null", "1,200", "a\nb"])
        case "boolean":
            return chance.random() < 0.5
        case "integer":
            return chance.randint(-(2**31), 2**31 - 1)
        case "number":
            return chance.choice([0, -1.5, 1e30, 12345678901234567890, 0.1])
    return None


@pytest.mark.parametrize(("seed", "count"), [(11, 60), pytest.param(12, 2_000, marks=pytest.mark.long)])
def test_every_answer_that_is_valid_for_the_schema_extracts(seed: int, count: int) -> None:
    chance = random.Random(seed)
    made = 0
    while made < count:
        source = yaml_source.parse_source(build_random_spec(chance), "specs/made.yaml")
        checked = checks.check_sources([source])
        if checked.diagnostics:
            assert {diagnostic.code for diagnostic in checked.diagnostics} <= {"SPEC610", "SPEC614"}, source.text
            continue
        made += 1
        ((_, spec),) = checked.specs
        plan = compile_spec(spec, source.file, checked.paths)
        assert plan.research is not None and plan.research.output_schema is not None
        schema = plan.research.output_schema["json_schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert not list(find_schema_mistakes(schema, PROVIDERS["parallel"]))
        for _ in range(3):
            content = build_random_value(chance, schema)
            jsonschema.validate(content, schema)
            output = {"company": "Acme", "parallel_raw_response": {"output": {"content": content}}}
            extraction = extract_rows(plan, "test.made", build_document(output, output, Run(), "test.made"))
            reasons = [reason for reason in extraction.reasons if reason.code != "no_elements"]
            assert extraction.outcome != "rejected" and not reasons, (source.text, content, reasons)


def build_schema(compiled: Callable[[str], Plan], *lines: str) -> Any:
    research = compiled(HEAD + "\n".join(lines) + "\n").research
    assert research is not None and research.output_schema is not None
    return research.output_schema["json_schema"]


def test_properties_come_from_dotted_paths_and_from_nothing_else(compiled: Callable[[str], Plan]) -> None:
    schema = build_schema(
        compiled,
        "conflict: [org_id, company]",
        "fields:",
        '  company: {type: text, path: "output.company", required: true}',
        f'  raw: {{type: jsonb, path: "{CONTENT}"}}',
        f'  total: {{type: numeric, path: "output.company || {CONTENT}.funding.total", description: "In  USD."}}',
        f'  funding: {{type: jsonb, path: "{CONTENT}.funding", description: All of it.}}',
        f'  day: {{type: date, path: "{CONTENT}.day", required: true, description: The first one.}}',
        f'  site: {{type: text, path: "{CONTENT}.site", normalize: [domain]}}',
    )
    assert schema == {
        "description": "One row per company.",
        "type": "object",
        "properties": {
            "funding": {
                "type": "object",
                "properties": {"total": {"type": ["number", "null"], "description": "In USD."}},
                "required": ["total"],
                "additionalProperties": False,
                "description": "All of it.",
            },
            "day": {"type": "string", "description": "The first one. Written as YYYY-MM-DD."},
            "site": {"type": ["string", "null"], "description": "Written as a domain, such as acme.com."},
        },
        "required": ["funding", "day", "site"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "days"), [("90d", 90.0), ("12h", 0.5), ("2w", 14.0), ("90m", 0.0625), ("86400s", 1.0)]
)
def test_fresh_for_is_recorded_on_the_plan(compiled: Callable[[str], Plan], text: str, days: float) -> None:
    fields = '  company: {type: text, path: "output.company", required: true}'
    spec = (
        HEAD.replace("output_schema: from_fields", f"fresh_for: {text}")
        + f"conflict: [org_id, company]\nfields:\n{fields}\n"
    )
    research = compiled(spec).research
    assert research is not None and research.fresh_for is not None
    assert research.fresh_for.total_seconds() == days * 86_400
    assert research.output_schema is None
