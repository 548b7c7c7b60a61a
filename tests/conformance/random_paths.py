"""Documents and paths by chance, made of what two languages disagree on: spellings of numbers, orders of keys.

A document has few numbers in several spellings, so that most of its values stand in it twice. Keys are ones that look
like indexes, or that JavaScript objects have by birth. Every path is one that `dex check` accepts.

`random` makes a pair in a twentieth of the time that hypothesis takes; a failure names its seed.
"""

from __future__ import annotations

import random

from engine.jmespath import path
from engine.jmespath.grammar import PathError
from engine.values.exact_json import Json, loads

#: Spellings of one number, or numbers that are one double.
NUMBERS = tuple(
    tuple(line.split())
    for line in (
        "0 -0 -0.0 0.0 0e5",
        "1 1.0 1e0 10e-1",
        "10 10.0 1e1 1.0e1",
        "1.1 1.10 1.100 110e-2",
        "100 1e2 100.00 100",
        "2 3 -3 1.5",
        "0.1 0.3 0.30000000000000004 0.10",
        "1E-7 0.0000001 1.0e-7 0.00000010",
        "1e21 1000000000000000000000 1.0E+21 1e22",
        "9007199254740992 9007199254740993 9007199254740994 9007199254740992.0",
        "12345678901234567890 12345678901234567891 -12345678901234567890 12345678901234567890.5",
        "1e400 1e400 -1e400 7",
    )
)
KEYS = ("a", "b", "aa", "1", "10", "é", "__proto__", "length", "constructor")
OTHERS: tuple[Json, ...] = (None, True, False, "", " ", "a", "b", "10", "é😀", "\uffee", "toString")
LITERALS = (
    *("'a'", "'10'", "''", "`1`", "`0`", "`1.0`", "`1.10`", "`-0.0`", "`1e2`", "`0.0000001`", "`null`", "`true`"),
    *("`[]`", "`{}`", '`"é"`', '`[1, "a", 10.0]`', '`{"b": 1, "aa": 2, "10": 3.0}`'),
)
OPERATORS = ("||", "&&", "==", "!=", "<", "<=", ">", ">=", "|", "!")
STEPS = ("[0]", "[-1]", "[-3]", "[2]", "[*]", "[]", "[1:]", "[::-1]", "[:2]", "[-2:9:2]", ".*")
CALLS_OF_ONE = ("abs", "avg", "ceil", "floor", "sum", "keys", "length", "max", "min", "reverse", "sort", "to_array")
CALLS_OF_TWO = ("contains", "ends_with", "join", "not_null", "starts_with", "merge")
CALLS_WITH_KEY = ("sort_by", "max_by", "min_by")


class Chance:
    """Makes the same documents and paths for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def make_document(self) -> dict[str, Json]:
        """Make `{output, context, item}`: an object, an object and anything."""
        numbers = [loads(text) for family in self.random.sample(NUMBERS, 2) for text in family]
        output, context = (self._make_object(numbers, 3, 1) for _ in range(2))
        return {"output": output, "context": context, "item": self._make_value(numbers, 3)}

    def make_path(self) -> str:
        """Make a path over a document of `make_document` that `dex check` accepts."""
        while True:
            text = self._write_expression(self.random.choice((0, 1, 1, 2, 2, 3)), is_root=True)
            try:
                path.compile_path(text)
            except PathError:  # such as a `!` before a step: it reaches neither language
                continue
            return text

    def _make_value(self, numbers: list[Json], depth: int) -> Json:
        kind = self.random.random()
        if depth == 0 or kind < 0.5:
            return self.random.choice(numbers) if self.random.random() < 0.7 else self.random.choice(OTHERS)
        if kind < 0.75:
            if self.random.random() < 0.4:  # one kind only: for `sum`, `sort` and `join`
                pool = numbers if self.random.random() < 0.7 else ["", "a", "b", "é😀", "\uffee"]
                return [self.random.choice(pool) for _ in range(self.random.randrange(5))]
            return [self._make_value(numbers, depth - 1) for _ in range(self.random.randrange(4))]
        return self._make_object(numbers, depth - 1, 0)

    def _make_object(self, numbers: list[Json], depth: int, least: int) -> Json:
        keys = self.random.sample(KEYS, self.random.randint(least, 4))
        return {key: self._make_value(numbers, depth) for key in keys}

    def _write_expression(self, depth: int, is_root: bool) -> str:
        if depth == 0:
            return self._write_leaf(is_root)
        write = self.random.choice((self._write_walk, self._write_walk, self._write_operation, self._write_call))
        return write(depth - 1, is_root)

    def _write_leaf(self, is_root: bool) -> str:
        kind = self.random.random()
        if kind < 0.1:
            return self.random.choice(LITERALS)
        if kind < 0.25:
            return self.random.choice(("output", "context", "item", "@")) if is_root else "@"
        return (
            f"{self.random.choice(('output', 'context', 'item'))}.{self._write_key()}" if is_root else self._write_key()
        )

    def _write_walk(self, depth: int, is_root: bool) -> str:
        base, other = (self._write_expression(depth, is_root) for _ in range(2))
        step = self.random.choice(STEPS) + self.random.choice(("", f".{self._write_key()}", ".*", "[0]"))
        return self.random.choice(
            (
                f"({base}).{self._write_key()}",
                f"({base})[?{self._write_expression(depth, False)}]",
                f"({base})[].[{self._write_expression(depth, False)}]",
                f"[{base}, {other}]",
                f"{{{self._write_key()}: {base}, {self._write_key()}: {other}}}",
                f"({base}){step}",
                f"({base}){step}",
            )
        )

    def _write_operation(self, depth: int, is_root: bool) -> str:
        operator, left = self.random.choice(OPERATORS), self._write_expression(depth, is_root)
        if operator == "!":
            return f"!({left})"
        return f"({left} {operator} {self._write_expression(depth, is_root and operator != '|')})"

    def _write_call(self, depth: int, is_root: bool) -> str:
        one, two = (self._write_expression(depth, is_root) for _ in range(2))
        key = self._write_expression(depth, False)
        return self.random.choice(
            (
                f"{self.random.choice(CALLS_OF_ONE)}({one})",
                f"{self.random.choice((*CALLS_OF_ONE, 'values', 'type'))}({one})",
                f"{self.random.choice(CALLS_OF_TWO)}({one}, {two})",
                f"{self.random.choice(CALLS_WITH_KEY)}({one}, &{key})",
                f"map(&{key}, {one})",
                f"keys(merge({one}, {two}))",
            )
        )

    def _write_key(self) -> str:
        key = self.random.choice(KEYS)
        return key if key.isascii() and key.isidentifier() else f'"{key}"'
