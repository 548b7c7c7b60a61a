"""The generated pages: complete, true, and links that lead somewhere."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from api.http.codes import HTTP_CODES
from engine.generate import generators
from engine.generate.docs import spec_pages
from engine.generate.docs.markdown import build_code_block, escape_cell, escape_html, format_code
from engine.plan import Plan
from engine.rows.extract import REASONS
from engine.spec.diagnostics import CODES
from engine.tables.differences import PROBLEMS
from engine.values.normalizers import NORMALIZERS
from scripts.docs import error_examples, errors, normalizers
from tests.conftest import ROOT

MANY = """\
spec: 1
name: people
title: People | of companies
description: One row per person.
operations:
  test.search: {rows: output.results}
  test.lookup: {rows: "[output.person]", fields: {name: {path: "item.full || item.name"}}}
table: people
row_name: person
conflict: [org_id, company_domain, name]
on_absent: delete
when: output.ok
fields:
  company_domain: {type: text, path: output.domain, normalize: [domain], required: true, filter: true}
  name: {type: text, path: item.name, required: true, description: "A | bar"}
"""


@cache
def build_page() -> str:
    return errors.build_errors_page()


@pytest.mark.parametrize("name", CODES)
def test_every_code_is_explained_by_an_example_that_says_it(name: str) -> None:
    page = build_page()
    assert f"### {name}: {CODES[name][0]}" in page
    wrong = error_examples.build_wrong_example(name)
    if wrong is None:
        assert name in ("SPEC101", "SPEC702"), "only what cannot be read cannot be shown"
    else:
        assert wrong.diagnostic.code == name
        assert str(wrong.diagnostic) in page
        assert wrong.snippet.strip()


@pytest.mark.parametrize("name", REASONS)
def test_every_reason_is_explained(name: str) -> None:
    page = build_page()
    assert f"### `{name}`" in page
    reason = error_examples.build_reason_example(name)
    assert reason is None or reason.code == name


def test_every_problem_of_a_table_is_explained() -> None:
    page = build_page()
    assert all(f"`{name}`" in page for name in PROBLEMS)


#: Where codes of answers stand.
CODED = [
    *sorted(set((ROOT / "api").rglob("*.py")) - {ROOT / "api" / "http" / "codes.py"}),
    ROOT / "engine" / "rows" / "query.py",
    ROOT / "engine" / "rows" / "filters.py",
    ROOT / "engine" / "explain" / "key_lookup.py",
]


def find_http_codes() -> Iterator[tuple[str, str]]:
    """File and code of every answer the API can give that is no success."""
    for file in CODED:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Dict):
                said = {getattr(key, "value", None): value for key, value in zip(node.keys, node.values, strict=True)}
                if isinstance(code_ := said.get("code"), ast.Constant):
                    yield file.name, str(code_.value)
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                strings = [part.value for part in node.args if isinstance(part, ast.Constant)]
                if name in ("Fault", "Unauthorized", "Reason") and strings:
                    yield file.name, str(strings[0])
                if name == "InvalidBody":
                    yield from (
                        (file.name, str(part.value.value))
                        for part in node.keywords
                        if part.arg == "code" and isinstance(part.value, ast.Constant)
                    )


def test_every_code_of_the_api_is_explained() -> None:
    known = HTTP_CODES.keys() | REASONS.keys() | PROBLEMS.keys()
    unknown = [(file, word) for file, word in find_http_codes() if word not in known]
    assert not unknown
    assert len(set(find_http_codes())) > 20, "the codes are found where they stand"


def test_no_code_is_explained_that_the_api_never_gives() -> None:
    said = "".join(file.read_text() for file in CODED)
    assert [name for name in HTTP_CODES if f'"{name}"' not in said] == []


def test_every_normalizer_and_type_has_examples() -> None:
    page = normalizers.build_normalizers_page()
    for name, item in NORMALIZERS.items():
        section = page.split(f"## `{name}`\n")[1].split("\n## ")[0]
        assert " ".join(item.doc.split()) in section
        assert section.count("\n|") >= 3, f"{name} has no example"


def test_a_page_tells_what_a_spec_says(plans: tuple[Plan, ...]) -> None:
    for plan in plans:
        page = spec_pages.build_spec_pages(plans)[f"docs/reference/{plan.name}.md"]
        for field in plan.fields:
            assert f"| `{field.name}` |" in page
            assert escape_cell(escape_html(field.description)) in page
        assert f"POST /api/internal/{plan.slug}/upsert" in page
        assert f"POST /api/v1/{plan.slug}/query" in page
        assert f"def query_{plan.name}(" in page
        assert all(submission in page for target in plan.targets for submission in target.submissions)


def test_a_page_of_rows_and_several_operations(compiled: Callable[[str], Plan]) -> None:
    page = spec_pages.build_spec_page(compiled(MANY))
    assert "# People | of companies" in page
    assert "`test.search`: `output.results`<br>`test.lookup`: `[output.person]`" in page
    assert "| rows whose element is gone | deleted |" in page
    assert "| only when | `output.ok` |" in page
    assert "A \\| bar" in page
    assert '"rows": [' in page


def test_every_link_leads_somewhere(plans: tuple[Plan, ...]) -> None:
    pages = {name: text for name, text in generators.build_generated_files(plans).items() if name.endswith(".md")}
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            found = (ROOT / name).parent / target
            assert found.resolve().exists(), f"{name}: {target}"


def test_code_survives_what_stands_in_it() -> None:
    assert format_code("a `b` c") == "``a `b` c``"
    assert format_code("`a`") == "`` `a` ``"
    assert build_code_block("text", "```\nx\n```").startswith("````text")
    assert escape_cell("a | b\nc") == "a \\| b c"


def test_html_in_a_spec_is_shown_and_not_obeyed(compiled: Callable[[str], Plan]) -> None:
    text = MANY.replace("title: People | of companies", "title: People <of> companies")
    text = text.replace("One row per person.", "One <script>alert(1)</script> & `a < b` per person.")
    page = spec_pages.build_spec_page(compiled(text.replace('"A | bar"', '"<img src=x>"')))
    assert "# People &lt;of&gt; companies" in page
    assert "One &lt;script&gt;alert(1)&lt;/script&gt; &amp; `a < b` per person." in page
    assert "&lt;img src=x&gt;" in page and "<img" not in page and "<script" not in page
