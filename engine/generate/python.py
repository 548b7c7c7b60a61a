"""Build the typed functions of `engine/generated` from plans.

A module has the types of one spec (the row, the filters) and functions that only name their parameters and call
`engine.functions.call` or `engine.functions.explain`.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from engine.columns import QueryColumn, list_columns, list_query_columns
from engine.generate.header import build_header
from engine.generate.python_text import build_docstring, escape_prose, join_names
from engine.generate.type_names import build_type_name
from engine.plan import Field, Plan
from engine.provided_columns import PROVIDED_COLUMNS, SOURCE_COLUMNS
from engine.rows.filters import Operator, list_operators
from engine.spec.enums import OnMissing

FOLDER: Final = "engine/generated"
#: Names that a generated module uses, and that a parameter of the same name would hide.
_RESERVED_NAMES: Final = ("Any", "call", "explain", "_cast")
#: Names of types in the body of a TypedDict, which a column of the same name would hide.
_TYPE_NAMES: Final = frozenset(("Any", "call", "explain", "bool", "float", "int", "list", "str"))
_WIDTH: Final = 120
_SOURCE_PARAMETERS: Final = ("source_submission_id", "source_pipeline_run_id")


def build_python_files(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of `engine/generated/*.py` by path: a module per plan, and the package that exports them all."""
    files = {f"{FOLDER}/{build_module_name(plan)}.py": _build_module(plan) for plan in plans}
    return {f"{FOLDER}/__init__.py": _build_package(plans), **files}


def build_module_name(plan: Plan) -> str:
    """Return the name of the plan's module."""
    return f"{plan.name}_" if keyword.iskeyword(plan.name) or plan.name.startswith("__") else plan.name


def build_parameter_name(name: str) -> str:
    """Return the parameter for a column: its name, with `_` appended if Python or the module uses the name."""
    return f"{name}_" if keyword.iskeyword(name) or name in _RESERVED_NAMES else name


def build_upsert_signature(plan: Plan) -> str:
    """Return the signature of the upsert function, from `def` to the colon."""
    parameters = ["rows: list[dict[str, Any]]"] if plan.many else list(map(_build_value_parameter, plan.given_fields))
    row = build_type_name(plan, "Row")
    sources = [f"{name}: str | None = None" for name in _SOURCE_PARAMETERS]
    return _build_signature(
        f"upsert_{plan.row_name}", ["org_id: str", *parameters, *sources], f"list[{row}]" if plan.many else row
    )


def build_query_signature(plan: Plan) -> str:
    """Return the signature of the query function, from `def` to the colon."""
    filters = {column.name: _build_filter_annotation(column) for column in list_query_columns(plan).values()}
    declared = [name for name in filters if name not in PROVIDED_COLUMNS]
    provided = [name for name in filters if name in PROVIDED_COLUMNS]
    parameters = [
        "org_id: str",
        *(f"{build_parameter_name(name)}: {filters[name]} = None" for name in declared),
        "limit: int = 100",
        "offset: int = 0",
        *(f"{name}: {annotation} | None = None" for name, annotation in _list_query_options(plan).items()),
        *(f"{build_parameter_name(name)}: {filters[name]} = None" for name in provided),
    ]
    return _build_signature(f"query_{plan.name}", parameters, f"call.Rows[{build_type_name(plan, 'Row')}]")


def build_explain_signature(plan: Plan) -> str:
    """Return the signature of the function that explains a row, from `def` to the colon."""
    parameters = ["org_id: str", "id: str", "field: str | None = None"]
    return _build_signature(f"explain_{plan.row_name}", parameters, "explain.ExplainedRow")


def build_history_signature(plan: Plan) -> str:
    """Return the signature of the function that lists the versions of a row, from `def` to the colon."""
    parameters = ["org_id: str", "id: str", "limit: int = 100"]
    return _build_signature(f"list_{plan.row_name}_history", parameters, f"list[{build_type_name(plan, 'Version')}]")


def _list_query_options(plan: Plan) -> dict[str, str]:
    """Return the parameters of a query other than filters, `limit` and `offset`, with their types."""
    types = {"order": "list[str]", **({"q": "str"} if plan.search else {}), "fields": "list[str]"}
    return {**types, "cursor": "str", "count": "call.Count"}


def _build_filter_annotation(column: QueryColumn) -> str:
    operators = list_operators(column)
    value = column.type.annotation
    plain = f"{value} | list[{value}] | " if Operator.EQ in operators else ""
    return f"{plain}call.Comparison | None"


def _build_signature(name: str, parameters: Iterable[str], answer: str) -> str:
    lines = "".join(f"    {parameter},\n" for parameter in ("*", *parameters))
    return f"def {name}(\n{lines}) -> {answer}:"


def _build_value_parameter(column: Field) -> str:
    if column.required:
        return f"{build_parameter_name(column.name)}: {column.type.annotation}"
    return f"{build_parameter_name(column.name)}: {_build_optional_annotation(column)} = None"


def _build_optional_annotation(column: Field) -> str:
    return "Any" if column.type.annotation == "Any" else f"{column.type.annotation} | None"


