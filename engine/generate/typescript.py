"""Plans -> the persist blocks of the runner, `trigger/src/persist/generated`.

In: plans. Out: TypeScript text by path. It must not know how a path is evaluated or a row is sent: a block names the
operation, the endpoint and the paths, and calls what `trigger/src` has for the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from engine.generate.header import header
from engine.plan import Mapping, Plan

FOLDER: Final = "trigger/src/persist/generated"
_SOURCES: Final = (
    ("source_submission_id", "run.submission_id"),
    ("source_pipeline_run_id", "pipeline_run_id"),
    ("source_recorded_at", "recordedAt"),
)


def emit(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of `trigger/src/persist/generated/*.ts` by path: a block per plan, `index.ts` calls them all."""
    modules = {f"{FOLDER}/{plan.name}.ts": _module(plan) for plan in plans}
    return {f"{FOLDER}/index.ts": _index(plans), **modules}


def function(plan: Plan) -> str:
    """Return the name of the plan's function: `company_intel_briefings` gives `persistCompanyIntelBriefings`.

    Only a `_` before a letter goes, so that no two names give one function: `a1` is not `a_1`, `a_b` not `a__b`.
    """
    name = re.sub(r"(?<=.)_([a-z])", lambda found: found[1].upper(), plan.name)
    return f"persist{name[:1].upper()}{name[1:]}"


def _index(plans: Sequence[Plan]) -> str:
    ordered = sorted(plans, key=lambda plan: plan.name)
    imports = [f'import {{ {function(plan)} }} from "./{plan.name}.js";' for plan in ordered]
    calls = [f"  await {function(plan)}(step);" for plan in ordered]
    return _text(
        f"// {header('the specs')}",
        'import type { PersistStep } from "../step.js";',
        *imports,
        "",
        "/** Offer a step's result to every spec; each takes what its operations found. Never throws. */",
        "export async function persistStepResult(step: PersistStep): Promise<void> {",
        *calls,
        "}",
    )


def _module(plan: Plan) -> str:
    description = f" {_line(plan.description)}" if plan.description else ""
    blocks = [line for mappings in _alike(plan.mappings) for line in _block(plan, mappings)]
    names = ["operationId", "result", "run", "recordedAt", "internalConfig", "logger"]
    return _text(
        f"// {header(plan.file)}",
        *_imports(plan),
        "",
        f"/** {_line(plan.title)}.{description} */",
        f"export async function {function(plan)}(step: PersistStep): Promise<void> {{",
        f"  const {{ {', '.join(names)} }} = step;",
        "  const { pipeline_run_id } = run;",
        *blocks,
        "}",
    )


def _imports(plan: Plan) -> Iterable[str]:
    yield f'import {{ {_call(plan)} }} from "../../client.js";'
    yield 'import { messageOf } from "../../logger.js";'
    guarded = any(mapping.when for mapping in plan.mappings)
    if guarded:
        yield 'import { read, truthy } from "../../read.js";'
    elif any(mapping.rows is None for mapping in plan.mappings):
        yield 'import { read } from "../../read.js";'
    if plan.many:
        yield 'import { postBatch, readBatches } from "../rows.js";'
    yield 'import { documentOf, type PersistStep } from "../step.js";'


def _alike(mappings: Iterable[Mapping]) -> list[list[Mapping]]:
    """The mappings, those that differ in nothing but the operation together."""

    def sameness(mapping: Mapping) -> tuple[str, ...]:
        guards = (path.text if path else "" for path in (mapping.rows, mapping.when))
        return (*guards, *(path.text for path in mapping.paths))

    order = {mapping.operation: place for place, mapping in enumerate(mappings)}
    groups = [list(group) for _, group in groupby(sorted(mappings, key=sameness), key=sameness)]
    return sorted(groups, key=lambda group: order[group[0].operation])


def _block(plan: Plan, mappings: Sequence[Mapping]) -> Iterable[str]:
    mapping = mappings[0]
    yield f'  if ({_named(mappings)} && result.status === "found" && result.output) {{'
    yield "    try {"
    yield "      const document = documentOf(step);"
    if mapping.when is not None:
        yield from _guard(plan, mapping.when.text)
    yield from _post(plan, mapping) if mapping.rows is None else _post_many(plan, mapping, mapping.rows.text)
    yield "    } catch (error) {"
    yield f"      logger.warn({_string(f'Failed to persist {_within(plan.title)} to dedicated table')}, {{"
    yield "        pipeline_run_id,"
    yield "        error: messageOf(error),"
    yield "      });"
    yield "    }"
    yield "  }"


