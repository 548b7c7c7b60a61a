"""The text of the persist blocks: it type-checks and lints with the runner's own settings, and says what it should."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from engine.generate import operations, typescript
from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS

TRIGGER = Path(__file__).resolve().parents[3] / "trigger"

HARD = r"""
spec: 1
name: class
title: 'Ends in a "quote" and `ticks`'
description: 'Has a \ and */ in it.'
operations: [test.hard]
table: class
row_name: lambda
conflict: [org_id, from]
fields:
  from: {type: text, path: "output.\"a b\" || 'it\\'s'", required: true, filter: true}
  __proto__: {type: jsonb, path: "output.b[?c == `1`] | [0]"}
  constructor: {type: text, path: output.constructor}
"""
HARD_RESEARCH = r"""
spec: 1
name: hard_research
title: 'Ends in a "quote" and `ticks`'
description: 'Has a \ and */ in it.'
operations: [test.hard_research]
research:
  provider: parallel
  processor: 'pro "fast"'
  prompt: "Back\\slash, `ticks` ${'$'}{dollar}, \"quotes\", \u2028 and {{__proto__}}\n\n*/ // {{constructor}}"
  inputs:
    __proto__: {path: "context.\"a b\"", required: true}
    constructor: {path: ["context.constructor", "step_input.it"], normalize: [text, domain]}
  output_schema: from_fields
  output: {toString: "inputs.constructor", a_b: "length(context.list || `[]`)"}
table: hard_research
row_name: hard_research
conflict: [org_id, name]
rows: output.parallel_raw_response.output.content.__proto__."a b"
fields:
  name: {type: text, path: item.constructor, required: true, description: 'Has a "quote", a \ and ${x}'}
  parts: {type: "text[]", path: 'item.__proto__', filter: true}
  raw: {type: jsonb, path: 'item.raw'}
"""
SHAPES = """
spec: 1
name: customers
title: Customers
table: customers
row_name: customer
conflict: [org_id, company, name]
rows: output.customers
operations:
  test.first: {}
  test.second: {}
  test.guarded: {when: "context.is_public"}
  test.other: {rows: "output.found[]", fields: {name: {path: "item.label"}}}
fields:
  company: {type: text, path: context.domain, required: true}
  name: {type: text, path: item.name, required: true}
"""
#: One row per organisation, so that there is nothing to tell the row by; from an operation of its own, and from a list.
KEYLESS = """
spec: 1
name: {name}
title: Settings
operations: [test.{name}]
table: {name}
row_name: {name}
conflict: [org_id]
fields:
  plan: {{type: text, path: output.plan}}
"""
KEYLESS_LIST = """
spec: 1
name: last_seen
title: Last seen
table: last_seen
row_name: last_seen
conflict: [org_id]
operations:
  test.list: {rows: output.list}
  test.one: {}
fields:
  plan: {type: text, path: output.plan}
