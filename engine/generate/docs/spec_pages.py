"""Plans -> `docs/reference`: a page per spec, and the index.

In: plans. Out: Markdown by path. It must not know how the endpoints answer beyond their shapes; examples are made of
the plan's own columns.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from typing import Any, Final

from engine.columns import SOURCE_COLUMNS, columns
from engine.generate import python
from engine.generate.docs.markdown import block, code, codes, json_block, page, table
from engine.plan import Field, Mapping, Plan

FOLDER: Final = "docs/reference"
_RUN: Final = "5f0b1c1e-3f0a-4b1e-9f7e-0a6f3b1d2c4e"
_SUBMISSION: Final = "0921f10b-890b-47ab-8ceb-b1986df51cbb"
_ORG: Final = "b0293785-aa7a-4234-8201-cc47305295f8"
_MOMENT: Final = "2026-05-15T18:52:36+00:00"
_PROVIDED: Final[MappingType[str, Any]] = {
    "id": "7d4f0f5e-5b0a-4c43-9a86-1f3c2b9d8e70",
    "org_id": _ORG,
    "source_submission_id": _SUBMISSION,
    "source_pipeline_run_id": _RUN,
    "source_recorded_at": _MOMENT,
    "created_at": _MOMENT,
    "updated_at": _MOMENT,
}

#: What an example shows for a type, and for a type behind a normalizer.
_BY_TYPE: Final[MappingType[str, Any]] = {
    "jsonb": {"summary": "as the provider wrote it"},
    "boolean": True,
    "integer": 12,
    "bigint": 1200,
    "numeric": 55.6,
    "date": "2026-05-15",
    "timestamptz": _MOMENT,
    "uuid": "3f8e2f0a-6f7c-4d39-8d0d-2a3b1c4d5e6f",
    "text[]": ["one", "two"],
}
_BY_NORMALIZER: Final[MappingType[str, str]] = {
    "domain": "acme.com",
    "registrable_domain": "acme.com",
    "linkedin_url": "https://www.linkedin.com/in/ada-lovelace",
    "url": "https://www.acme.com/about",
    "email": "ada@acme.com",
    "phone": "+14155552671",
}


def emit(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the pages by path."""
    return {f"{FOLDER}/README.md": _index(plans), **{f"{FOLDER}/{plan.name}.md": spec_page(plan) for plan in plans}}


def spec_page(plan: Plan) -> str:
    """Return the page of one spec."""
    return page(
        plan.file,
        f"# {plan.title}",
        plan.description,
        table(("", ""), _facts(plan)),
        "## Columns",
        table(("column", "type", "path", "normalized", "missing", "filter", "what it is"), _columns(plan)),
        f"Every table has {codes(_PROVIDED)} beside them; a spec never names those.",
        "## Write",
        *_write(plan),
        "## Ask",
        *_ask(plan),
        "## From Python",
        block("python", _signatures(plan)),
        "## From stored step results",
        *_backfill(plan),
    )


def _index(plans: Sequence[Plan]) -> str:
    rows = [
        (f"[{plan.title}]({plan.name}.md)", codes(plan.operations), code(plan.table), codes(plan.conflict))
        for plan in plans
    ]
    return page(
        "the specs",
        "# Reference",
        "One page per spec; what they share is in [normalizers and types](normalizers.md), [errors](../errors.md) and"
        " [the format](format.md), which [specs/README.md](../../specs/README.md) tells by example.",
        table(("spec", "operations", "table", "key"), rows),
    )


def _facts(plan: Plan) -> list[tuple[str, str]]:
    facts = [
        ("spec", code(plan.file)),
        ("operations", codes(plan.operations)),
        ("table", code(plan.table)),
        ("key", codes(plan.conflict)),
    ]
    for name, paths in (("rows", _by_operation(plan, "rows")), ("only when", _by_operation(plan, "when"))):
        facts += [(name, paths)] if paths else []
    if plan.many:
        gone = "deleted" if plan.on_absent == "delete" else "kept"
        facts.append(("rows whose element is gone", gone))
    return facts


