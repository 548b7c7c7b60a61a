"""Each folder of good/, wrong/ and providers/ is a test; README.md says what may stand in one."""

from pathlib import Path

import pytest

from engine.cases.expectations import build_expected_files
from engine.cases.folders import Case, CaseKind, list_cases
from engine.project import Project
from engine.spec.diagnostics import CODES

HERE = Path(__file__).parent
PROJECT = Project(HERE.parents[1])
#: What is about the project's case directories, not about one folder of specs: tests/commands/test_check.py.
OF_PROJECTS = {"SPEC702"}


@pytest.mark.parametrize("case", list_cases(PROJECT), ids=lambda case: case.name)
def test_case(case: Case) -> None:
    expected = build_expected_files(PROJECT, case)
    assert expected or case.kind is CaseKind.GOOD, "a case says something"
    for file, text in expected.items():
        assert file.is_file(), f"{file} is missing (`make accept` writes it); it would say:\n{text}"
        assert file.read_text() == text, f"{file.relative_to(HERE)} says something else"
        assert case.kind is not CaseKind.WRONG or text.strip(), "a wrong case is found wrong"


def test_every_code_has_a_case() -> None:
    errors = "".join(file.read_text() for file in HERE.glob("wrong/*/errors.txt"))
    assert not [code for code in CODES if f" {code} " not in errors and code not in OF_PROJECTS]


def test_every_mistake_has_a_hint() -> None:
    for file in HERE.glob("wrong/*/errors.txt"):
        lines = file.read_text().splitlines()
        for mistake, hint in zip(lines[::2], lines[1::2], strict=True):
            assert mistake.startswith("specs/") and hint.startswith("    hint: "), f"{file}: {mistake}"
