"""Plans -> the typed functions of `engine/generated`.

In: plans. Out: Python text by path. It must not know how a row is stored: each function only names its parameters and
calls `engine.functions.call`.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from engine.generate.header import header
from engine.plan import Field, Plan

FOLDER: Final = "engine/generated"
#: Names a generated module uses itself.
_TAKEN: Final = ("Any", "call")
_WIDTH: Final = 120
_SOURCES: Final = ("source_submission_id", "source_pipeline_run_id")


def emit(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of `engine/generated/*.py` by path: one module per plan, and the package that re-exports them."""
    files = {f"{FOLDER}/{module(plan)}.py": _module(plan) for plan in plans}
    return {f"{FOLDER}/__init__.py": _package(plans), **files}


def module(plan: Plan) -> str:
    """Return the name of the plan's module."""
    return f"{plan.name}_" if keyword.iskeyword(plan.name) or plan.name.startswith("__") else plan.name


def parameter(name: str) -> str:
    """Return the parameter that stands for a column: its name, with `_` behind a word that is taken already."""
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


def upsert_signature(plan: Plan) -> str:
    """Return the head of the upsert function, from `def` to the colon."""
    parameters = ["rows: list[dict[str, Any]]"] if plan.many else list(map(_value, plan.fields))
    answer = "list[dict[str, Any]]" if plan.many else "dict[str, Any]"
    sources = [f"{name}: str | None = None" for name in _SOURCES]
    return _signature(f"upsert_{plan.row_name}", ["org_id: str", *parameters, *sources], answer)


def query_signature(plan: Plan) -> str:
    """Return the head of the query function, from `def` to the colon."""
    filters = [f"{parameter(item.name)}: {_optional(item)} = None" for item in plan.filters]
    parameters = ["org_id: str", *filters, "limit: int = 100", "offset: int = 0"]
    return _signature(f"query_{plan.name}", parameters, "list[dict[str, Any]]")


def _signature(name: str, parameters: Iterable[str], answer: str) -> str:
    listed = "".join(f"    {item},\n" for item in ("*", *parameters))
    return f"def {name}(\n{listed}) -> {answer}:"


def _value(item: Field) -> str:
    if item.required:
        return f"{parameter(item.name)}: {item.type.annotation}"
    return f"{parameter(item.name)}: {_optional(item)} = None"


def _optional(item: Field) -> str:
    return "Any" if item.type.annotation == "Any" else f"{item.type.annotation} | None"


def _module(plan: Plan) -> str:
    return "\n".join(
        (
            f"# {header(plan.file)}",
            f'"""{_summary(plan)}"""',
            "",
            "from typing import Any",
            "",
            "from engine.functions import call",
            "",
            "",
            _upsert_many(plan) if plan.many else _upsert(plan),
            "",
            "",
            _query(plan),
            "",
        )
    )


def _summary(plan: Plan) -> str:
    """The spec's title and description as sentences, on as many lines as they need."""
    text = f"{_line(plan.title)}. {_line(plan.description)}".strip()
    first, *more = textwrap.wrap(text, _WIDTH - 6, break_long_words=False, break_on_hyphens=False)
    end = "\n" if more else " " if first.endswith('"') else ""
    return "\n".join((first, *more)) + end


def _upsert(plan: Plan) -> str:
    lines = (
        upsert_signature(plan),
        _docstring("Insert one row, or update the stored one that has its key.", [_key(plan), *_upsert_facts(plan)]),
        "    return call.upsert(",
        f'        "{plan.name}",',
        "        org_id=org_id,",
        _mapping("values", (item.name for item in plan.fields)),
        *(f"        {name}={name}," for name in _SOURCES),
        "    )",
    )
    return "\n".join(lines)


def _upsert_many(plan: Plan) -> str:
    fields = ", ".join(f"`{item.name}`" for item in plan.fields)
    facts = [f"Each of `rows` is a mapping of {fields}.", "Of rows with one key the last wins."]
    lines = (
        upsert_signature(plan),
        _docstring("Insert rows, or update the stored ones, all or none.", [*facts, _key(plan), *_upsert_facts(plan)]),
        "    return call.upsert_many(",
        f'        "{plan.name}",',
        "        org_id=org_id,",
        "        rows=rows,",
        *(f"        {name}={name}," for name in _SOURCES),
        "    )",
    )
    return "\n".join(lines)


