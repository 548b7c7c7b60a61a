"""Load the plans of a project: read its spec files, check them and compile them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.errors import EngineError, suggest_name
from engine.plan import Plan, SpecText, compile_spec
from engine.project import Project
from engine.research_plan import Research
from engine.spec import yaml_source
from engine.spec.checks import Checked, check_sources
from engine.spec.diagnostics import SpecErrors
from engine.spec.referenced_files import ReferencedFile


class UnknownSpec(EngineError):
    """The project has no spec of that name."""


def check_project(project: Project) -> Checked:
    """Read and check every file of the project's specs folder; return the mistakes instead of raising them.

    A spec is a `*.yaml`. A `*.yml` or `*.YAML` is a mistake: if it were ignored, its operation would have no rows.
    """
    files = sorted(file for file in project.specs.glob("*") if file.suffix.lower() in (".yaml", ".yml"))
    return check_sources([yaml_source.load_source(file, file.relative_to(project.root).as_posix()) for file in files])


def load_plans(project: Project) -> tuple[Plan, ...]:
    """Return the plans of the project in the order of their names. Raises SpecErrors when one has a mistake."""
    return compile_checked(check_project(project))


@dataclass(frozen=True, slots=True)
class PortableSpec:
    """The text of a spec and of the files it refers to, to be sent to a process that has no specs folder."""

    file: str
    text: str
    files: tuple[tuple[str, ReferencedFile], ...]


def read_texts(project: Project) -> tuple[PortableSpec, ...]:
    """Return the text of each spec, with the files that it refers to. Raises SpecErrors when one has a mistake."""
    checked = check_project(project)
    compile_checked(checked)
    return tuple(PortableSpec(source.file, source.text, tuple(source.files.items())) for source, _ in checked.specs)


def compile_texts(texts: Sequence[PortableSpec]) -> tuple[Plan, ...]:
    """Return the plans of specs that came as text. Raises SpecErrors when one has a mistake."""
    sources = []
    for portable in texts:
        source = yaml_source.parse_source(portable.text, portable.file)
        source.files = dict(portable.files)
        sources.append(source)
    return compile_checked(check_sources(sources))


def compile_text(text: str, file: str) -> Plan:
    """Return the plan of one spec, `file`, that refers to no files. Raises SpecErrors when it has a mistake."""
    (plan,) = compile_texts([PortableSpec(file, text, ())])
    return plan


def compile_checked(checked: Checked) -> tuple[Plan, ...]:
    """Return the plans of checked specs. Raises SpecErrors when one has a mistake."""
    if checked.diagnostics:
        raise SpecErrors(checked.diagnostics)
    return tuple(
        compile_spec(spec, source.file, checked.paths, source.files, SpecText(source.text, source.cut_key("backfill")))
        for source, spec in checked.specs
    )


def index_research(plans: Iterable[Plan]) -> dict[str, Research]:
    """Return the `research` blocks of plans by operation; no operation has two."""
    return {plan.research.operation: plan.research for plan in plans if plan.research is not None}


def find_plan(plans: Iterable[Plan], name: str) -> Plan:
    """Return the plan called `name`. Raises UnknownSpec, with the known names as its hint, when there is none."""
    by_name = {plan.name: plan for plan in plans}
    if name not in by_name:
        known = ", ".join(f"`{known}`" for known in by_name) or "none"
        near = suggest_name(name, by_name)
        hint = f"known specs: {known}" + (f"; {near}" if near.startswith("did you mean") else "")
        raise UnknownSpec(f"unknown spec `{name}`", hint=hint)
    return by_name[name]