def _build_module(plan: Plan) -> str:
    row, filters = build_type_name(plan, "Row"), build_type_name(plan, "Filters")
    filter_types = {column.name: _build_filter_annotation(column) for column in list_query_columns(plan).values()}
    parts = (
        _build_typed_dict(row, f"A row of `{plan.table}`, every number as it was written.", _list_row_types(plan)),
        _build_typed_dict(filters, f"The filters of `query_{plan.name}`.", filter_types, total=False),
        _build_typed_dict(
            build_type_name(plan, "Version"),
            "The row after one step result was folded into it; `row` is None where that removed it.",
            {"step_result_id": "str", "recorded_at": "str", "row": f"{row} | None"},
        ),
        _build_upsert_many(plan) if plan.many else _build_upsert(plan),
        _build_query(plan),
        _build_explain(plan),
        _build_history(plan),
    )
    gap = (
        "\n\n\n" if parts[0].startswith("class ") else "\n\n"
    )  # ruff wants two blank lines before a class and one before a constant
    return _build_module_head(plan) + gap + "\n\n\n".join(parts) + "\n"


def _build_module_head(plan: Plan) -> str:
    needs_any = plan.many or any(column.type.annotation == "Any" for column in plan.fields)
    lines = (
        f"# {build_header(plan.file)}",
        f'"""{_build_summary(plan)}"""',
        "",
        f"from typing import {'Any, ' if needs_any else ''}TypedDict",
        "from typing import cast as _cast",
        "",
        "from engine.functions import call, explain",
    )
    return "\n".join(lines)


def _list_row_types(plan: Plan) -> dict[str, str]:
    """Return every column of the plan's table with the type that its values have in returned rows."""
    optional = dict.fromkeys(SOURCE_COLUMNS, "str | None")
    fields = {
        column.name: column.type.annotation if column.required else _build_optional_annotation(column)
        for column in plan.fields
    }
    return {name: fields.get(name, optional.get(name, "str")) for name in list_columns(plan)}


def _build_typed_dict(name: str, summary: str, types: Mapping[str, str], *, total: bool = True) -> str:
    """Return the definition of a TypedDict: a class if each key can be a name in a class body, else a call."""
    if any(keyword.iskeyword(key) or key in _TYPE_NAMES or key.startswith("__") for key in types):
        return "\n".join(_build_typed_dict_call(name, summary, types, total=total))
    lines = (f"    {key}: {annotation}" for key, annotation in types.items())
    head = f"class {name}(TypedDict{'' if total else ', total=False'}):"
    return "\n".join((head, f'    """{summary}"""', *([""] if types else []), *lines))


def _build_typed_dict_call(name: str, summary: str, types: Mapping[str, str], *, total: bool) -> Iterator[str]:
    yield f"#: {summary}"
    yield f"{name} = TypedDict("
    yield f'    "{name}",'
    yield "    {"
    yield from (f'        "{key}": {annotation},' for key, annotation in types.items())
    yield "    },"
    if not total:
        yield "    total=False,"
    yield ")"


def _build_summary(plan: Plan) -> str:
    """Return the spec's title and description as sentences, on as many lines as they need."""
    text = f"{escape_prose(plan.title)}. {escape_prose(plan.description)}".strip()
    first, *more = textwrap.wrap(text, _WIDTH - 6, break_long_words=False, break_on_hyphens=False)
    end = "\n" if more else " " if first.endswith('"') else ""
    return "\n".join((first, *more)) + end


def _build_upsert(plan: Plan) -> str:
    facts = [_describe_key(plan), *_describe_upsert(plan)]
    return _build_function(
        build_upsert_signature(plan),
        build_docstring("Insert one row, or update the stored one that has its key.", facts, _UPSERT_RAISES),
        build_type_name(plan, "Row"),
        "call.upsert",
        f'"{plan.name}",',
        "org_id=org_id,",
        *_build_mapping("values", [column.name for column in plan.given_fields]),
        *(f"{name}={name}," for name in _SOURCE_PARAMETERS),
    )


def _build_upsert_many(plan: Plan) -> str:
    fields = ", ".join(f"`{column.name}`" for column in plan.given_fields)
    facts = [f"Each of `rows` is a mapping of {fields}.", "Of rows with one key the last wins."]
    facts += [_describe_key(plan), *_describe_upsert(plan)]
    return _build_function(
        build_upsert_signature(plan),
        build_docstring("Insert rows, or update the stored ones, all or none.", facts, _UPSERT_RAISES),
        f'"list[{build_type_name(plan, "Row")}]"',  # quoted, since a parameter may be called `list`
        "call.upsert_many",
        f'"{plan.name}",',
        "org_id=org_id,",
        "rows=rows,",
        *(f"{name}={name}," for name in _SOURCE_PARAMETERS),
    )