def _by_operation(plan: Plan, what: str) -> str:
    return _alternatives({mapping.operation: getattr(mapping, what) for mapping in plan.mappings})


def _alternatives(paths: MappingType[str, Any]) -> str:
    """One path, or one per operation where they differ."""
    texts = {operation: path.text if path else "" for operation, path in paths.items()}
    if len(set(texts.values())) == 1:
        return code(next(iter(texts.values())))
    return "<br>".join(f"{code(operation)}: {code(text) or 'none'}" for operation, text in texts.items())


def _columns(plan: Plan) -> list[tuple[str, ...]]:
    return [
        (
            code(item.name),
            code(item.type.name),
            _alternatives({mapping.operation: _path(plan, mapping, item) for mapping in plan.mappings}),
            codes(one.name for one in item.normalizers),
            _missing(item),
            "yes" if item.filter else "",
            item.description,
        )
        for item in plan.fields
    ]


def _path(plan: Plan, mapping: Mapping, item: Field) -> Any:
    return mapping.paths[plan.fields.index(item)]


def _missing(item: Field) -> str:
    if item.required:
        return "the row is rejected"
    if item.key:
        return "is a key of its own"
    return "the stored value stays" if item.on_missing == "keep" else "is stored as NULL"


def _write(plan: Plan) -> tuple[str, ...]:
    row = {item.name: _example(item) for item in plan.fields}
    body = {"rows": [row]} if plan.many else row
    sources = {"source_submission_id": _SUBMISSION, "source_pipeline_run_id": _RUN}
    answer: Any = {"data": [_stored(plan)] if plan.many else _stored(plan), "meta": {"outcome": "written"}}
    required = [item.name for item in plan.fields if item.required]
    return (
        f"`POST /api/internal/{plan.slug}/upsert` with the internal key and `x-internal-org-id`."
        f"{f' Needed: {codes(required)}.' if required else ''} `meta.outcome` is `written`, `unchanged` or `superseded`"
        " (the stored row comes from a newer source).",
        json_block({**body, **sources}),
        json_block(answer),
    )


def _ask(plan: Plan) -> tuple[str, ...]:
    filters = {item.name: _example(item) for item in plan.filters[:1]}
    offered = (
        f"Filters: {codes(item.name for item in plan.filters)}; each takes one value or a list." if filters else ""
    )
    return (
        f"`POST /api/v1/{plan.slug}/query` as a tenant, or as a super-admin who names `org_id`. {offered} `limit` 1 to"
        " 1000 (100), then `cursor` with `meta.next_cursor`, or `offset`; `fields` names the columns to show."
        " `data` holds rows like the one above, newest first.",
        json_block({**filters, "limit": 10}),
    )


def _signatures(plan: Plan) -> str:
    imported = f"from engine.generated import query_{plan.name}, upsert_{plan.row_name}"
    return "\n\n".join((imported, python.upsert_signature(plan) + " ...", python.query_signature(plan) + " ..."))


def _backfill(plan: Plan) -> tuple[str, ...]:
    command = f"`dex backfill {plan.name}` writes what is pending; `dex coverage` shows the accounts."
    if not plan.targets:
        return (command,)
    rows = [(code(target.org_id), codes(target.submissions)) for target in plan.targets]
    return (command, "Default targets of the backfill script:", table(("organisation", "submissions"), rows))


def _stored(plan: Plan) -> dict[str, Any]:
    """A row as answers show it: documents last."""
    values = {**_PROVIDED, **{item.name: _example(item) for item in plan.fields}}
    names = columns(plan)
    documents = [name for name in names if name not in _PROVIDED and plan.field(name).type.name == "jsonb"]
    return {name: values[name] for name in (*(name for name in names if name not in documents), *documents)}


def _example(item: Field) -> Any:
    for normalizer in reversed(item.normalizers):
        if normalizer.name in _BY_NORMALIZER and item.type.name == "text":
            return _BY_NORMALIZER[normalizer.name]
    return _BY_TYPE.get(item.type.name, f"the {item.name.replace('_', ' ')}")


assert _PROVIDED.keys() >= SOURCE_COLUMNS.keys()
