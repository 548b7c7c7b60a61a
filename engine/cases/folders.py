"""Find the case directories of a project, and the samples in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.project import Project

#: The names of sample files: the kind of document, then a suffix that tells several of a kind apart.
_SAMPLE = re.compile(r"(step_output|output_payload|step_result)(_\w+)?\.json")


class CaseKind(StrEnum):
    """The kinds of cases: the folders below `tests/cases/`."""

    GOOD = "good"
    WRONG = "wrong"
    PROVIDERS = "providers"


@dataclass(frozen=True, slots=True)
class Case:
    """One folder below `tests/cases/`. If it holds no spec file, it tests the project's spec that has its name."""

    kind: CaseKind
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.folder.name}"

    def list_specs(self, project: Project) -> list[Path]:
        """Return the spec files that the case tests."""
        return sorted(self.folder.glob("*.yaml")) or [project.specs / f"{self.folder.name}.yaml"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample file and the file of its expected extraction.

    The sample is an operation's output, an `output_payload` or a whole step result.
    """

    file: Path
    extraction: Path


def list_cases(project: Project, spec: str | None = None) -> list[Case]:
    """Return all cases of a project, or only those that test the spec called `spec`."""
    if spec is not None:
        own = Case(CaseKind.GOOD, find_case_folder(project, spec))
        return [own] if own.folder.is_dir() else []
    return [
        Case(kind, folder)
        for kind in CaseKind
        for folder in sorted((project.cases / kind).glob("*"))
        if folder.is_dir() and any(folder.iterdir())
    ]


def find_case_folder(project: Project, spec: str) -> Path:
    """Return the case directory of a spec of the project, whether or not it exists."""
    return project.cases / CaseKind.GOOD / spec


def list_samples(folder: Path) -> Iterator[Sample]:
    """Yield the samples of a case directory; none where there is no such directory."""
    for file in sorted(folder.glob("*.json")):
        if found := _SAMPLE.fullmatch(file.name):
            yield Sample(file, folder / f"extraction{found[2] or ''}.json")