def _query(plan: Plan) -> str:
    normalized = [item for item in plan.filters if item.normalizers]
    facts = [_normalized(normalized, "as the stored values are")] if normalized else []
    filters = _mapping("filters", (item.name for item in plan.filters)) if plan.filters else "        filters={},"
    lines = (
        query_signature(plan),
        _docstring(
            "Return the rows that match every filter given, newest first.",
            ["`limit` is 1 to 1000.", *facts],
            "Refused for a value that cannot be used, StoreUnavailable.",
        ),
        "    return call.query(",
        f'        "{plan.name}",',
        "        org_id=org_id,",
        filters,
        "        limit=limit,",
        "        offset=offset,",
        "    )",
    )
    return "\n".join(lines)


def _key(plan: Plan) -> str:
    return f"The key is {_listed(plan.conflict)}."


def _upsert_facts(plan: Plan) -> list[str]:
    normalized = [item for item in plan.fields if item.normalizers]
    kept = [item for item in plan.fields if item.on_missing == "keep" and not item.required and not item.key]
    facts = [_normalized(normalized)] if normalized else []
    if kept:
        cleared = [item.name for item in plan.fields if item.on_missing == "clear"]
        rest = f"; for {_listed(cleared)} it clears it" if cleared else ""
        facts.append(f"None leaves what is stored{rest}.")
    return facts


def _normalized(items: Sequence[Field], how: str = "") -> str:
    pairs = [f"`{item.name}` by {_listed([one.name for one in item.normalizers])}" for item in items]
    return f"Normalized{' ' if how else ''}{how}: {', '.join(pairs)}."


def _listed(names: Sequence[str]) -> str:
    return _joined([f"`{name}`" for name in names])


def _joined(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


_UPSERT_RAISES: Final = (
    "Refused for a value that cannot be stored, SourceRefused for a source of another organisation, StoreRefused,"
    " StoreUnavailable; nothing is written then."
)


def _docstring(summary: str, facts: Sequence[str], raises: str = _UPSERT_RAISES) -> str:
    """A docstring in three paragraphs: what it does, the facts of this plan, what may be raised."""
    paragraphs = [_wrapped(text) for text in (summary, " ".join(facts), f"Raises {raises}")]
    return "\n\n".join(paragraphs).replace("    ", '    """', 1) + '\n    """'


def _wrapped(text: str) -> str:
    margin = "    "
    line = _line(text)
    return textwrap.fill(
        line, 116, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )


def _mapping(name: str, columns: Iterable[str]) -> str:
    pairs = "".join(f'            "{column}": {parameter(column)},\n' for column in columns)
    return f"        {name}={{\n{pairs}        }},"


def _line(text: str) -> str:
    """Prose of a spec on one line of a docstring, where nothing in it can end or escape the string."""
    return " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")


def _package(plans: Sequence[Plan]) -> str:
    ordered = sorted(plans, key=module)
    names = sorted(name for plan in plans for name in _functions(plan))
    exported = "".join(f'    "{name}",\n' for name in names)
    lines = (
        f"# {header('the specs')}",
        '"""A typed upsert and a typed query per spec."""',
        "",
        *(_import(plan) for plan in ordered),
        *([""] if plans else []),
        f"__all__ = [\n{exported}]" if names else "__all__: list[str] = []",
        "",
    )
    return "\n".join(lines)


def _functions(plan: Plan) -> tuple[str, str]:
    return f"query_{plan.name}", f"upsert_{plan.row_name}"


def _import(plan: Plan) -> str:
    head, names = f"from engine.generated.{module(plan)} import ", _functions(plan)
    line = head + ", ".join(names)
    return line if len(line) <= _WIDTH else f"{head}(\n" + "".join(f"    {name},\n" for name in names) + ")"
