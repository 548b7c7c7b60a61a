"""Pieces of Markdown.

In: words. Out: Markdown in which those words look as they are. It must not know what the words say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from engine.generate.header import MAKER, header


def page(source: str, *blocks: str, maker: str = MAKER) -> str:
    """Return a page: the generated header, then each block that is not empty, an empty line between."""
    return "\n\n".join((f"<!-- {header(source, maker)} -->", *filter(None, blocks))) + "\n"


def code(text: str) -> str:
    """Return a code span; in a table it stands as it is, bars included (`cell` sees to those)."""
    fence = "``" if "`" in text else "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}" if text else ""


def codes(names: Iterable[str]) -> str:
    """Return names as code spans with commas between."""
    return ", ".join(map(code, names))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(text: str) -> str:
    """Return `text` on one line, its bars escaped: that is needed within code spans too, and not shown there."""
    return text.replace("\n", " ").replace("|", "\\|")


def block(language: str, text: str) -> str:
    """Return a fenced block."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def json_block(value: Any) -> str:
    """Return a fenced block of JSON."""
    return block("json", json.dumps(value, indent=2, ensure_ascii=False))
