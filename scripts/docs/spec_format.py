"""The models of a spec -> `docs/reference/format.md`: every key, in the words editors show.

In: nothing but the JSON Schema of a spec. Out: one page. It must not know any spec; how to write one is told by example
in `specs/README.md`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from engine.generate.docs.markdown import code, page, table
from engine.generate.json_schema import schema
from engine.jmespath.functions import FUNCTIONS, REFUSED
from engine.plan import Plan
from engine.spec.models import CORE_TABLES, GENERATED, PROVIDED, RESERVED, SYSTEM

FILE: Final = "docs/reference/format.md"
_PARTS: Final = (
    ("FieldSpec", "Keys of a field", "Under `fields`, by column name."),
    ("Override", "Keys of an operation", "Under `operations`, where that is a mapping from id to what differs."),
    ("FieldOverride", "Keys of a field of an operation", "Under `operations.<id>.fields`, by column name."),
    ("TargetSpec", "Keys of a backfill target", "Each entry of `backfill`."),
)
_ROOTS: Final = (
    ("output", "the operation's output"),
    ("context", "the cumulative context, after this output was merged into it"),
    ("run", "`org_id`, `submission_id`, `pipeline_run_id`, `step_position`"),
    ("operation", "`id`, `status`"),
    ("item", "under `rows`: one element"),
)


def emit(plans: Sequence[Plan] = ()) -> dict[str, str]:
    """Return the page by path. It is the same whatever the plans."""
    whole = schema()
    parts = [part for name, title, where in _PARTS for part in (f"## {title}", where, _keys(whole["$defs"][name]))]
    text = page(
        "engine/spec/models.py",
        "# The format, key by key",
        "By example it is told in [specs/README.md](../../specs/README.md); types and normalizers have"
        " [a page of their own](normalizers.md).",
        "## Keys of a spec",
        _keys(whole),
        *parts,
        "## Paths",
        "JMESPath, over a document with these roots; null means missing. Functions:"
        f" {', '.join(code(name) for name in FUNCTIONS)}.",
        table(("root", "holds"), [(code(name), what) for name, what in _ROOTS]),
        "Refused, since the live block (TypeScript) and the backfill (Python) would not give the same answer:",
        table(("function", "why", "instead"), [(code(name), *words) for name, words in REFUSED.items()]),
        "## Names that are taken",
        f"Columns every table has, which no spec writes: {', '.join(map(code, PROVIDED))}. Words of the endpoints:"
        f" {', '.join(map(code, RESERVED))}. Columns of Postgres: {', '.join(map(code, SYSTEM))}. Tables of the engine:"
        f" {', '.join(map(code, CORE_TABLES))}. Names `dex generate` uses itself: {', '.join(map(code, GENERATED))}.",
        maker="written by `make generate`",
    )
    return {FILE: text}


def _keys(part: dict[str, Any]) -> str:
    required = part.get("required", [])
    rows = [
        (code(name), _kind(key), "needed" if name in required else _default(key), key["description"], _example(key))
        for name, key in part["properties"].items()
    ]
    return table(("key", "is", "default", "what it says", "example"), rows)


def _kind(key: dict[str, Any]) -> str:
    if "anyOf" in key:
        return " or ".join(_kind(one) for one in key["anyOf"])
    if "const" in key:
        return code(json.dumps(key["const"]))
    words = {"string": "text", "boolean": "true or false", "array": "list", "object": "mapping"}
    if "enum" in key and len(key["enum"]) <= 3:
        return " or ".join(map(code, key["enum"]))
    return words[key["type"]]


def _default(key: dict[str, Any]) -> str:
    default = key.get("default")
    return "" if default in (None, "", [], {}) else code(json.dumps(default).strip('"'))


def _example(key: dict[str, Any]) -> str:
    examples = key.get("examples", ())
    return "<br>".join(code(one if isinstance(one, str) else _flow(one)) for one in examples)


def _flow(value: Any) -> str:
    """A list as YAML writes it on one line."""
    return f"[{', '.join(map(_flow, value))}]" if isinstance(value, list) else str(value)
