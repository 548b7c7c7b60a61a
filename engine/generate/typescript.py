"""Build the runner's persist blocks, `trigger/src/persist/generated`, from plans.

A persist block is a function that sends the result of a step to the upsert endpoint. A module has the types of one
spec (row, body, filters) and its block: the operation, the endpoint, the paths and the messages, which differ between
specs. What all blocks share is in `trigger/src/persist/store.ts`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from engine.columns import list_query_columns
from engine.generate.header import build_header
from engine.generate.type_names import build_type_name, to_pascal_case
from engine.plan import Field, OperationMapping, Plan
from engine.rows.filters import Operator, list_operators

FOLDER: Final = "trigger/src/persist/generated"
_WIDTH: Final = 120
_SOURCE_VALUES: Final = (
    ("source_submission_id", "run.submission_id"),
    ("source_pipeline_run_id", "pipeline_run_id"),
    ("source_step_result_id", "stepResultId"),
    ("source_recorded_at", "recordedAt"),
)
#: By column type, the TypeScript type of a stored value that is not null.
_VALUE_TYPES: Final[Mapping[str, str]] = {
    "text": "string",
    "jsonb": "Json",
    "boolean": "boolean",
    "integer": "number | Numeral",
    "bigint": "number | Numeral",
    "numeric": "number | Numeral",
    "double precision": "number | Numeral",
    "date": "string",
    "timestamptz": "string",
    "uuid": "string",
    "text[]": "readonly string[]",
}


def build_typescript_files(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of `trigger/src/persist/generated/*.ts` by path: a block per plan, and `index.ts`."""
    modules = {f"{FOLDER}/{build_file_name(plan)}": _build_module(plan) for plan in plans}
    return {f"{FOLDER}/index.ts": _build_index(plans), **modules}


def build_file_name(plan: Plan) -> str:
    """Return the name of the plan's module: `company_intel_briefings` gives `company-intel-briefings.ts`."""
    return f"{plan.name.replace('_', '-')}.ts"


def build_function_name(plan: Plan) -> str:
    """Return the name of the plan's function: `company_intel_briefings` gives `persistCompanyIntelBriefings`."""
    return f"persist{to_pascal_case(plan.name)}"


def _build_index(plans: Sequence[Plan]) -> str:
    ordered = sorted(plans, key=lambda plan: plan.name)
    modules = {plan.name: f"./{build_file_name(plan).removesuffix('.ts')}.js" for plan in ordered}
    return join_lines(
        f"// {build_header('the specs')}",
        'import type { PersistStep } from "../step.js";',
        *(f'import {{ {build_function_name(plan)} }} from "{modules[plan.name]}";' for plan in ordered),
        *([""] if plans else []),
        *(_build_name_list("export type", _list_type_names(plan), modules[plan.name]) for plan in ordered),
        "",
        "/** Offer a step's result to every spec at once; each takes what its operations found. Never throws. */",
        "export async function persistStepResult(step: PersistStep): Promise<void> {",
        "  await Promise.all([",
        *(f"    {build_function_name(plan)}(step)," for plan in ordered),
        "  ]);",
        "}",
    )


def _build_module(plan: Plan) -> str:
    blocks = [line for mappings in _group_by_paths(plan.mappings) for line in _build_block(plan, mappings)]
    return join_lines(
        f"// {build_header(plan.file)}",
        *_build_imports(plan),
        "",
        *_build_row_type(plan),
        "",
        *_build_body_type(plan),
        "",
        *_build_filters_type(plan),
        "",
        build_title_comment(plan),
        f"export async function {build_function_name(plan)}(step: PersistStep): Promise<void> {{",
        "  const { operationId, result, run, stepResultId, recordedAt } = step;",
        "  const { pipeline_run_id } = run;",
        *blocks,
        "}",
    )


def _build_imports(plan: Plan) -> Iterator[str]:
    has_single = any(mapping.rows is None for mapping in plan.mappings)
    has_batched = any(mapping.rows is not None for mapping in plan.mappings)
    filter_types = _list_filter_types(plan).values()
    has_numbers = any("Numeral" in _VALUE_TYPES[column.type.name] for column in plan.fields)
    imported = {
        _choose_store_function(plan): has_single,
        "storeRows": has_batched,
        "type Comparison": "Comparison" in filter_types,
        "type FilterValue": any(name.startswith("FilterValue") for name in filter_types),
        "type ProvidedColumns": True,
        "type ProvidedFilters": True,
        "type RowBlock": has_single,
        "type RowsBlock": has_batched,
        "type SourceColumns": True,
    }
    yield f'import type {{ Json{", Numeral" if has_numbers else ""} }} from "../../json/exact.js";'
    if has_single:
        yield 'import { readPath } from "../../paths/read.js";'
    yield 'import type { PersistStep } from "../step.js";'
    yield _build_name_list("import", [name for name, is_used in imported.items() if is_used], "../store.js")


