"""Check the JMESPath strings of a spec: their syntax, roots, and whether columns accept the types that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.jmespath.kinds import infer_kinds
from engine.jmespath.path import DOCUMENT_ROOTS, ELEMENT_ROOTS, CompiledPath, ParsedPath, parse_path
from engine.spec.enums import OnAbsent
from engine.spec.raw_spec import (
    Data,
    list_field_paths,
    list_fields,
    list_operation_rows,
    list_own_paths,
    list_paths,
    list_texts,
    read_mapping,
    read_overrides,
)
from engine.spec.research_checks import INPUT_ROOTS, OUTPUT_ROOTS, list_research_paths
from engine.spec.yaml_source import Place, Source
from engine.values.column_types import TYPES, name_kinds
from engine.values.exact_json import JsonKind
from engine.values.normalizers import NORMALIZERS

_ROWS_HINT = 'add `rows: "output.<the array>"`, whose elements `item` stands for, or start the paths at `output`'
_NESTED_HINT = "write `rows: [path, path]`, the second path going into each element of the first"


class ParsedPaths(dict[str, ParsedPath]):
    """The parsed paths of a folder by their text. Each text is parsed only once, at its first look-up."""

    def __init__(self) -> None:
        self.with_roots: dict[tuple[str, Sequence[str]], ParsedPath] = {}  # by text and roots (`research` has others)

    def __missing__(self, text: str) -> ParsedPath:
        parsed = self[text] = self.parse_at_roots(text, DOCUMENT_ROOTS)
        return parsed

    def parse_at_roots(self, text: str, roots: Sequence[str]) -> ParsedPath:
        """Parse a path that may start with `roots`; the same text and roots are parsed only once."""
        if (text, roots) not in self.with_roots:
            self.with_roots[text, roots] = parse_path(text, roots)
        return self.with_roots[text, roots]

    def list_compiled(self) -> dict[str, CompiledPath]:
        """Return all compiled paths by their text."""
        return {text: parsed.path for (text, _), parsed in self.with_roots.items() if parsed.path}

    def find_roots(self, texts: list[str]) -> set[str] | None:
        """Return all roots that some paths read; None if one of them has a mistake."""
        paths = [self[text].path for text in texts]
        return None if None in paths else {root for path in paths if path for root in path.roots}


def check_paths(source: Source, data: Data, parsed_paths: ParsedPaths) -> None:
    """Report every mistake in the paths of a spec."""
    without_rows = [] if _has_rows(data) else _find_item_readers(data, parsed_paths)
    for place, text in list_paths(data):
        source.report_cut_path(place, text)
        _report_mistakes(source, place, parsed_paths[text])
        if place not in without_rows:
            _check_element_roots(source, data, place, parsed_paths[text])
    if without_rows:
        _report_missing_rows(source, without_rows, dict(list_paths(data)), parsed_paths)
    _check_earlier_answers(source, data, parsed_paths)
    _check_kinds(source, data, parsed_paths)
    _check_element_key(source, data, parsed_paths)
    _check_absent(source, data, parsed_paths)


def _report_mistakes(source: Source, place: Place, parsed: ParsedPath) -> None:
    for mistake in parsed.mistakes:
        hint = mistake.hint
        if mistake.code == "SPEC402" and (known := [name for name in NORMALIZERS if f"`{name}`" in mistake.message]):
            hint = f"that is a normalizer: take the value as it is and add `normalize: [{known[0]}]`"
        source.report_character(place, mistake.offset, mistake.code, mistake.message, hint)


# --- `item` and `parent` --------------------------------------------------------------------------------------------


def _has_rows(data: Data) -> bool:
    return any("rows" in place for place, _ in list_paths(data))


def _find_item_readers(data: Data, parsed_paths: ParsedPaths) -> list[Place]:
    """Return the places of field paths that start with `item` or `parent`; for a spec without `rows`."""
    return [
        place
        for place, text in list_paths(data)
        if place[-1] == "path" and (path := parsed_paths[text].path) and not path.roots.isdisjoint(ELEMENT_ROOTS)
    ]


def _report_missing_rows(
    source: Source, places: list[Place], texts: dict[Place, str], parsed_paths: ParsedPaths
) -> None:
    """Report the missing `rows` once, at the first path that needs it."""
    count = f"{len(places)} paths begin" if len(places) > 1 else "a path begins"
    message = f"{count} with `item`, and the spec has no `rows`"
    path = parsed_paths[texts[places[0]]].path
    offset = max(path.text.find(min(path.roots & ELEMENT_ROOTS)), 0) if path else 0
    source.report_character(places[0], offset, "SPEC407", message, _ROWS_HINT)


def _check_element_roots(source: Source, data: Data, place: Place, parsed: ParsedPath) -> None:
    roots = parsed.path.roots if parsed.path else frozenset[str]()
    for root in sorted(ELEMENT_ROOTS & roots):
        reason, hint = _explain_missing_root(data, place, root)
        if reason and parsed.path:
            offset = max(parsed.path.text.find(root), 0)
            source.report_character(place, offset, "SPEC407", reason, hint)


def _explain_missing_root(data: Data, place: Place, root: str) -> tuple[str, str]:
    """Return why `item` or `parent` cannot be used at `place`, and a hint; ("", "") if it can."""
    if place[-1] != "path":
        is_inner_rows = place[-2:] == ("rows", 1)
        if is_inner_rows and root == "item":
            return "", ""
        return (
            f"`{root}` exists only in the paths of fields, one element of `rows` at a time",
            "start the path at `output`",
        )
    operations = read_overrides(data)
    if place[0] == "operations":
        readers = [str(place[1])]
    else:
        readers = [operation for operation in operations if _reads_place(operations[operation], str(place[1]))]
    depth = 2 if root == "parent" else 1
    without = [operation for operation in readers if len(list_operation_rows(data, operation)) < depth]
    if not without:
        return "", ""
    if root == "parent" and list_operation_rows(data, without[0]):
        return "`parent` exists only where rows stand within rows", _NESTED_HINT
    if not _has_rows(data):
        return f"`{root}` exists only in a spec with `rows`", "start the path at `output`"
    return f"`{root}` exists only under `rows`, which operation `{without[0]}` does not have", (
        "start the path at `output`"
    )


def _reads_place(override: Data, name: str) -> bool:
    """Return whether an operation reads a field by the path that the spec gives for all operations."""
    return read_mapping(read_mapping(override.get("fields")).get(name)).get("path") is None


# --- what `rows` and `on_absent` need of the key --------------------------------------------------------------------


def _check_element_key(source: Source, data: Data, parsed_paths: ParsedPaths) -> None:
    """Report a key that is the same for all elements of `rows`: only the last element would be stored."""
    columns = [name for name in list_texts(data.get("conflict")) if name != "org_id"]
    for operation in read_overrides(data):
        rows = list_operation_rows(data, operation)
        texts = [text for name in columns for text in list_field_paths(data, name, operation)]
        roots = parsed_paths.find_roots([*rows, *texts])
        if rows and columns and len(texts) >= len(columns) and roots is not None:
            key_roots = parsed_paths.find_roots(texts) or set()
            if key_roots.isdisjoint(ELEMENT_ROOTS):
                _report_equal_keys(source, data, operation)
                return


def _report_equal_keys(source: Source, data: Data, operation: str) -> None:
    where = "" if len(read_overrides(data)) == 1 else f" of `{operation}`"
    message = f"no conflict column comes from `item`, so all elements{where} have one key and only the last is kept"
    hint = "add a column of the element to `conflict`; where nothing tells them apart, one with `path: item` and"
    source.report_value(("conflict",), "SPEC316", message, f"{hint} `normalize: [fingerprint]`")


def _check_absent(source: Source, data: Data, parsed_paths: ParsedPaths) -> None:
    if data.get("on_absent") != OnAbsent.DELETE or not read_mapping(data.get("fields")):
        return
    place = ("on_absent",)
    if not _has_rows(data):
        if not _find_item_readers(data, parsed_paths):  # otherwise the missing `rows` is reported already
            source.report_value(place, "SPEC312", "`on_absent: delete` without `rows`", "drop it, or add `rows`")
    elif list_texts(data.get("conflict")) and not _has_parent_key(data, parsed_paths):
        hint = "add one, such as the company's domain; it says whose rows are compared"
        message = "`on_absent: delete` needs a conflict column that does not come from `item`"
        source.report_value(place, "SPEC312", message, hint)


def _has_parent_key(data: Data, parsed_paths: ParsedPaths) -> bool:
    """Return whether some key column is read from outside the elements in every operation."""
    fields = dict(list_fields(data))
    for name in list_texts(data.get("conflict")):
        texts = [text for operation in read_overrides(data) for text in list_field_paths(data, name, operation)]
        roots = parsed_paths.find_roots(texts)
        if name in fields and (roots is None or roots.isdisjoint(ELEMENT_ROOTS)):
            return True
    return False


# --- what a path gives ----------------------------------------------------------------------------------------------


def _check_earlier_answers(source: Source, data: Data, parsed_paths: ParsedPaths) -> None:
    """Report paths to the answer of an earlier step: a provider's answer is stored only once, in its own step.

    In fields, `context` has this step's own answer; the paths of `research` read the context before this step.
    """
    for place, text in list_paths(data):
        _report_earlier_answer(source, place, text, parsed_paths[text].path, ("step_input",))
    for place, text in list_research_paths(data):
        roots = OUTPUT_ROOTS if place[:2] == ("research", "output") else INPUT_ROOTS
        path = parsed_paths.parse_at_roots(text, roots).path
        _report_earlier_answer(source, place, text, path, ("context", "step_input"))


def _report_earlier_answer(
    source: Source, place: Place, text: str, path: CompiledPath | None, roots: Sequence[str]
) -> None:
    for steps in sorted(path.reads if path else ()):
        if len(steps) > 1 and steps[0] in roots and steps[1] == "parallel_raw_response":
            message = f"`{steps[0]}` does not hold the answer of an earlier step"
            hint = "`output.parallel_raw_response` is this step's; an earlier step's belongs in a spec of its own"
            if place[0] == "research":
                hint = "read what you need of it into a key of that operation's `research.output`"
            source.report_character(place, max(text.find(steps[0]), 0), "SPEC413", message, hint)


def _check_kinds(source: Source, data: Data, parsed_paths: ParsedPaths) -> None:
    """Report paths that can only give types which their column does not accept, such as an array for a text."""
    reported: set[Place] = set()
    for name, field in list_fields(data):
        for operation, override in read_overrides(data).items():
            own = read_mapping(read_mapping(override.get("fields")).get(name))
            place: Place = ("fields", name, "path")
            if isinstance(own.get("path"), str):
                place = ("operations", operation, "fields", name, "path")
            normalize = own.get("normalize") if own.get("normalize") is not None else field.get("normalize")
            for text in list_own_paths(data, name, operation):
                if place not in reported and (misfit := _find_misfit(field, normalize, text, parsed_paths)):
                    reported.add(place)
                    source.report_value(place, "SPEC412", *misfit)


def _find_misfit(field: Data, normalize: Any, text: str, parsed_paths: ParsedPaths) -> tuple[str, str] | None:
    """Return message and hint for a path whose types its column does not accept; None if it may accept them."""
    path, chain, type_ = parsed_paths[text].path, list_texts(normalize), field.get("type")
    kinds = infer_kinds(path.ast) if path else None
    if (
        not kinds
        or not isinstance(type_, str)
        or type_ not in TYPES
        or field.get("coalesce")
        or (chain and chain[0] not in NORMALIZERS)
    ):
        return None
    takes = NORMALIZERS[chain[0]].accepts if chain else TYPES[type_].takes
    if kinds & takes:
        return None
    taker = f"normalizer `{chain[0]}`" if chain else f"a column of type `{type_}`"
    message = f"the path gives {name_kinds(kinds)}, and {taker} takes {name_kinds(takes)}"
    if kinds == {JsonKind.ARRAY}:
        return message, f'take one of the values, "{text} | [0]", or all of them with `type: text[]` or `jsonb`'
    return message, "take another type, a normalizer that converts it, or another path"
