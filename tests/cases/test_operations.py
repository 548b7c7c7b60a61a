"""The operations of our own invention use each newer key of the format at least twice, and several tables."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDERS = sorted(HERE.glob("good/operation_*"))
SPECS = [file.read_text() for folder in FOLDERS for file in sorted(folder.glob("*.yaml"))]
PATTERNS = {
    "rows within rows": r"^rows: \[",
    "parent": r'"parent\.',
    "parse_json": r"parse_json\(",
    "coalesce": r"coalesce: \[",
    "null_key: match": r"null_key: match",
    "null_key: reject": r"null_key: reject",
    "on_invalid": r"on_invalid: missing",
    "fingerprint": r"normalize: \[fingerprint\]",
    "boolean_word": r"boolean_word",
    "step_input": r"step_input\.",
    "run.company_id": r"run\.company_id",
    "normalize per operation": r"^      \w+: \{path: [^}]*normalize:",
    "an operation without overrides": r"^  \w+\.\w+\.\w+:$",
    "double precision": r"type: double precision",
    "a table in a schema": r"^table: \w+\.\w+",
    "research": r"^research:",
    "a prompt in a file": r"prompt: prompts/",
    "from_fields": r"output_schema: from_fields",
    "a schema in a file": r"output_schema: schemas/",
    "fresh_for": r"fresh_for:",
    "output": r"^  output:$",
    "search": r"^search:",
}


def test_there_are_twelve() -> None:
    operations = {name for text in SPECS for name in re.findall(r"\b(?:\w+\.){2}\w+\b", text.split("table:")[0])}
    assert len([name for name in operations if re.match(r"(company|person|market|supplier)\.", name)]) >= 12


@pytest.mark.parametrize("name", PATTERNS)
def test_each_key_is_used_twice(name: str) -> None:
    users = [text for text in SPECS if re.search(PATTERNS[name], text, re.MULTILINE)]
    assert len(users) >= 2


def test_some_operations_have_several_tables() -> None:
    several = [folder for folder in FOLDERS if len(list(folder.glob("*.yaml"))) > 1]
    assert len(several) >= 2
    for folder in several:
        assert len(list(folder.glob("extraction*.json"))) == len(list(folder.glob("*.yaml")))
