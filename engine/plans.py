"""A project -> its plans.

In: a Project. Out: one Plan per spec, or every mistake at once. The one place where source, checks and compiler meet.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine import plan as plans
from engine.errors import EngineError, nearest
from engine.plan import Plan
from engine.project import Project
from engine.spec import yaml_source
from engine.spec.checks import Checked, check
from engine.spec.diagnostics import SpecErrors


class UnknownSpec(EngineError):
    """A name that is no spec of the project."""


def inspect(project: Project) -> Checked:
    """Read and check every spec of the project's specs folder. Never raises for what is wrong in one.

    A spec is a `*.yaml`. A `*.yml` or `*.YAML` is told of: overlooked without a word, its operation would have no rows.
    """
    files = sorted(file for file in project.specs.glob("*") if file.suffix.lower() in (".yaml", ".yml"))
    return check([yaml_source.load(file, file.relative_to(project.root).as_posix()) for file in files])


def load(project: Project) -> tuple[Plan, ...]:
    """Return the plans of the project, in the order of their names. Raises SpecErrors with every mistake found."""
    checked = inspect(project)
    if checked.diagnostics:
        raise SpecErrors(checked.diagnostics)
    return tuple(plans.compile(spec, yaml_source.file) for yaml_source, spec in checked.specs)


def pick(all_plans: Iterable[Plan], name: str) -> Plan:
    """Return the plan called `name`. Raises UnknownSpec naming the known ones."""
    by_name = {plan.name: plan for plan in all_plans}
    if name not in by_name:
        known = ", ".join(f"`{known}`" for known in by_name) or "none"
        near = nearest(name, by_name)
        hint = f"known specs: {known}" + (f"; {near}" if near.startswith("did you mean") else "")
        raise UnknownSpec(f"unknown spec `{name}`", hint=hint)
    return by_name[name]
