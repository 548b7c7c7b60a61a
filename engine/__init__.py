"""The engine: it compiles specs to plans; with a plan it turns step results into rows, and builds queries and files.

The package `engine.generated` is that of the project around the working folder, whose functions `dex generate` wrote
there; where it has none, the one that is installed beside this file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _GeneratedFinder:
    """Finds `engine.generated` in the project of the working folder: Python would find the installed one alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the package is in the project; None for other modules, or if the project has none."""
        if fullname != "engine.generated":
            return None
        from engine.project import ProjectNotFound, find_project

        try:
            folder = find_project().root / "engine"
        except (ProjectNotFound, OSError):  # OSError: the working folder is gone
            return None
        if not (folder / "generated" / "__init__.py").is_file():
            return None
        return PathFinder.find_spec(fullname, [str(folder)], target)


sys.meta_path.insert(0, _GeneratedFinder())
