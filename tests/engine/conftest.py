"""Plans from the text of a spec."""

from collections.abc import Callable

import pytest

from engine.plan import Plan
from tests.conftest import load_project_plans
from tests.database.conftest import compile_text


@pytest.fixture
def compiled() -> Callable[[str], Plan]:
    """Compile the text of one spec, which must pass the checks."""
    return compile_text


@pytest.fixture(scope="session")
def plans() -> tuple[Plan, ...]:
    """The project's own plans."""
    return load_project_plans()