"""
#: Names that differ in nothing but an underscore.
ALIKE = ("a1", "a_1", "_a1", "ab", "a_b", "a__b", "_a_b", "_ab", "ab_", "_", "__")


def build_block(plan: Plan) -> str:
    return typescript.build_typescript_files([plan])[f"{typescript.FOLDER}/{typescript.build_file_name(plan)}"]


def test_it_passes_the_runners_own_checks(
    plans: tuple[Plan, ...], compiled: Callable[[str], Plan], tmp_path: Path
) -> None:
    copy = tmp_path / "trigger"
    shutil.copytree(TRIGGER, copy, ignore=shutil.ignore_patterns("node_modules", "generated", "tests"))
    (copy / "node_modules").symlink_to(TRIGGER / "node_modules")
    # The task of Trigger.dev sees nothing of a spec, and the types of its SDK take most of the time of both programs.
    settings = json.loads((copy / "tsconfig.json").read_text())
    (copy / "tsconfig.json").write_text(
        json.dumps({**settings, "include": ["src", "recorded-provider"], "exclude": ["src/tasks"]})
    )
    more = [HARD, SHAPES, KEYLESS_LIST, *(KEYLESS.format(name=name) for name in ALIKE)]
    all_plans = [*plans, *map(compiled, [*more, HARD_RESEARCH])]
    files = {**typescript.build_typescript_files(all_plans), **operations.build_operation_files(all_plans)}
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for command in (["tsc", "--noEmit"], ["eslint", "src/persist", "src/operations"]):
        done = subprocess.run(
            ["node", f"node_modules/.bin/{command[0]}", *command[1:]], cwd=copy, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_block_reads_as_the_directive_wrote_it(plans: tuple[Plan, ...]) -> None:
    (company,) = (plan for plan in plans if plan.name == "company_intel_briefings")
    text = build_block(company)
    condition = 'if (operationId === "company.derive.intel_briefing" && result.status === "found" && result.output) {'
    assert_in_order(
        text,
        "from specs/company_intel_briefings.yaml",
        "/** Company intel briefing. One row per company and client lens. */",
        condition,
        "storeRow(step, {",
        'endpoint: "/api/internal/company-intel-briefings/upsert",',
        'company_domain: readPath(document, "output.domain || output.target_company_domain"),',
        'processor: readPath(document, "output.processor"),',
        "source_submission_id: run.submission_id,",
        "source_pipeline_run_id: pipeline_run_id,",
        'persisted: "Company intel briefing persisted to dedicated table",',
        'failed: "Failed to persist company intel briefing to dedicated table",',
    )
    assert_in_order(
        (TRIGGER / "src" / "persist" / "store.ts").read_text(),
        "export async function storeRow(",
        "internalPost(step.internalConfig, block.endpoint, block.body(document))",
        "try {",
        "logger.info(block.persisted, {",
        "} catch (error) {",
        "logger.warn(block.failed, { pipeline_run_id, error: toMessage(error) });",
    )
    assert "throw" not in text


def assert_in_order(text: str, *parts: str) -> None:
    place = 0
    for part in parts:
        assert part in text[place:], part
        place = text.index(part, place) + len(part)


def test_a_module_exports_the_types_of_its_spec(plans: tuple[Plan, ...], compiled: Callable[[str], Plan]) -> None:
    (company,) = (plan for plan in plans if plan.name == "company_intel_briefings")
    text = build_block(company)
    assert (
        "export interface CompanyIntelBriefingRow extends ProvidedColumns {\n  readonly company_domain: string;\n"
        in text
    )
    assert "  readonly company_name: string | null;\n" in text
    assert (
        "export interface CompanyIntelBriefingBody extends SourceColumns {\n  readonly company_domain: Json;\n" in text
    )
    assert "  readonly company_domain?: FilterValue<string>;\n" in text
    many = build_block(compiled(SHAPES))
    assert (
        "export interface CustomerBody extends SourceColumns {\n  readonly rows: readonly CustomerElement[];\n}" in many
    )
    assert "export type CustomerFilters = ProvidedFilters;" in many
    tagged = build_block(compiled(HARD_RESEARCH))
    assert "Filters extends ProvidedFilters {\n  readonly parts?: Comparison;\n}" in tagged


def test_the_provided_columns_are_those_of_the_engine() -> None:
    text = (TRIGGER / "src" / "persist" / "store.ts").read_text()
    interface = text.split("export interface ProvidedColumns {")[1].split("}")[0]
    assert re.findall(r"readonly (\w+):", interface) == list(PROVIDED_COLUMNS)


def test_titles_inside_a_sentence(plans: tuple[Plan, ...]) -> None:
    (icp,) = (plan for plan in plans if plan.name == "icp_job_titles")
    assert '"Failed to persist ICP job titles to dedicated table"' in build_block(icp)


def test_operations_of_one_shape_share_a_block(compiled: Callable[[str], Plan]) -> None:
    text = build_block(compiled(SHAPES))
    assert '["test.first", "test.second"].includes(operationId)' in text
    assert text.count("if (operationId ===") == 2
    assert 'filtered: "Customers filtered: `context.is_public` is falsy"' in text
    assert text.index('rows: "output.customers"') < text.index('rows: "output.found[]"')


def test_every_plan_is_called_in_one_order(plans: tuple[Plan, ...]) -> None:
    forwards, backwards = typescript.build_typescript_files(plans), typescript.build_typescript_files(plans[::-1])
    index = f"{typescript.FOLDER}/index.ts"
    assert forwards[index] == backwards[index]
    for plan in plans:
        assert f"    {typescript.build_function_name(plan)}(step)," in forwards[index]
