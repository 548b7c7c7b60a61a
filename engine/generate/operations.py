"""Build the runner's modules of operations, `trigger/src/operations/generated`, from plans with `research`.

A module has what differs between operations: prompt, inputs, the answer's schema and the keys of the output. The code
that orders research and waits for it is in `trigger/src/research/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from engine.generate.header import build_header
from engine.generate.type_names import to_pascal_case
from engine.generate.typescript import (
    build_file_name,
    build_object_key,
    build_title_comment,
    join_lines,
    quote_string,
)
from engine.plan import Plan
from engine.research_plan import Research, ResearchInput

FOLDER: Final = "trigger/src/operations/generated"
_WIDTH: Final = 120


def build_operation_files(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of `trigger/src/operations/generated/*.ts` by path: a module per operation, and `index.ts`."""
    ordered = [plan for plan in sorted(plans, key=lambda plan: plan.name) if plan.research]
    modules = {f"{FOLDER}/{build_file_name(plan)}": build_operation_module(plan) for plan in ordered}
    return {f"{FOLDER}/index.ts": _build_index(ordered), **modules}


def build_operation_name(plan: Plan) -> str:
    """Return the name of the plan's constant: `company_intel_briefings` gives `companyIntelBriefingsOperation`."""
    name = to_pascal_case(plan.name)
    return f"{name[:1].lower()}{name[1:]}Operation"


def build_operation_module(plan: Plan) -> str:
    """Return the text of the module of a plan that has research."""
    research = plan.research
    assert research is not None
    return join_lines(
        f"// {build_header(plan.file)}",
        'import type { Operation } from "../../research/operation.js";',
        "",
        build_title_comment(plan),
        f"export const {build_operation_name(plan)}: Operation = {{",
        *_build_settings(research),
        "};",
    )


def _build_index(plans: Sequence[Plan]) -> str:
    modules = {plan.name: f"./{build_file_name(plan).removesuffix('.ts')}.js" for plan in plans}
    return join_lines(
        f"// {build_header('the specs')}",
        'import type { Operation } from "../../research/operation.js";',
        *(f'import {{ {build_operation_name(plan)} }} from "{modules[plan.name]}";' for plan in plans),
        "",
        "/** The operations that this runner can execute, by id. */",
        "export const operations: ReadonlyMap<string, Operation> = new Map<string, Operation>([",
        *(f"  [{build_operation_name(plan)}.id, {build_operation_name(plan)}]," for plan in plans),
        "]);",
    )


def _build_settings(research: Research) -> Iterator[str]:
    yield f"  id: {quote_string(research.operation)},"
    yield f"  provider: {quote_string(research.provider.name)},"
    yield f"  processor: {quote_string(research.processor)},"
    yield "  prompt: ["
    yield from (f"    {quote_string(line)}," for line in research.prompt.split("\n"))
    yield '  ].join("\\n"),'
    yield "  inputs: {"
    yield from (line for research_input in research.inputs for line in _build_input(research_input))
    yield "  },"
    yield from _build_value("  outputSchema: ", research.output_schema, "  ")
    keys = [f"    {build_object_key(name)}: {quote_string(path.text)}," for name, path in research.output]
    yield from ("  output: {", *keys, "  },") if keys else ("  output: {},",)


def _build_input(research_input: ResearchInput) -> Iterator[str]:
    paths = ", ".join(quote_string(path.text) for path in research_input.paths)
    facts = (
        f"isRequired: {_spell_boolean(research_input.required)}",
        f"isNormalized: {_spell_boolean(bool(research_input.normalizers))}",
    )
    line = f"    {build_object_key(research_input.name)}: {{ paths: [{paths}], {', '.join(facts)} }},"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"    {build_object_key(research_input.name)}: {{"
    yield "      paths: ["
    yield from (f"        {quote_string(path.text)}," for path in research_input.paths)
    yield "      ],"
    yield from (f"      {fact}," for fact in facts)
    yield "    },"


def _build_value(before: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of a JSON value in TypeScript, with one key of an object per line."""
    if isinstance(value, dict) and value:
        yield f"{before}{{"
        for key, part in value.items():
            yield from _build_value(f"{indent}  {build_object_key(key)}: ", part, f"{indent}  ")
        yield f"{indent}}},"
    elif isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value):
        yield f"{before}["
        for part in value:
            yield from _build_value(f"{indent}  ", part, f"{indent}  ")
        yield f"{indent}],"
    else:
        yield f"{before}{quote_string(value)},"


def _spell_boolean(value: bool) -> str:
    return "true" if value else "false"
