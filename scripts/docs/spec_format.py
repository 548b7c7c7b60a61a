"""Build `docs/reference/format.md`: every key of a spec, with the description that editors show from the JSON Schema.

`specs/README.md` explains with examples how to write a spec.
"""

from __future__ import annotations

import json
from typing import Any, Final

from engine.generate.docs.markdown import build_page, build_table, format_code, format_codes
from engine.generate.spec_json_schema import build_json_schema
from engine.jmespath.functions import FUNCTIONS, REFUSED
from engine.provided_columns import PROVIDED_COLUMNS
from engine.spec.models import CORE_TABLES, RESERVED_PARAMETERS, RESERVED_SLUGS, RESERVED_SPEC_NAMES, SYSTEM_COLUMNS

FORMAT_PAGE: Final = "docs/reference/format.md"
_PARTS: Final = (
    ("FieldSpec", "Keys of a field", "Under `fields`, by column name."),
    ("ResearchSpec", "Keys of `research`", "How the operation of the spec is executed."),
    ("InputSpec", "Keys of an input", "Under `research.inputs`, by the name that the prompt and the output use."),
    ("Override", "Keys of an operation", "Under `operations`, where that is a mapping from id to what differs."),
    ("FieldOverride", "Keys of a field of an operation", "Under `operations.<id>.fields`, by column name."),
    ("TargetSpec", "Keys of a backfill target", "Each entry of `backfill`."),
)
_ROOTS: Final = (
    ("output", "the operation's output"),
    ("context", "the cumulative context, after this output was merged into it"),
    ("step_input", "the step's own input: the context before"),
    ("run", "`org_id`, `company_id`, `submission_id`, `pipeline_run_id`, `step_position`"),
    ("operation", "`id`, `status`"),
    ("item", "under `rows`: one element"),
    ("parent", "under `rows: [path, path]`: the element of the first array around it"),
)


def build_format_page() -> str:
    """Return the text of the page."""
    schema = build_json_schema()
    parts = [
        part
        for name, title, where in _PARTS
        for part in (f"## {title}", where, _build_keys_table(schema["$defs"][name]))
    ]
    return build_page(
        "engine/spec/models.py",
        "# The format, key by key",
        "By example it is told in [specs/README.md](../../specs/README.md); types and normalizers have"
        " [a page of their own](normalizers.md).",
        "## Keys of a spec",
        _build_keys_table(schema),
        *parts,
        "## Paths",
        f"JMESPath, over a document with these roots; null means missing. Functions: {format_codes(FUNCTIONS)}.",
        build_table(("root", "holds"), [(format_code(name), what) for name, what in _ROOTS]),
        "`parse_json(text)` is none of JMESPath's own: it opens JSON inside a string, exactly, and is null for what is"
        " no JSON, what nests deeper than 256 levels or what Postgres cannot hold; what is no string is left as"
        " it is.",
        "Refused, since the live block (TypeScript) and the backfill (Python) would not give the same answer:",
        build_table(("function", "why", "instead"), [(format_code(name), *texts) for name, texts in REFUSED.items()]),
        "## Names that are taken",
        f"Columns every table has, which no spec writes: {format_codes(PROVIDED_COLUMNS)}."
        f" Words of the endpoints: {format_codes(RESERVED_PARAMETERS)}."
        f" Columns of Postgres: {format_codes(SYSTEM_COLUMNS)}."
        f" Tables of the engine: {format_codes(CORE_TABLES)}."
        f" Names `dex generate` uses itself: {format_codes(RESERVED_SPEC_NAMES)}."
        f" Slugs of endpoints: {format_codes(RESERVED_SLUGS)}.",
        maker="written by `make generate`",
    )


def _build_keys_table(part: dict[str, Any]) -> str:
    required = part.get("required", [])
    rows = [
        (
            format_code(name),
            _describe_kind(key),
            "needed" if name in required else _format_default(key),
            key["description"],
            _format_examples(key),
        )
        for name, key in part["properties"].items()
    ]
    return build_table(("key", "is", "default", "what it says", "example"), rows)


def _describe_kind(key: dict[str, Any]) -> str:
    if "anyOf" in key:
        return " or ".join(_describe_kind(choice) for choice in key["anyOf"])
    if "const" in key:
        return format_code(json.dumps(key["const"]))
    if "$ref" in key:
        return "mapping"
    type_names = {"string": "text", "boolean": "true or false", "array": "list", "object": "mapping"}
    if "enum" in key and len(key["enum"]) <= 3:
        return " or ".join(map(format_code, key["enum"]))
    return type_names[key["type"]]


def _format_default(key: dict[str, Any]) -> str:
    default = key.get("default")
    return "" if default in (None, "", [], {}) else format_code(json.dumps(default).strip('"'))


def _format_examples(key: dict[str, Any]) -> str:
    examples = key.get("examples", ())
    return "<br>".join(format_code(_format_flow(example)) for example in examples)


def _format_flow(value: Any) -> str:
    """Format a list or a mapping in YAML's flow style, on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_format_flow(part)}' for name, part in value.items())}}}"
    return f"[{', '.join(map(_format_flow, value))}]" if isinstance(value, list) else str(value)