def _named(mappings: Sequence[Mapping]) -> str:
    ids = [_string(mapping.operation) for mapping in mappings]
    return f"operationId === {ids[0]}" if len(ids) == 1 else f"[{', '.join(ids)}].includes(operationId)"


def _guard(plan: Plan, text: str) -> Iterable[str]:
    yield f"      if (!truthy(read(document, {_string(text)}))) {{"
    yield f"        logger.info({_string(f'{plan.title} filtered: `{text}` is falsy')}, {{ pipeline_run_id }});"
    yield "        return;"
    yield "      }"


def _post(plan: Plan, mapping: Mapping) -> Iterable[str]:
    stored = f"const {'{ rows: [row] }' if plan.many else 'row'} = " if plan.key_fields else ""
    yield f"      {stored}await {_call(plan)}(internalConfig, {_string(_endpoint(plan))}, {{"
    fields = [
        f"{_key(item.name)}: read(document, {_string(path.text)}),"
        for item, path in zip(plan.fields, mapping.paths, strict=True)
    ]
    if plan.many:  # an endpoint that takes many rows takes nothing else
        yield from (
            "        rows: [",
            "          {",
            *(f"            {line}" for line in fields),
            "          },",
            "        ],",
        )
    else:
        yield from (f"        {line}" for line in fields)
    yield from (f"        {_property(name, value)}," for name, value in _SOURCES)
    yield "      });"
    yield f"      logger.info({_string(f'{plan.title} persisted to dedicated table')}, {{"
    row = "row?." if plan.many else "row"
    yield from (f'        {_key(item.name)}: {row}["{item.name}"],' for item in plan.key_fields)
    yield "        pipeline_run_id,"
    yield "      });"


def _post_many(plan: Plan, mapping: Mapping, rows: str) -> Iterable[str]:
    yield "      const source = {"
    yield f"        title: {_string(plan.title)},"
    yield f"        rows: {_string(rows)},"
    yield "        fields: {"
    for item, path in zip(plan.fields, mapping.paths, strict=True):
        yield f"          {_key(item.name)}: {_string(path.text)},"
    yield "        },"
    yield "        facts: { pipeline_run_id },"
    yield "        logger,"
    yield "      };"
    yield "      let rowCount = 0;"
    yield "      for (const batch of readBatches(document, source)) {"
    yield "        rowCount += await postBatch(batch, source, (rows) =>"
    yield f"          {_call(plan)}(internalConfig, {_string(_endpoint(plan))}, {{"
    yield "            rows,"
    yield from (f"            {_property(name, value)}," for name, value in _SOURCES)
    yield "          }),"
    yield "        );"
    yield "      }"
    yield f"      logger.info({_string(f'{plan.title} persisted to dedicated table')}, {{"
    yield "        rows: rowCount,"
    yield "        pipeline_run_id,"
    yield "      });"


def _call(plan: Plan) -> str:
    return "internalPostRows" if plan.many else "internalPost"


def _endpoint(plan: Plan) -> str:
    return f"/api/internal/{plan.slug}/upsert"


def _property(name: str, value: str) -> str:
    return name if name == value else f"{name}: {value}"


def _key(name: str) -> str:
    """A column as a key of an object literal, where this one name would set the prototype."""
    return '["__proto__"]' if name == "__proto__" else name


def _within(title: str) -> str:
    """A title inside a sentence: `Company intel briefing` gives `company intel briefing`, `ICP job titles` stays."""
    first, _, rest = title.partition(" ")
    if first.isupper() and len(first) > 1:
        return title
    return f"{first[:1].lower()}{first[1:]}{f' {rest}' if rest else ''}"


def _string(text: str) -> str:
    """A TypeScript string; JSON's spelling is one."""
    return json.dumps(text, ensure_ascii=False)


def _line(text: str) -> str:
    """Prose of a spec on one line of a comment, where nothing in it can end the comment."""
    return " ".join(text.split()).replace("*/", "* /").rstrip(".") if text else ""


def _text(*lines: str) -> str:
    return "\n".join(lines) + "\n"
