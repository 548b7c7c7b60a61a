"""The table of everything that `dex generate` makes from plans: text by path, relative to the project's root.

`engine/generate/files.py` compares the texts with the disk and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.generate import json_schema, python, typescript
from engine.generate.docs import spec_pages
from engine.plan import Plan

#: Who writes what. Each takes all plans and returns text by path; no two name the same path.
EMITTERS: Final[Mapping[str, Callable[[Sequence[Plan]], dict[str, str]]]] = {
    "typed Python functions": python.emit,
    "TypeScript persist blocks": typescript.emit,
    "JSON Schema of a spec": json_schema.emit,
    "reference of each spec": spec_pages.emit,
}


def emit(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of every generated file by path, in the order of the paths."""
    files = {name: text for write in EMITTERS.values() for name, text in write(plans).items()}
    return dict(sorted(files.items()))
