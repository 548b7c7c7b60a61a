"""Extract the samples of each spec, and warn of columns that no sample fills: their paths are likely wrong.

A warning is a Diagnostic like any other; the caller decides whether it counts as a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.cases.folders import Sample, find_case_folder, list_samples
from engine.plan import Plan, compile_spec
from engine.project import Project
from engine.rows import document
from engine.rows.extract import Extraction, extract_rows
from engine.rows.fill_rates import FillRates
from engine.spec.checks import Checked
from engine.spec.diagnostics import Diagnostic
from engine.spec.models import Spec
from engine.spec.yaml_source import Place, Source
from engine.values import exact_json


@dataclass(frozen=True, slots=True)
class SampleReport:
    """The fill rates of one spec's samples, and the warnings about them."""

    fill_rates: FillRates
    warnings: tuple[Diagnostic, ...]


def check_samples(project: Project, checked: Checked) -> list[SampleReport]:
    """Extract the samples of every spec that has no mistakes; return one report per spec, in the order of the specs."""
    reports = []
    for source, spec in checked.specs:
        if source.diagnostics:
            continue
        plan = compile_spec(spec, source.file, checked.paths, source.files)
        folder = find_case_folder(project, spec.name)
        reports.append(_check_spec(source, spec, plan, list(list_samples(folder)), project))
    return reports


def find_sample_warnings(source: Source, spec: Spec, plan: Plan, extractions: Iterable[Extraction]) -> list[Diagnostic]:
    """Return the warnings about columns that too few of a spec's extracted samples fill."""
    fills = FillRates(plan)
    for extraction in extractions:
        fills.add_extraction(extraction)
    return list(_find_warnings(source, spec, fills))


def extract_sample(plan: Plan, file: Path, *, with_duplicates: bool = False) -> Extraction:
    """Extract the rows of one sample. Raises OSError or ExactError when the file cannot be read as JSON."""
    value = document.build_from_file(exact_json.loads(file.read_bytes()), plan.operations[0])
    return extract_rows(plan, value["operation"]["id"], value, with_duplicates=with_duplicates)


def _check_spec(source: Source, spec: Spec, plan: Plan, samples: list[Sample], project: Project) -> SampleReport:
    fills = FillRates(plan)
    warnings = []
    for sample in samples:
        try:
            fills.add_extraction(extract_sample(plan, sample.file, with_duplicates=True))
        except (OSError, exact_json.ExactError) as error:
            file = sample.file.relative_to(project.root).as_posix()
            warnings.append(Diagnostic(file, 1, 1, "SPEC702", f"the sample cannot be read: {error}", "fix the file"))
    if not samples and (plan.many or plan.research):
        folder = find_case_folder(project, spec.name).relative_to(project.root).as_posix()
        position = source.find_value_position(("name",))
        message = f"`{spec.name}` has no sample, so nothing shows that its paths find something"
        hint = f"save a step output of the operation as `{folder}/step_output.json`, then `dex accept {spec.name}`"
        warnings.append(Diagnostic(source.file, position.line, position.column, "SPEC702", message, hint))
    warnings += _find_warnings(source, spec, fills)
    return SampleReport(fills, tuple(sorted(warnings)))


def _find_warnings(source: Source, spec: Spec, fills: FillRates) -> Iterator[Diagnostic]:
    for name in fills.list_empty_columns():
        place: Place = ("fields", name, "coalesce" if spec.fields[name].coalesce else "path")
        position = source.find_value_position(place)
        count = f"{fills.rows} row(s)" if fills.rows else f"{fills.refused} element(s)"
        refused = f", {fills.refusals[name]} refused for it" if fills.refusals[name] else ""
        message = f"`{name}` has a value in 0 of {count} of the samples{refused}"
        hint = f"correct the path; where it is right, add a sample with a value (`dex extract {spec.name} --explain`)"
        yield Diagnostic(source.file, position.line, position.column, "SPEC701", message, hint)
    if fills.step_results and not fills.rows and not fills.list_empty_columns():
        position = source.find_value_position(("rows",) if spec.rows else ("fields",))
        message = f"{fills.step_results} sample(s) give no row"
        hint = f"`dex extract {spec.name} FILE` says why; keep a sample that gives one"
        yield Diagnostic(source.file, position.line, position.column, "SPEC701", message, hint)
