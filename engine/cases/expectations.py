"""Build the expected files of a case directory from its specs and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.cases.folders import Case, CaseKind, list_samples
from engine.cases.sample_checks import extract_sample, find_sample_warnings
from engine.generate import operations, typescript
from engine.generate.docs import spec_pages
from engine.plan import Plan, compile_spec
from engine.plans import compile_checked
from engine.project import Project
from engine.rows import render
from engine.rows.fetch_plan import FetchPlan
from engine.spec import yaml_source
from engine.spec.checks import Checked, check_sources
from engine.sql import merge, step_results, upsert

#: By name of an expected file of a good case: the function that builds its text from the plan of the first spec.
BUILDERS: dict[str, Callable[[Plan], str]] = {
    "upsert.sql": upsert.build_upsert_sql,
    "find.sql": lambda plan: step_results.build_step_results_statement(FetchPlan(plan), step_results.Scope()).text,
    "merge.sql": lambda plan: "\n".join(
        build(FetchPlan(plan)) for build in (merge.build_lookup_sql, merge.build_insert_sql, merge.build_update_sql)
    ),
    "reference.md": spec_pages.build_spec_page,
    "block.ts": lambda plan: typescript.build_typescript_files([plan])[
        f"{typescript.FOLDER}/{typescript.build_file_name(plan)}"
    ],
    "operation.ts": lambda plan: operations.build_operation_files([plan])[
        f"{operations.FOLDER}/{typescript.build_file_name(plan)}"
    ],
}


def build_expected_files(project: Project, case: Case) -> dict[Path, str]:
    """Return the text of each expected file of a case by the file's path.

    Raises SpecErrors when the specs of a good case have mistakes, ExactError or OSError for a sample that is not JSON.
    """
    checked = _check_specs(project, case)
    if case.kind is CaseKind.WRONG:
        text = "\n".join(map(str, [*checked.diagnostics, *_list_warnings(case, checked)]))
        return {case.folder / "errors.txt": trim_lines(text)}
    return {file: trim_lines(text) for file, text in _list_texts(case, compile_checked(checked))}


def trim_lines(text: str) -> str:
    """Return a text without whitespace at the ends of its lines, ending in exactly one line break."""
    return "\n".join(line.rstrip() for line in text.strip().split("\n")) + "\n"


def _check_specs(project: Project, case: Case) -> Checked:
    return check_sources([yaml_source.load_source(file, f"specs/{file.name}") for file in case.list_specs(project)])


def _list_warnings(case: Case, checked: Checked) -> list[str]:
    """Return what `dex check` warns of in the samples of a wrong case; the samples belong to its first spec."""
    files = [sample.file for sample in list_samples(case.folder)]
    if checked.diagnostics or not files:
        return []
    source, spec = checked.specs[0]
    plan = compile_spec(spec, source.file, checked.paths, source.files)
    extractions = [extract_sample(plan, file, with_duplicates=True) for file in files]
    return list(map(str, find_sample_warnings(source, spec, plan, extractions)))


def _list_texts(case: Case, plans: Sequence[Plan]) -> Iterator[tuple[Path, str]]:
    first = plans[0]
    if case.kind is CaseKind.PROVIDERS:
        answers = (file for file in sorted(case.folder.glob("*.json")) if ".extraction" not in file.suffixes)
        yield from ((file.with_suffix(".extraction.json"), _render_extraction(first, file)) for file in answers)
        return
    for sample in list_samples(case.folder):
        yield sample.extraction, _render_extraction(first, sample.file)
        for other in plans[1:]:
            name = sample.extraction.stem.replace("extraction", f"extraction.{other.name}", 1)
            yield sample.extraction.with_name(f"{name}.json"), _render_extraction(other, sample.file)
    for name, build_text in BUILDERS.items():
        if (case.folder / name).exists():
            yield case.folder / name, build_text(first)


def _render_extraction(plan: Plan, file: Path) -> str:
    return render.dump_json(render.render_extraction(plan, extract_sample(plan, file)), indent=True).decode()
