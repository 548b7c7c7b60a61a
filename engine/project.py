"""The project a command works on.

In: the folder a command was run in. Out: the folders of the project around it.
It must not read any file of the project beyond finding `pyproject.toml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError


class ProjectNotFound(EngineError):
    """No folder upwards from the working folder has a `pyproject.toml`."""


@dataclass(frozen=True, slots=True)
class Project:
    """The folders of one project, all below `root`."""

    root: Path

    @property
    def specs(self) -> Path:
        return self.root / "specs"

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    @property
    def data(self) -> Path:
        """Where the embedded Postgres and generated development secrets live; never committed."""
        return self.root / ".data"


def find(start: Path | None = None) -> Project:
    """Return the project of `start` (default: the working folder): the nearest folder upwards with a `pyproject.toml`.

    Raises ProjectNotFound when there is none.
    """
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").is_file():
            return Project(candidate)
    raise ProjectNotFound(
        f"no `pyproject.toml` in `{folder}` or any folder above it",
        hint="run the command inside a project, for example a clone of this repository",
    )
