"""Python beside TypeScript over expressions and documents made by chance, the same ones in every run."""

import random
from typing import Any

import jmespath
import pytest

from engine.values.exact_json import Json, loads
from tests.conformance.test_conformance import assert_same

KEYS = ("a", "b", "c", "aa", "10", "é")
LEAVES: tuple[Json, ...] = (None, True, False, 0, 1, 2, -3, 1.5, "", "a", "b", "é😀", "10", loads("1.10"), loads("3.0"))
LITERALS = ("'a'", "'10'", "''", "`1`", "`0`", "`1.5`", "`null`", "`true`", "`[]`", "`{}`", '`"é"`', '`[1,"a"]`')
OPERATORS = ("||", "&&", "==", "!=", "<", "<=", ">", ">=", "|")
ARITHMETIC = ("abs", "avg", "ceil", "floor", "sum")
ONE_ARGUMENT = (*ARITHMETIC, "keys", "length", "max", "min", "reverse", "sort", "to_array", "type", "values")
TWO_ARGUMENTS = ("contains", "ends_with", "join", "not_null", "starts_with")


class Chance:
    """Makes documents and expressions."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def document(self, depth: int = 4) -> Json:
        kind = self.random.random()
        if depth == 0 or kind < 0.4:
            return self.random.choice(LEAVES)
        if kind < 0.7:
            return [self.document(depth - 1) for _ in range(self.random.randrange(4))]
        return {key: self.document(depth - 1) for key in self.random.sample(KEYS, self.random.randrange(5))}

    def expression(self, depth: int) -> str:
        if depth == 0:
            return self.random.choice((self.key(), self.key(), self.random.choice(LITERALS), "@"))
        return self.random.choice((self.walk, self.walk, self.array, self.operation, self.call))(depth - 1)

    def key(self) -> str:
        key = self.random.choice((*KEYS, "missing"))
        return key if key.isascii() and key.isalpha() else f'"{key}"'

    def base(self, depth: int) -> str:
        return self.random.choice((self.key(), f"({self.expression(depth)})"))

    def walk(self, depth: int) -> str:
        return self.random.choice(
            (
                f"{self.expression(depth)}.{self.key()}",
                f"{self.base(depth)}.*",
                f"[{self.expression(depth)}, {self.expression(depth)}]",
                f"{self.base(depth)}.{{x: {self.expression(depth)}, y: {self.expression(depth)}}}",
            )
        )

    def array(self, depth: int) -> str:
        step = self.random.choice(
            (f"[{self.random.randint(-3, 3)}]", "[*]", "[]", f"[?{self.expression(depth)}]", "[1:]", "[::-1]", "[:2]")
        )
        return self.base(depth) + step + self.random.choice(("", f".{self.key()}"))

    def operation(self, depth: int) -> str:
        operator = self.random.choice(OPERATORS)
        return self.random.choice(
            (f"({self.expression(depth)} {operator} {self.expression(depth)})", f"!{self.base(depth)}")
        )

    def call(self, depth: int) -> str:
        one, two = self.expression(depth), self.expression(depth)
        return self.random.choice(
            (
                f"{self.random.choice(ONE_ARGUMENT)}({one})",
                f"{self.random.choice(TWO_ARGUMENTS)}({one}, {two})",
                f"{self.random.choice(('sort_by', 'max_by', 'min_by'))}({one}, &{two})",
                f"map(&{one}, {two})",
                f"merge({{x: {one}}}, {{y: {two}}})",
            )
        )


def is_jmespath(expression: str) -> bool:
    try:
        jmespath.compile(expression)
    except jmespath.exceptions.ParseError:
        return False
    return True


@pytest.mark.parametrize("seed", range(2))
def test_answers_alike(seed: int) -> None:
    chance = Chance(seed)
    documents: list[Any] = [{"a": chance.document(), "b": chance.document(), "c": chance.document()} for _ in range(60)]
    expressions = [chance.expression(chance.random.randrange(1, 4)) for _ in range(2500)]
    questions = [(chance.random.randrange(len(documents)), text) for text in expressions if is_jmespath(text)]
    assert len(questions) > 2000
    assert_same(documents, questions)
