"""Python beside TypeScript over documents and paths made by chance: one answer, number by number and key by key."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.values.exact_json import convert_to_stored, dumps, loads
from tests.conformance.random_paths import build_documents, build_paths
from tests.conformance.test_conformance import TRIGGER, compare_answers, evaluate_in_python

PATHS_PER_DOCUMENT = 10
#: Pairs of a document and a path: some thousands in every run, the others in `pytest -m long`.
DOCUMENTS, DOCUMENTS_OF_LONG_RUN = 400, 6_000

PAIRS = st.tuples(build_documents(), st.lists(build_paths(), min_size=PATHS_PER_DOCUMENT, max_size=PATHS_PER_DOCUMENT))
SETTINGS = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], database=None
)


class TypeScript:
    """A node process that evaluates paths as the runner does."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["node", "--import", "tsx", "tests/paths/evaluate.ts"],
            cwd=TRIGGER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, document: Any, paths: list[str]) -> list[Any]:
        assert self.process.stdin and self.process.stdout
        questions: list[Any] = [[0, path] for path in paths]
        self.process.stdin.write(dumps({"documents": [document], "questions": questions}) + b"\n")
        self.process.stdin.flush()
        answers = loads(self.process.stdout.readline())
        assert isinstance(answers, list)
        return answers

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def typescript() -> Iterator[TypeScript]:
    process = TypeScript()
    yield process
    process.close()


def assert_pairs_alike(typescript: TypeScript, document: Any, paths: list[str]) -> None:
    """Compare both answers to each path: Python reads what `jsonb` returns, TypeScript what the provider wrote."""
    stored: Any = convert_to_stored(document)
    for path, theirs in zip(paths, typescript.ask(document, paths), strict=True):
        compare_answers(path, document, evaluate_in_python(path, stored), theirs)


@settings(SETTINGS, max_examples=DOCUMENTS, derandomize=True)
@given(PAIRS)
def test_answers_alike(typescript: TypeScript, pair: tuple[Any, list[str]]) -> None:
    assert_pairs_alike(typescript, *pair)


@pytest.mark.long
@settings(SETTINGS, max_examples=DOCUMENTS_OF_LONG_RUN, print_blob=True)
@given(PAIRS)
def test_answers_alike_in_the_long_run(typescript: TypeScript, pair: tuple[Any, list[str]]) -> None:
    assert_pairs_alike(typescript, *pair)


def test_the_long_run_is_long() -> None:
    assert DOCUMENTS * PATHS_PER_DOCUMENT >= 4_000
    assert DOCUMENTS_OF_LONG_RUN * PATHS_PER_DOCUMENT >= 50_000
