"""Build pieces of Markdown from texts, escaped so that they are shown literally."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from engine.generate.header import MAKER, build_header


def build_page(source: str, *blocks: str, maker: str = MAKER) -> str:
    """Return a page: the generated header, then each block that is not empty, with an empty line between."""
    return "\n\n".join((f"<!-- {build_header(source, maker)} -->", *filter(None, blocks))) + "\n"


def format_code(text: str) -> str:
    """Return a text as a code span, "" for an empty text.

    Each `|` is left to `escape_cell`, for tables.
    """
    fence = "``" if "`" in text else "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}" if text else ""


def format_codes(names: Iterable[str]) -> str:
    """Return names as code spans, joined by commas."""
    return ", ".join(map(format_code, names))


def build_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with the heading row `head`; `escape_cell` makes a cell of any text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(escape_cell, line))} |" for line in lines)


def escape_cell(text: str) -> str:
    """Return `text` as the cell of a table: on one line, each `|` escaped, also within code spans."""
    return text.replace("\n", " ").replace("|", "\\|")


def escape_html(text: str) -> str:
    """Return prose with `<`, `>` and `&` escaped outside of code spans, which need no escaping."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(part if index % 2 else html.escape(part, quote=False) for index, part in enumerate(parts))


def build_code_block(language: str, text: str) -> str:
    """Return a fenced code block, with a fence that is longer than any in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def build_json_block(value: Any) -> str:
    """Return a fenced code block of JSON."""
    return build_code_block("json", json.dumps(value, indent=2, ensure_ascii=False))
