"""Python beside TypeScript over documents and paths made by chance: one answer, number by number and key by key."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from engine.values.exact_json import convert_to_stored
from tests.conformance.random_paths import Chance
from tests.conformance.test_conformance import compare_answers, evaluate_in_python, evaluate_in_typescript

PATHS_PER_DOCUMENT = 10


def assert_alike_by_chance(seed: int, documents: int) -> None:
    """Compare both answers to each pair: Python reads what `jsonb` returns, TypeScript what the provider wrote."""
    chance = Chance(seed)
    written: list[Any] = [chance.make_document() for _ in range(documents)]
    stored: list[Any] = [convert_to_stored(document) for document in written]
    questions = [(index, chance.make_path()) for index in range(documents) for _ in range(PATHS_PER_DOCUMENT)]
    answers = evaluate_in_typescript(written, questions)
    for (index, path), theirs in zip(questions, answers, strict=True):
        compare_answers(f"seed {seed}: {path}", written[index], evaluate_in_python(path, stored[index]), theirs)


@pytest.mark.parametrize("seed", range(2))
def test_answers_alike(seed: int) -> None:
    assert_alike_by_chance(seed, documents=250)


@pytest.mark.long
@pytest.mark.parametrize("part", range(12))
def test_answers_alike_over_sixty_thousand_pairs(part: int) -> None:
    assert_alike_by_chance(secrets.randbits(32), documents=500)
