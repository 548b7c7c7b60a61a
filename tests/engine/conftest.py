"""Plans from the text of a spec."""

from collections.abc import Callable

import pytest

from engine import plan
from engine.plan import Plan
from engine.spec import checks, yaml_source
from tests.conftest import load_project_plans


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
    return load_project_plans()
