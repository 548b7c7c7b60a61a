"""The fenced blocks of a page, and the notes above them that say what a test does with each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```\n", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block, and the note above it."""

    note: str
    language: str
    text: str


def read_blocks(text: str) -> list[Block]:
    return [Block(found["note"] or "", found["language"], found["text"]) for found in BLOCK.finditer(text)]


def find_blocks(text: str, note: str) -> Iterator[str]:
    """Yield the texts of the blocks that have this note."""
    yield from (block.text for block in read_blocks(text) if block.note == note)
