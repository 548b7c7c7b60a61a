"""Plans from the text of a spec."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine import plan, project
from engine import plans as plans_module
from engine.plan import Plan
from engine.spec import checks, yaml_source

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def compiled() -> Callable[[str], Plan]:
    """Compile the text of one spec, which must pass the checks."""

    def compile_text(text: str) -> Plan:
        name = next(line.split(": ")[1] for line in text.splitlines() if line.startswith("name: "))
        checked = checks.check_sources([yaml_source.parse_source(text, f"specs/{name}.yaml")])
        assert not checked.diagnostics, "\n".join(map(str, checked.diagnostics))
        ((origin, spec),) = checked.specs
        return plan.compile_spec(spec, origin.file, checked.paths)

    return compile_text


@pytest.fixture(scope="session")
def plans() -> tuple[Plan, ...]:
    """The project's own plans."""
    return plans_module.load_plans(project.find_project(ROOT))
