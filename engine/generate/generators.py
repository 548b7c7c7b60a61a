"""The table of generators: for each thing that `dex generate` writes, the function that builds its texts from plans.

`engine/generate/files.py` compares the texts with the disk and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.generate.docs.spec_pages import build_spec_pages
from engine.generate.operations import build_operation_files
from engine.generate.python import build_python_files
from engine.generate.spec_json_schema import build_json_schema_files
from engine.generate.typescript import build_typescript_files
from engine.plan import Plan

#: By name of what is generated: its generator, which takes all plans and returns texts by paths that no other has.
GENERATORS: Final[Mapping[str, Callable[[Sequence[Plan]], dict[str, str]]]] = {
    "typed Python functions": build_python_files,
    "TypeScript persist blocks": build_typescript_files,
    "TypeScript operations": build_operation_files,
    "JSON Schema of a spec": lambda _: build_json_schema_files(),
    "reference of each spec": build_spec_pages,
}


def build_generated_files(plans: Sequence[Plan]) -> dict[str, str]:
    """Return the text of every generated file by path, in the order of the paths."""
    files = {path: text for build_files in GENERATORS.values() for path, text in build_files(plans).items()}
    return dict(sorted(files.items()))
