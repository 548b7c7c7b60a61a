"""The text of the typed functions: formatted, importable, and right for names that Python has taken."""

import ast
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from engine.generate import python
from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS

HARD = r'''
spec: 1
name: class
title: 'Ends in a "quote"'
description: 'Has a \ and """ in it.'
operations: [test.hard]
table: class
row_name: lambda
conflict: [org_id, from]
fields:
  from: {type: text, path: output.a, required: true, filter: true}
  call: {type: jsonb, path: output.b}
  amount: {type: numeric, path: output.d, filter: true}
  tags: {type: "text[]", path: output.e}
  on: {type: boolean, path: output.f, filter: true}
'''
ROWS = """\
spec: 1
name: customers
title: Customers
operations: [test.customers]
table: customers
row_name: customer
conflict: [org_id, name]
rows: output.customers
fields:
  name: {type: text, path: item.name, normalize: [trim, lower], required: true}
"""


def import_text(text: str, tmp_path: Path) -> ModuleType:
    """Import a generated module by its text."""
    file = tmp_path / "generated_for_a_test.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("generated_for_a_test", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_formatted_as_ruff_would(
    plans: tuple[Plan, ...], compiled: Callable[[str], Plan], tmp_path: Path
) -> None:
    for name, text in python.build_python_files([*plans, compiled(HARD), compiled(ROWS)]).items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for command in (["format", "--check"], ["check", "--select", "E,F,I,W"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "120", "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_names_that_python_has_taken(compiled: Callable[[str], Plan], tmp_path: Path) -> None:
    files = python.build_python_files([compiled(HARD)])
    types, functions = "LambdaFilters LambdaRow LambdaVersion", "explain_lambda list_lambda_history query_class"
    imported_names = "".join(f"    {name},\n" for name in (*types.split(), *functions.split(), "upsert_lambda"))
    assert f"from engine.generated.class_ import (\n{imported_names})\n" in files["engine/generated/__init__.py"]
    text = files["engine/generated/class_.py"]
    module = import_text(text, tmp_path)
    names = list(inspect.signature(module.upsert_lambda).parameters)
    assert names[:6] == ["org_id", "from_", "call_", "amount", "tags", "on"]
    assert list(inspect.signature(module.query_class).parameters) == [
        "org_id",
        "from_",
        "amount",
        "on",
        "limit",
        "offset",
        "order",
        "fields",
        "cursor",
        "count",
        *(name for name in PROVIDED_COLUMNS if name != "org_id"),
    ]
    assert '                "from": from_,\n                "call": call_,\n                "amount": amount,\n' in text
    assert module.__doc__ == "Ends in a \"quote\". Has a \\ and ''' in it."


def test_a_spec_with_rows_takes_rows(compiled: Callable[[str], Plan], tmp_path: Path) -> None:
    text = python.build_python_files([compiled(ROWS)])["engine/generated/customers.py"]
    module = import_text(text, tmp_path)
    assert "rows: list[dict[str, Any]]" in text
    assert "call.upsert_many(" in text
    assert "Normalized: `name` by `trim` and `lower`." in module.upsert_customer.__doc__
    assert "filters={\n" in text


def test_rows_and_filters_have_types(compiled: Callable[[str], Plan], tmp_path: Path) -> None:
    files = python.build_python_files([compiled(HARD), compiled(ROWS)])
    module = import_text(files["engine/generated/customers.py"], tmp_path)
    assert list(module.CustomerRow.__annotations__)[:3] == ["id", "org_id", "name"]
    assert module.CustomerRow.__annotations__["name"] is str
    assert module.upsert_customer.__annotations__["return"] == list.__class_getitem__(module.CustomerRow)
    module = import_text(files["engine/generated/class_.py"], tmp_path)
    assert {"from", "call", "amount"} < module.LambdaRow.__annotations__.keys()
    provided = set(PROVIDED_COLUMNS) - {"org_id"}
    assert module.LambdaFilters.__annotations__.keys() == {"from", "amount", "on", *provided}
    assert module.LambdaFilters.__total__ is False
    assert module.query_class.__annotations__["return"] == module.call.Rows[module.LambdaRow]


def test_a_column_may_be_called_list(
    compiled: Callable[[str], Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = python.build_python_files([compiled(HARD.replace("  on:", "  list:"))])["engine/generated/class_.py"]
    module = import_text(text, tmp_path)
    monkeypatch.setattr(module.call, "query", lambda spec, **arguments: [spec, arguments["filters"]["list"]])
    assert module.query_class(org_id="", list=True) == ["class", True]


def test_no_specs_give_an_empty_package() -> None:
    files = python.build_python_files([])
    assert list(files) == ["engine/generated/__init__.py"]
    ast.parse(files["engine/generated/__init__.py"])


def test_every_file_names_its_maker_and_its_source(plans: tuple[Plan, ...]) -> None:
    for plan in plans:
        first = python.build_python_files(plans)[f"engine/generated/{plan.name}.py"].splitlines()[0]
        assert first.startswith("# generated by `dex generate`")
        assert plan.file in first
