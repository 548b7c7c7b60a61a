"""A wrong spec for every code of `dex check`, and a document for every reason not to give a row.

In: nothing. Out: small examples together with what the engine really says of them, so that the list of errors cannot
differ from the errors. It must not know how they are printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine import plan as plans
from engine.plan import Plan
from engine.rows import document, extract
from engine.rows.document import Run
from engine.rows.extract import Reason
from engine.spec import checks, yaml_source
from engine.spec.diagnostics import Diagnostic

_GOOD: Final = """\
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
_ROWS: Final = "conflict: [org_id, domain]\nrows: output.list\n"
_CONFLICT: Final = "conflict: [org_id, domain]\n"

#: Code -> (words of the good spec, what stands there instead).
_WRONG: Final[Mapping[str, tuple[str, str]]] = {
    "SPEC102": ("title: Customers", "title: [Customers"),
    "SPEC103": ("title: Customers", "title: Customers\ntitle: Clients"),
    "SPEC104": ("title: Customers", "title: !text Customers"),
    "SPEC105": (_GOOD, "- spec: 1\n- name: customers\n"),
    "SPEC106": ("title: Customers", "title: Customers\n[a, b]: c"),
    "SPEC201": ("title: Customers", "titel: Customers"),
    "SPEC202": ("row_name: customer\n", ""),
    "SPEC203": ("required: true\n  size", "required: yes\n  size"),
    "SPEC204": ("spec: 1", "spec: 2"),
    "SPEC205": ("name: customers", "name: clients"),
    "SPEC206": ("table: customers", "table: Customers"),
    "SPEC207": ("  size:", "  created_at:"),
    "SPEC208": (_CONFLICT, "conflict: [org_id, domain, domain]\n"),
    "SPEC209": ("required: true\n  size", "required: true\n    on_missing: drop\n  size"),
    "SPEC301": ("type: integer", "type: int"),
    "SPEC302": (_CONFLICT, "conflict: [org_id, domian]\n"),
    "SPEC303": (_CONFLICT, "conflict: [domain]\n"),
    "SPEC304": ("normalize: [domain]", "normalize: [domian]"),
    "SPEC305": ("type: integer", "type: integer\n    normalize: [lower, text]"),
    "SPEC306": ("name: customers", "name: clients"),
    "SPEC307": ("name: customers", "name: clients"),
    "SPEC308": ("[company.derive.customers]", "{company.derive.customers: {fields: {sise: {path: output.n}}}}"),
    "SPEC309": ("type: jsonb", "type: jsonb\n    filter: true"),
    "SPEC310": (_CONFLICT, "conflict: [org_id, raw]\n"),
    "SPEC311": (_CONFLICT, _CONFLICT + "indexes: [[org_id, sise]]\n"),
    "SPEC312": (_CONFLICT, _CONFLICT + "on_absent: delete\n"),
    "SPEC313": (_CONFLICT, _CONFLICT + "backfill:\n  - org_id: acme\n    submissions: [first]\n"),
    "SPEC314": ("normalize: [domain]", "normalize: [domain]\n    on_missing: clear"),
    "SPEC315": ('    path: "output.size"\n', ""),
    "SPEC401": ('"output.size"', '"output..size"'),
    "SPEC402": ('"output.size"', '"lenght(output.list)"'),
    "SPEC403": ('"output.size"', '"length(output.list, output.size)"'),
    "SPEC404": ('"output.size"', '"ouput.size"'),
    "SPEC405": ('"output.size"', '"to_number(output.size)"'),
    "SPEC406": ('"output.size"', "output.size # of the company"),
    "SPEC407": ('"output.size"', '"item.size"'),
    "SPEC408": ('"output.size"', '"output.size || `none`"'),
    "SPEC409": ('"output.size"', '"max_by(output.offices, size).size"'),
}
#: Codes that take two files to show: the good spec keeps its name and meets this one beside it.
_FOLDER: Final = ("SPEC306", "SPEC307")


@dataclass(frozen=True, slots=True)
class Wrong:
    """A piece of a wrong spec, and what `dex check` says of it."""

    snippet: str
    said: Diagnostic


def wrong(code: str) -> Wrong | None:
    """Return the example of a code; None for SPEC101, which is about bytes."""
    if code not in _WRONG:
        return None
    good, bad = _WRONG[code]
    assert _GOOD.count(good) == 1, f"the example of {code} replaces one place"
    name = "clients" if code in _FOLDER else "customers"
    sources = [yaml_source.parse(_GOOD.replace(good, bad), f"specs/{name}.yaml")]
    if code in _FOLDER:
        sources.insert(0, yaml_source.parse(_GOOD, "specs/customers.yaml"))
    said = next(item for item in checks.check(sources).diagnostics if item.code == code)
    return Wrong(_snippet(sources[-1].text, said, good, bad), said)


def _snippet(text: str, said: Diagnostic, good: str, bad: str) -> str:
    """The lines that differ from the good spec, and the line the message names."""
    lines = text.splitlines()
    first = text[: text.index(bad)].count("\n") if bad else said.line - 1
    last = first + max(bad.rstrip("\n").count("\n"), 0)
    return "\n".join(lines[min(first, said.line - 1) : max(last, said.line - 1) + 1])


#: Reason -> the output of an operation that gives it.
_OUTPUTS: Final[Mapping[str, Any]] = {
    "missing_required": {"domain": " ", "list": [{}]},
    "path_failed": {"domain": "acme.com", "list": [{"name": 7}]},
    "not_normalized": {"domain": "not a domain", "list": [{}]},
    "wrong_type": {"domain": "acme.com", "list": [{"size": "1,200"}]},
    "guard": {"domain": "acme.com", "status": "pending", "list": [{}]},
    "no_elements": {"domain": "acme.com", "list": []},
    "not_an_array": {"domain": "acme.com", "list": "none"},
    "unknown_operation": {},
    "not_found": None,
}
_STRICT: Final = (
    _GOOD.replace(_CONFLICT, _ROWS + "when: \"output.status != 'pending'\"\n")
    .replace('"output.size"', '"item.size"')
    .replace('path: "output"', 'path: "item.name && length(item.name) || item"')
)


def reason(code: str) -> Reason | None:
    """Return the Reason the engine gives in an example of `code`; None where it takes a database."""
    if code not in _OUTPUTS:
        return None
    plan = _strict()
    operation = "company.derive.titles" if code == "unknown_operation" else plan.operations[0]
    status = "not_found" if code == "not_found" else "found"
    found = extract.extract(plan, operation, document.build(_OUTPUTS[code], {}, Run(), operation, status))
    return next(item for item in found.reasons if item.code == code)


def _strict() -> Plan:
    checked = checks.check([yaml_source.parse(_STRICT, "specs/customers.yaml")])
    ((held, spec),) = checked.specs
    return plans.compile(spec, held.file)