def _build_query(plan: Plan) -> str:
    normalized = [column for column in plan.filters if column.normalizers]
    facts = [_describe_normalizers(normalized, "as the stored values are")] if normalized else []
    return _build_function(
        build_query_signature(plan),
        build_docstring(
            "Return the rows that match every filter given, newest first unless `order` says otherwise.",
            [
                "A filter is a value, a list of which one must match, or operators (`call.Comparison`).",
                "`limit` is 1 to 1000; with `fields` the rows hold these columns and paths only. `next_cursor` of the"
                " answer is the `cursor` of the page behind it; with `count` its `total` is that of all rows.",
                *facts,
            ],
            f"Refused for a value that cannot be used, and {_UNAVAILABLE}.",
        ),
        f"call.Rows[{build_type_name(plan, 'Row')}]",
        "call.query",
        f'"{plan.name}",',
        "org_id=org_id,",
        *_build_mapping("filters", list(list_query_columns(plan))),
        "limit=limit,",
        "offset=offset,",
        *(f"{name}={name}," for name in _list_query_options(plan)),
    )


def _build_explain(plan: Plan) -> str:
    docstring = build_docstring(
        "Return where each cell of a row comes from: step result, path, raw value, normalizers, evidence.",
        ["With `field` only that cell."],
        f"Refused for a field that does not exist, explain.RowMissing when there is no such row, and {_UNAVAILABLE}.",
    )
    body = f'    return explain.explain("{plan.name}", org_id=org_id, id=id, field=field)'
    return "\n".join((build_explain_signature(plan), docstring, body))


def _build_history(plan: Plan) -> str:
    docstring = build_docstring(
        "Return what a row was after each contribution, newest first.",
        ["It is made from the step results; a row that none of them gives has no history."],
        f"Refused for an invalid value, explain.RowMissing when there is no such row, and {_UNAVAILABLE}.",
    )
    return _build_function(
        build_history_signature(plan),
        docstring,
        f'"list[{build_type_name(plan, "Version")}]"',
        "explain.list_versions",
        f'"{plan.name}",',
        "org_id=org_id,",
        "id=id,",
        "limit=limit,",
    )


def _build_function(signature: str, docstring: str, answer: str, function: str, *arguments: str) -> str:
    """Return a function that only calls the engine; a cast gives the engine's untyped result the generated type."""
    lines = ("    return _cast(", f"        {answer},", f"        {function}(")
    body = (f"            {argument}" for argument in arguments)
    return "\n".join((signature, docstring, *lines, *body, "        ),", "    )"))


def _describe_key(plan: Plan) -> str:
    return f"The key is {join_names(plan.conflict)}."


def _describe_upsert(plan: Plan) -> list[str]:
    normalized = [column for column in plan.fields if column.normalizers]
    optional = [column for column in plan.fields if not column.required and not column.key]
    kept = [column for column in optional if column.on_missing is OnMissing.KEEP]
    facts = [_describe_normalizers(normalized)] if normalized else []
    if kept:
        cleared = [column.name for column in plan.fields if column.on_missing is OnMissing.CLEAR]
        rest = f"; for {join_names(cleared)} it clears it" if cleared else ""
        facts.append(f"None leaves what is stored{rest}.")
    return facts


def _describe_normalizers(columns: Sequence[Field], how: str = "") -> str:
    pairs = [
        f"`{column.name}` by {join_names([normalizer.name for normalizer in column.normalizers])}" for column in columns
    ]
    return f"Normalized{' ' if how else ''}{how}: {', '.join(pairs)}."


_UNAVAILABLE: Final = "StoreUnavailable when the database does not answer"
_UPSERT_RAISES: Final = (
    "Refused for a value that cannot be stored, SourceRefused for a source of another organisation, StoreRefused when"
    " the database refuses a row; nothing is written then. After StoreUnavailable it is not known, and the same call "
    "may be repeated."
)


def _build_mapping(name: str, columns: Sequence[str]) -> Iterator[str]:
    if not columns:
        yield f"{name}={{}},"
        return
    yield f"{name}={{"
    yield from (f'    "{column}": {build_parameter_name(column)},' for column in columns)
    yield "},"


def _build_package(plans: Sequence[Plan]) -> str:
    ordered = sorted(plans, key=build_module_name)
    names = sorted(name for plan in plans for name in _list_exported_names(plan))
    exported = "".join(f'    "{name}",\n' for name in names)
    lines = (
        f"# {build_header('the specs')}",
        '"""Typed functions per spec to upsert, query and explain rows, and the types of rows and filters."""',
        "",
        *(_build_import(plan) for plan in ordered),
        *([""] if plans else []),
        f"__all__ = [\n{exported}]" if names else "__all__: list[str] = []",
        "",
    )
    return "\n".join(lines)


def _list_exported_names(plan: Plan) -> tuple[str, ...]:
    types = (build_type_name(plan, kind) for kind in ("Filters", "Row", "Version"))
    functions = (
        f"explain_{plan.row_name}",
        f"list_{plan.row_name}_history",
        f"query_{plan.name}",
        f"upsert_{plan.row_name}",
    )
    return (*types, *functions)


def _build_import(plan: Plan) -> str:
    head, names = f"from engine.generated.{build_module_name(plan)} import ", _list_exported_names(plan)
    line = head + ", ".join(names)
    return line if len(line) <= _WIDTH else f"{head}(\n" + "".join(f"    {name},\n" for name in names) + ")"
