"""Write prose into generated Python: docstrings, and lists of names in a sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


def join_names(names: Sequence[str]) -> str:
    """Return names in backticks, joined by commas and `and`."""
    return _join_phrases([f"`{name}`" for name in names])


def _join_phrases(phrases: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))


def build_docstring(summary: str, facts: Sequence[str], raises: str) -> str:
    """Return a docstring of three paragraphs: the summary, the facts about this plan, the exceptions."""
    paragraphs = [_wrap_paragraph(text) for text in (summary, " ".join(facts), f"Raises {raises}")]
    return "\n\n".join(paragraphs).replace("    ", '    """', 1) + '\n    """'


def _wrap_paragraph(text: str) -> str:
    margin = "    "
    line = escape_prose(text)
    return textwrap.fill(
        line, 116, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )


def escape_prose(text: str) -> str:
    """Return a text of a spec on one line, escaped so that it cannot end the docstring."""
    return " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")