# --- types ----------------------------------------------------------------------------------------------------------


def _list_type_names(plan: Plan) -> list[str]:
    kinds = ("Body", "Element", "Filters", "Row") if plan.many else ("Body", "Filters", "Row")
    return [build_type_name(plan, kind) for kind in kinds]


def _build_row_type(plan: Plan) -> Iterator[str]:
    yield f"/** A row of `{plan.table}`, as the API answers it. */"
    yield f"export interface {build_type_name(plan, 'Row')} extends ProvidedColumns {{"
    yield from (f"  readonly {build_object_key(column.name)}: {_build_column_type(column)};" for column in plan.fields)
    yield "}"


def _build_body_type(plan: Plan) -> Iterator[str]:
    body, element = build_type_name(plan, "Body"), build_type_name(plan, "Element")
    columns = [f"  readonly {build_object_key(column.name)}: Json;" for column in plan.given_fields]
    operation = ["  readonly source_operation_id: string;"] if plan.has_normalizers_by_operation else []
    if plan.many:
        yield "/** One of the `rows` of a body: values as the research has them; the API normalizes and checks them. */"
        yield from (f"export interface {element} {{", *columns, "}", "")
        columns = [f"  readonly rows: readonly {element}[];"]
        yield f"/** The body of `POST {_build_endpoint(plan)}`. */"
    else:
        yield "/**"
        yield f" * The body of `POST {_build_endpoint(plan)}`: values as the research has them, which the"
        yield " * API normalizes and checks."
        yield " */"
    yield from (f"export interface {body} extends SourceColumns {{", *columns, *operation, "}")


def _build_filters_type(plan: Plan) -> Iterator[str]:
    name = build_type_name(plan, "Filters")
    yield f"/** The filters of `POST /api/v1/{plan.slug}/query`. */"
    if not plan.filters:
        yield f"export type {name} = ProvidedFilters;"
        return
    yield f"export interface {name} extends ProvidedFilters {{"
    yield from (f"  readonly {build_object_key(key)}?: {type_};" for key, type_ in _list_filter_types(plan).items())
    yield "}"


def _list_filter_types(plan: Plan) -> dict[str, str]:
    """Return the type of each declared filter. An array is found by operators only, not by a value or a list."""
    columns = [column for column in list_query_columns(plan).values() if column.field is not None]
    return {
        column.name: f"FilterValue<{_VALUE_TYPES[column.type.name]}>"
        if Operator.EQ in list_operators(column)
        else "Comparison"
        for column in columns
    }


def _build_column_type(column: Field) -> str:
    value = _VALUE_TYPES[column.type.name]
    return value if column.required or value == "Json" else f"{value} | null"


# --- the block ------------------------------------------------------------------------------------------------------


def _group_by_paths(mappings: Iterable[OperationMapping]) -> list[list[OperationMapping]]:
    """Return the mappings in groups that differ only in the operation, ordered by their first operation."""

    def list_texts(mapping: OperationMapping) -> tuple[str, ...]:
        texts = (mapping.when.text if mapping.when else "", *mapping.rows_texts)
        return (str(len(texts)), *texts, *(path.text for _, path in mapping.sources))

    order = {mapping.operation: place for place, mapping in enumerate(mappings)}
    groups = [list(group) for _, group in groupby(sorted(mappings, key=list_texts), key=list_texts)]
    return sorted(groups, key=lambda group: order[group[0].operation])


def _build_block(plan: Plan, mappings: Sequence[OperationMapping]) -> Iterator[str]:
    mapping = mappings[0]
    yield f'  if ({_build_operation_condition(mappings)} && result.status === "found" && result.output) {{'
    if mapping.rows is None:
        types = f"RowBlock<{build_type_name(plan, 'Row')}, {build_type_name(plan, 'Body')}>"
        lines = [*_build_body(plan, mapping), *_build_logged_columns(plan)]
        yield f"    await {_choose_store_function(plan)}(step, {{"
    else:
        types = f"RowsBlock<{build_type_name(plan, 'Element')}>"
        lines = [*_build_rows(plan, mapping)]
        yield "    await storeRows(step, {"
    if mapping.when is not None:
        yield from _build_guard(plan, mapping.when.text)
    yield f"      endpoint: {quote_string(_build_endpoint(plan))},"
    yield from lines
    yield f"      persisted: {quote_string(f'{plan.title} persisted to dedicated table')},"
    yield f"      notPersisted: {quote_string(f'{plan.title} not persisted to dedicated table')},"
    yield f"      failed: {quote_string(f'Failed to persist {_lower_first_letter(plan.title)} to dedicated table')},"
    yield f"    }} satisfies {types});"
    yield "  }"


