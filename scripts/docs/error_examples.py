"""Examples for `docs/errors.md`: a wrong spec per code of `dex check`, and a step output per rejection reason.

The messages on the page are those that the engine gives for these examples when the page is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.cases.sample_checks import find_sample_warnings
from engine.plan import Plan, compile_spec
from engine.rows import document, extract
from engine.rows.document import Run
from engine.rows.extract import Reason
from engine.spec import checks, yaml_source
from engine.spec.diagnostics import Diagnostic
from scripts.docs.research_examples import RESEARCH_FILES, RESEARCH_REPLACEMENTS, RESEARCH_SPEC

_GOOD_SPEC: Final = """\
spec: 1
name: customers
title: Customers
operations: [company.derive.customers]
table: customers
row_name: customer
conflict: [org_id, domain]
fields:
  domain:
    type: text
    path: "output.domain"
    normalize: [domain]
    required: true
  size:
    type: integer
    path: "output.size"
  raw:
    type: jsonb
    path: "output"
    required: true
"""
_ROWS_LINES: Final = "conflict: [org_id, domain]\nrows: output.list\n"
_CONFLICT_LINE: Final = "conflict: [org_id, domain]\n"

#: By code: a text of the correct spec, and the text that replaces it to cause the error.
_REPLACEMENTS: Final[Mapping[str, tuple[str, str]]] = {
    "SPEC102": ("title: Customers", "title: [Customers"),
    "SPEC103": ("title: Customers", "title: Customers\ntitle: Clients"),
    "SPEC104": ("title: Customers", "title: !text Customers"),
    "SPEC105": (_GOOD_SPEC, "- spec: 1\n- name: customers\n"),
    "SPEC106": ("title: Customers", "title: Customers\n[a, b]: c"),
    "SPEC107": ("title: Customers", 'title: "Customers\\u202e"'),
    "SPEC201": ("title: Customers", "titel: Customers"),
    "SPEC202": ("row_name: customer\n", ""),
    "SPEC203": ("required: true\n  size", "required: yes\n  size"),
    "SPEC204": ("spec: 1", "spec: 2"),
    "SPEC205": ("name: customers", "name: clients"),
    "SPEC206": ("table: customers", "table: Customers"),
    "SPEC207": ("  size:", "  created_at:"),
    "SPEC208": (_CONFLICT_LINE, "conflict: [org_id, domain, domain]\n"),
    "SPEC209": ("required: true\n  size", "required: true\n    on_missing: drop\n  size"),
    "SPEC301": ("type: integer", "type: int"),
    "SPEC302": (_CONFLICT_LINE, "conflict: [org_id, domian]\n"),
    "SPEC303": (_CONFLICT_LINE, "conflict: [domain]\n"),
    "SPEC304": ("normalize: [domain]", "normalize: [domian]"),
    "SPEC305": ("type: integer", "type: integer\n    normalize: [lower, text]"),
    "SPEC306": ("name: customers", "name: clients"),
    "SPEC308": ("[company.derive.customers]", "{company.derive.customers: {fields: {sise: {path: output.n}}}}"),
    "SPEC309": ("type: jsonb", "type: jsonb\n    filter: true"),
    "SPEC310": (_CONFLICT_LINE, "conflict: [org_id, raw]\n"),
    "SPEC311": (_CONFLICT_LINE, _CONFLICT_LINE + "indexes: [[org_id, sise]]\n"),
    "SPEC312": (_CONFLICT_LINE, _CONFLICT_LINE + "on_absent: delete\n"),
    "SPEC313": (_CONFLICT_LINE, _CONFLICT_LINE + "backfill:\n  - org_id: acme\n    submissions: [first]\n"),
    "SPEC314": ("normalize: [domain]", "normalize: [domain]\n    on_missing: clear"),
    "SPEC315": ('    path: "output.size"\n', ""),
    "SPEC316": (_CONFLICT_LINE, _ROWS_LINES),
    "SPEC317": ('    path: "output.size"\n', "    coalesce: [domain, raw]\n"),
    "SPEC318": ("type: integer", "type: integer\n    null_key: match"),
    "SPEC401": ('"output.size"', '"output..size"'),
    "SPEC402": ('"output.size"', '"lenght(output.list)"'),
    "SPEC403": ('"output.size"', '"length(output.list, output.size)"'),
    "SPEC404": ('"output.size"', '"ouput.size"'),
    "SPEC405": ('"output.size"', '"to_number(output.size)"'),
    "SPEC406": ('"output.size"', "output.size # of the company"),
    "SPEC407": ('"output.size"', '"item.size"'),
    "SPEC408": ('"output.size"', '"output.size || `none`"'),
    "SPEC410": ('"output.size"', 'output.people[?role == "CTO"].age | [0]'),
    "SPEC411": ('"output.size"', f'"output.{"x" * 10_000}"'),
    "SPEC412": ('"output.size"', '"output.people[].age"'),
    "SPEC413": ('"output.size"', '"step_input.parallel_raw_response.output.content.size"'),
    "SPEC409": ('"output.size"', '"max_by(output.offices, size).size"'),
}
_WIDEST: Final = 100  # the most characters of a line in an example
#: Codes whose example needs two files: the correct spec, and a second one with the replacement.
_TWO_FILE_CODES: Final = ("SPEC306", "SPEC603")


@dataclass(frozen=True, slots=True)
class WrongExample:
    """Lines of a wrong spec, and the diagnostic that `dex check` gives for them."""

    snippet: str
    diagnostic: Diagnostic


def build_wrong_example(code: str) -> WrongExample | None:
    """Build the example of a code; None for SPEC101 and SPEC702, which are about files that cannot be read."""
    if code == "SPEC701":
        return _build_sample_example()
    if code not in {*_REPLACEMENTS, *RESEARCH_REPLACEMENTS}:
        return None
    text, name = (RESEARCH_SPEC, "funding") if code in RESEARCH_REPLACEMENTS else (_GOOD_SPEC, "customers")
    good, bad = {**_REPLACEMENTS, **RESEARCH_REPLACEMENTS}[code]
    assert text.count(good) == 1, f"the example of {code} replaces one place"
    sources = [yaml_source.parse_source(text.replace(good, bad), f"specs/{name}.yaml")]
    if code in _TWO_FILE_CODES:
        sources.insert(0, yaml_source.parse_source(text, f"specs/{name}.yaml"))
        sources[-1].file = f"specs/{bad.removeprefix('name: ')}.yaml"
    for source in sources:
        source.files = dict(RESEARCH_FILES)
    diagnostics = checks.check_sources(sources).diagnostics
    diagnostic = next(diagnostic for diagnostic in diagnostics if diagnostic.code == code)
    files = {file.file: file.text for file in RESEARCH_FILES.values()}
    if diagnostic.file in files:
        return WrongExample((files[diagnostic.file] or "").rstrip(), diagnostic)
    return WrongExample(_cut_snippet(sources[-1].text, diagnostic, bad), diagnostic)


def _build_sample_example() -> WrongExample:
    """Build the example of a path that finds no value in any sample."""
    bad = 'path: "output.sizes"'
    source = yaml_source.parse_source(_GOOD_SPEC.replace('path: "output.size"', bad), "specs/customers.yaml")
    checked = checks.check_sources([source])
    ((_, spec),) = checked.specs
    plan = compile_spec(spec, source.file, checked.paths)
    step_document = document.build_document({"domain": "acme.com", "size": 7}, {}, Run(), plan.operations[0])
    extraction = extract.extract_rows(plan, plan.operations[0], step_document)
    (diagnostic,) = find_sample_warnings(source, spec, plan, [extraction])
    return WrongExample(_cut_snippet(source.text, diagnostic, bad), diagnostic)


def _cut_snippet(text: str, diagnostic: Diagnostic, bad: str) -> str:
    """Cut the lines of the replacement `bad` out of a spec, up to the line that the diagnostic names."""
    lines = text.splitlines()
    first = text[: text.index(bad)].count("\n") if bad else diagnostic.line - 1
    last = first + max(bad.rstrip("\n").count("\n"), 0)
    shown = lines[min(first, diagnostic.line - 1) : max(last, diagnostic.line - 1) + 1]
    return "\n".join(line if len(line) <= _WIDEST else f"{line[:_WIDEST]}..." for line in shown)


#: By code of a rejection reason: a step output that is rejected for it.
_OUTPUTS: Final[Mapping[str, Any]] = {
    "missing_required": {"domain": " ", "list": [{}]},
    "path_failed": {"domain": "acme.com", "list": [{"name": 7}]},
    "not_normalized": {"domain": "not a domain", "list": [{}]},
    "wrong_type": {"domain": "acme.com", "list": [{"size": "1,200"}]},
    "guard": {"domain": "acme.com", "status": "pending", "list": [{}]},
    "no_elements": {"domain": "acme.com", "list": []},
    "not_an_array": {"domain": "acme.com", "list": "none"},
    "unknown_operation": {},
    "not_an_object": {"domain": "acme.com", "list": ["Acme"]},
    "invalid_as_missing": {"domain": "acme.com", "list": [{"founded": "in the nineties"}]},
    "not_found": None,
}
_STRICT_SPEC: Final = (
    _GOOD_SPEC.replace(_CONFLICT_LINE, _ROWS_LINES + "when: \"output.status != 'pending'\"\n")
    .replace('"output.size"', '"item.size"')
    .replace("  raw:\n", '  founded:\n    type: integer\n    path: "item.founded"\n    on_invalid: missing\n  raw:\n')
    .replace('path: "output"', 'path: "item.name && length(item.name) || item"')
)


def build_reason_example(code: str) -> Reason | None:
    """Return the reason that the sample for `code` gives; None for codes without a sample, which need a database."""
    if code not in _OUTPUTS:
        return None
    plan = _compile_strict_spec()
    operation = "company.derive.titles" if code == "unknown_operation" else plan.operations[0]
    status = "not_found" if code == "not_found" else "found"
    step_document = document.build_document(_OUTPUTS[code], {}, Run(), operation, status)
    reasons = extract.extract_rows(plan, operation, step_document).reasons
    return next(reason for reason in reasons if reason.code == code)


def _compile_strict_spec() -> Plan:
    checked = checks.check_sources([yaml_source.parse_source(_STRICT_SPEC, "specs/customers.yaml")])
    ((source, spec),) = checked.specs
    return compile_spec(spec, source.file, checked.paths)
