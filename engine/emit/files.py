"""Plans -> every generated file of a project.

In: plans. Out: text by path, relative to the project's root. It must not know the disk: `engine/artifact.py` compares
and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.emit import errors, format, jsonschema, normalizers, python, reference, typescript
from engine.plan import Plan

#: Who writes what. Each takes all plans and returns text by path; no two name the same path.
EMITTERS: Final[Mapping[str, Callable[[Sequence[Plan]], dict[str, str]]]] = {
    "typed Python functions": python.emit,
    "TypeScript persist blocks": typescript.emit,
    "JSON Schema of a spec": jsonschema.emit,
    "reference of each spec": reference.emit,
    "reference of the normalizers": normalizers.emit,
    "keys of the format": format.emit,
    "list of errors": errors.emit,
}


def emit(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of every generated file by path, in the order of the paths."""
    files = {name: text for write in EMITTERS.values() for name, text in write(plans).items()}
    return dict(sorted(files.items()))