def _build_operation_condition(mappings: Sequence[OperationMapping]) -> str:
    ids = [quote_string(mapping.operation) for mapping in mappings]
    return f"operationId === {ids[0]}" if len(ids) == 1 else f"[{', '.join(ids)}].includes(operationId)"


def _build_guard(plan: Plan, text: str) -> Iterator[str]:
    yield "      guard: {"
    yield f"        path: {quote_string(text)},"
    yield f"        filtered: {quote_string(f'{plan.title} filtered: `{text}` is falsy')},"
    yield "      },"


def _build_body(plan: Plan, mapping: OperationMapping) -> Iterator[str]:
    indent = " " * (12 if plan.many else 8)
    fields = [_build_read_line(indent, build_object_key(column.name), path.text) for column, path in mapping.sources]
    yield "      body: (document) => ({"
    if plan.many:  # an endpoint for many rows takes only `rows`
        yield from ("        rows: [", "          {", *fields, "          },", "        ],")
    else:
        yield from fields
    yield from _build_sources(plan)
    yield "      }),"


def _build_read_line(indent: str, key: str, path: str) -> str:
    line = f"{indent}{key}: readPath(document, {quote_string(path)}),"
    if len(line) <= _WIDTH:
        return line
    arguments = (f"{indent}  document,", f"{indent}  {quote_string(path)},")
    return "\n".join((f"{indent}{key}: readPath(", *arguments, f"{indent}),"))


def _build_logged_columns(plan: Plan) -> Iterator[str]:
    yield f"      logged: [{', '.join(quote_string(column.name) for column in plan.key_fields)}],"


def _build_rows(plan: Plan, mapping: OperationMapping) -> Iterator[str]:
    texts = [quote_string(text) for text in mapping.rows_texts]
    rows = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    yield f"      title: {quote_string(plan.title)},"
    yield f"      rows: {rows},"
    yield f"      needsObjects: {'true' if mapping.needs_objects else 'false'},"
    yield "      fields: {"
    for column, path in mapping.sources:
        yield f"        {build_object_key(column.name)}: {quote_string(path.text)},"
    yield "      },"
    yield "      sources: {"
    yield from _build_sources(plan)
    yield "      },"


def _build_sources(plan: Plan) -> Iterator[str]:
    if plan.has_normalizers_by_operation:
        yield "        source_operation_id: operationId,"
    yield from (f"        {name}: {value}," for name, value in _SOURCE_VALUES)


def _choose_store_function(plan: Plan) -> str:
    return "storeSingleRow" if plan.many else "storeRow"


def _build_endpoint(plan: Plan) -> str:
    return f"/api/internal/{plan.slug}/upsert"


# --- spelling -------------------------------------------------------------------------------------------------------


def _build_name_list(keyword: str, names: Sequence[str], module: str) -> str:
    """Return an import or export statement, on one line where it fits."""
    line = f'{keyword} {{ {", ".join(names)} }} from "{module}";'
    if len(line) <= _WIDTH:
        return line
    return "\n".join((f"{keyword} {{", *(f"  {name}," for name in names), f'}} from "{module}";'))


def build_object_key(key: str) -> str:
    """Return a key for an object literal; `__proto__` is bracketed, since it would set the prototype."""
    return key if key.isidentifier() and key.isascii() and key != "__proto__" else f"[{quote_string(key)}]"


def _lower_first_letter(title: str) -> str:
    """Return a title for the middle of a sentence: `Company brief` in lower case, `ICP job titles` unchanged."""
    first, _, rest = title.partition(" ")
    if first.isupper() and len(first) > 1:
        return title
    return f"{first[:1].lower()}{first[1:]}{f' {rest}' if rest else ''}"


def quote_string(value: Any) -> str:
    """Return a string, or any other JSON value, as a TypeScript literal, which JSON text always is."""
    return json.dumps(value, ensure_ascii=False)


def build_title_comment(plan: Plan) -> str:
    """Return a comment with the title and the description of a plan."""
    title, description = _flatten_prose(plan.title).rstrip("."), _flatten_prose(plan.description)
    return f"/** {f'{title}. {description}'.rstrip()} */"


def _flatten_prose(text: str) -> str:
    """Return a text of a spec on one line, escaped so that it cannot end the comment."""
    return " ".join(text.split()).replace("*/", "* /")


def join_lines(*lines: str) -> str:
    """Join lines to the text of a file."""
    return "\n".join(lines) + "\n"
