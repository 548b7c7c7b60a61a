"""Find the project that a command works on, and the paths of its folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError


class ProjectNotFound(EngineError):
    """Neither the working folder nor any folder above it is a project."""


@dataclass(frozen=True, slots=True)
class Project:
    """The folders of one project; `root` is the folder of its `pyproject.toml`."""

    root: Path

    @property
    def specs(self) -> Path:
        return self.root / "specs"

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    @property
    def cases(self) -> Path:
        """The folder of the case directories; `good/<spec>` keeps the samples of a spec."""
        return self.root / "tests" / "cases"

    @property
    def data(self) -> Path:
        """The folder of the embedded Postgres and of generated development secrets; never committed."""
        return self.root / ".data"


def find_project(start: Path | None = None) -> Project:
    """Return the project of `start` (default: the working folder).

    That is the nearest folder upwards with `specs/` and a `pyproject.toml`. Raises
    ProjectNotFound when there is none.
    """
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").is_file() and (candidate / "specs").is_dir():
            return Project(candidate)
    raise ProjectNotFound(
        f"neither `{folder}` nor a folder above it is a project: `specs/` and a `pyproject.toml`",
        hint="run the command inside one, for example a clone of data-engine-x; `dex init FOLDER` makes a new one",
    )
