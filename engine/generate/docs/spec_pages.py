"""Build `docs/reference` from plans: a page per spec, and the index.

The examples of bodies and answers are made from the plan's own columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engine.generate.docs.markdown import (
    build_code_block,
    build_json_block,
    build_page,
    build_table,
    escape_html,
    format_code,
    format_codes,
)
from engine.generate.examples import (
    PROVIDED_EXAMPLES,
    build_filters_example,
    build_upsert_answer_example,
    build_upsert_example,
)
from engine.generate.python import build_query_signature, build_upsert_signature
from engine.plan import Field, OperationMapping, Plan
from engine.spec.enums import OnAbsent, OnInvalid, OnMissing

FOLDER: Final = "docs/reference"
#: The source columns that the example of an upsert names.
_SHOWN_SOURCES: Final = ("source_submission_id", "source_pipeline_run_id")


def build_spec_pages(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of `docs/reference/*.md` by path."""
    return {
        f"{FOLDER}/README.md": _build_index(plans),
        **{f"{FOLDER}/{plan.name}.md": build_spec_page(plan) for plan in plans},
    }


def build_spec_page(plan: Plan) -> str:
    """Return the text of the page of one spec."""
    return build_page(
        plan.file,
        f"# {escape_html(plan.title)}",
        escape_html(plan.description),
        build_table(("", ""), _list_facts(plan)),
        "## Columns",
        build_table(("column", "type", "path", "normalized", "missing", "filter", "what it is"), _list_columns(plan)),
        f"Every table has {format_codes(PROVIDED_EXAMPLES)} beside them; a spec never names those.",
        "## Write",
        *_build_write_section(plan),
        "## Ask",
        *_build_query_section(plan),
        "## From Python",
        build_code_block("python", _build_signatures(plan)),
        "## From stored step results",
        *_build_backfill_section(plan),
    )


def _build_index(plans: Sequence[Plan]) -> str:
    rows = [
        (
            f"[{escape_html(plan.title)}]({plan.name}.md)",
            format_codes(plan.operations),
            format_code(plan.table),
            format_codes(plan.conflict),
        )
        for plan in plans
    ]
    return build_page(
        "the specs",
        "# Reference",
        "One page per spec; what they share is in [normalizers and types](normalizers.md), [errors](../errors.md) and"
        " [the format](format.md), which [specs/README.md](../../specs/README.md) tells by example.",
        build_table(("spec", "operations", "table", "key"), rows),
    )


def _list_facts(plan: Plan) -> list[tuple[str, str]]:
    facts = [
        ("spec", format_code(plan.file)),
        ("operations", format_codes(plan.operations)),
        ("table", format_code(plan.table)),
        ("key", format_codes(plan.conflict)),
    ]
    guards = {
        "rows": {mapping.operation: " / ".join(mapping.rows_texts) for mapping in plan.mappings},
        "only when": {mapping.operation: mapping.when.text if mapping.when else "" for mapping in plan.mappings},
    }
    for name, paths in guards.items():
        if text := _join_alternatives({operation: format_code(path) for operation, path in paths.items()}):
            facts.append((name, text))
    if plan.many:
        gone = "deleted" if plan.on_absent is OnAbsent.DELETE else "kept"
        facts.append(("rows whose element is gone", gone))
    return facts


def _join_alternatives(texts: Mapping[str, str]) -> str:
    """Return the text that all operations have, or each operation with its own text."""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "<br>".join(f"{format_code(operation)}: {text or 'none'}" for operation, text in texts.items())


def _list_columns(plan: Plan) -> list[tuple[str, ...]]:
    return [
        (
            format_code(column.name),
            format_code(column.type.name),
            _join_alternatives(
                {mapping.operation: format_code(_find_path_text(plan, mapping, column)) for mapping in plan.mappings}
            ),
            _format_normalizers(plan, column),
            _describe_missing(column),
            "yes" if column.filter else "",
            escape_html(column.description),
        )
        for column in plan.fields
    ]


def _find_path_text(plan: Plan, mapping: OperationMapping, column: Field) -> str:
    path = mapping.paths[plan.fields.index(column)]
    return path.text if path else f"the first of {', '.join(column.coalesce)}"


def _format_normalizers(plan: Plan, column: Field) -> str:
    """Return the normalizers' names: those of all operations, or per operation where they differ."""
    texts = {
        mapping.operation: format_codes(normalizer.name for normalizer in own.normalizers)
        for mapping, own in zip(plan.mappings, plan.list_operation_fields(column.name), strict=True)
    }
    return _join_alternatives(texts)


def _describe_missing(column: Field) -> str:
    missing = _describe_absence(column)
    return f"{missing}; an invalid value is missing" if column.on_invalid is OnInvalid.MISSING else missing


def _describe_absence(column: Field) -> str:
    if column.required:
        return "the row is rejected"
    if column.key:
        return "is a key of its own"
    return "the stored value stays" if column.on_missing is OnMissing.KEEP else "is stored as NULL"


def _build_write_section(plan: Plan) -> tuple[str, ...]:
    required = [column.name for column in plan.given_fields if column.required]
    needed = f" Needed: {format_codes(required)}." if required else ""
    return (
        f"`POST /api/internal/{plan.slug}/upsert` with the internal key and `x-internal-org-id`.{needed} `meta.outcome`"
        " is `written`, `unchanged` or `superseded` (the stored row comes from a newer source).",
        build_json_block(build_upsert_example(plan) | {name: PROVIDED_EXAMPLES[name] for name in _SHOWN_SOURCES}),
        build_json_block(build_upsert_answer_example(plan)),
    )


def _build_query_section(plan: Plan) -> tuple[str, ...]:
    declared = format_codes(column.name for column in plan.filters)
    searched = f" `q` searches the words of {format_codes(plan.search)}." if plan.search else ""
    return (
        f"`POST /api/v1/{plan.slug}/query` as a tenant, or as a super-admin who names `org_id`."
        f" Filters: {f'{declared} and ' if declared else ''}the columns every table has. Each takes a value, a list, or"
        f" operators; `order`, `fields`, `count`, `cursor` and the rest stand in"
        f" [the query language](../howto/query.md).{searched}",
        build_json_block({**build_filters_example(plan), "limit": 10}),
        f"`GET /api/v1/{plan.slug}/{{id}}` answers one row.",
    )


def _build_signatures(plan: Plan) -> str:
    imported = f"from engine.generated import query_{plan.name}, upsert_{plan.row_name}"
    return "\n\n".join((imported, build_upsert_signature(plan) + " ...", build_query_signature(plan) + " ..."))


def _build_backfill_section(plan: Plan) -> tuple[str, ...]:
    command = f"`dex backfill {plan.name}` writes what is pending; `dex coverage` shows the accounts."
    if not plan.targets:
        return (command,)
    rows = [(format_code(target.org_id), format_codes(target.submissions)) for target in plan.targets]
    return (command, "Default targets of the backfill script:", build_table(("organisation", "submissions"), rows))
