"""The commands about test cases: `test` compares extracted samples with the accepted ones, `accept` rewrites these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer

from engine.cases.expectations import build_expected_files
from engine.cases.folders import Case, find_case_folder, list_cases
from engine.errors import EngineError
from engine.plans import UnknownSpec
from engine.project import Project, find_project
from scripts import terminal
from scripts.commands.options import AsJson, Command, complete_spec

_WIDTH = 200  # the most characters of a line in a diff

SpecToTest = Annotated[
    str | None, typer.Argument(help="Only the case of this spec.", autocompletion=complete_spec, metavar="[SPEC]")
]


class NoCase(EngineError):
    """A spec has no case directory, so there is nothing to test or to accept."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An expected file of a case that differs from the present results, or for which they could not be computed."""

    case: str
    file: str
    difference: str


def test_cases(spec: SpecToTest = None, as_json: AsJson = False) -> None:
    """Compare the extraction of samples with what was accepted.

    Tests all cases below tests/cases/, or that of one spec. Exit status 1 if a file differs.
    """
    here = find_project()
    cases = _find_cases(here, spec)
    failures = [failure for case in cases for failure in _test_case(here, case)]
    if as_json:
        terminal.print_json({"cases": len(cases), "failures": [asdict(failure) for failure in failures]})
    else:
        for failure in failures:
            terminal.print_line(f"{failure.case}: {failure.file}")
            for line in failure.difference.splitlines():
                terminal.print_line(line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…")
        hint = "; `dex accept` writes what comes of them: read the difference first" if failures else ""
        terminal.print_note(f"{len(cases)} case(s), {len(failures)} difference(s){hint}")
    raise typer.Exit(1 if failures else 0)


def accept_cases(spec: SpecToTest = None, as_json: AsJson = False) -> None:
    """Accept what the samples give now as what is expected.

    For all cases below tests/cases/, or that of one spec. Review the change before you commit it.
    """
    here = find_project()
    written: list[str] = []
    failures: list[Failure] = []
    for case in _find_cases(here, spec):
        try:
            written += _accept_case(here, case)
        except (EngineError, OSError) as error:
            failures.append(_build_failure(here, case, error))
    if as_json:
        terminal.print_json({"written": written, "failures": [asdict(failure) for failure in failures]})
    else:
        for name in written:
            terminal.print_line(f"wrote {name}")
        for failure in failures:
            terminal.print_line(f"{failure.case}: {failure.difference}")
        terminal.print_note(f"{len(written)} file(s) changed")
    raise typer.Exit(1 if failures else 0)


def _accept_case(here: Project, case: Case) -> list[str]:
    """Write the expected files of a case that differ from its present results; return their names."""
    written = []
    for file, text in build_expected_files(here, case).items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            written.append(file.relative_to(here.root).as_posix())
    return written


def _find_cases(here: Project, spec: str | None) -> Sequence[Case]:
    """Return all cases, or that of `spec`. Raises UnknownSpec; raises NoCase for a spec that has no case."""
    if spec is not None and not (here.specs / f"{spec}.yaml").is_file():
        known = ", ".join(f"`{file.stem}`" for file in sorted(here.specs.glob("*.yaml")))
        raise UnknownSpec(f"unknown spec `{spec}`", hint=f"known specs: {known}")
    cases = list_cases(here, spec)
    if not cases:
        folder = (find_case_folder(here, spec) if spec else here.cases).relative_to(here.root).as_posix()
        hint = "save a step output there as `step_output.json`, then `dex accept` writes what comes of it"
        raise NoCase(f"there is no case in `{folder}`", hint=hint)
    return cases


def _test_case(here: Project, case: Case) -> list[Failure]:
    try:
        expected = build_expected_files(here, case)
    except (EngineError, OSError) as error:
        return [_build_failure(here, case, error)]
    return list(_compare_files(here, case, expected))


def _build_failure(here: Project, case: Case, error: Exception) -> Failure:
    return Failure(case.name, case.folder.relative_to(here.root).as_posix(), str(error))


def _compare_files(here: Project, case: Case, expected: Mapping[Path, str]) -> list[Failure]:
    failures = []
    for file, text in expected.items():
        name = file.relative_to(here.root).as_posix()
        stored = file.read_text(encoding="utf-8") if file.is_file() else ""
        if stored != text:
            lines = unified_diff(stored.splitlines(), text.splitlines(), f"{name} (accepted)", name, lineterm="")
            failures.append(Failure(case.name, name, "\n".join(lines)))
    return failures


COMMANDS = (
    Command("test", test_cases, ("dex test", "dex test company_intel_briefings")),
    Command("accept", accept_cases, ("dex accept company_intel_briefings",)),
)
