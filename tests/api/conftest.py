"""The API on loopback. Tests of one file share it, each with its organisation; who changes tables takes `own_api`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.api.loopback import Api, run_api
from tests.api.trigger_desk import Trigger, start_trigger
from tests.conftest import create_database


@pytest.fixture(scope="module")
def api(server_dsn: str, template: str) -> Iterator[Api]:
    with create_database(server_dsn, template) as dsn, run_api(dsn) as running_api:
        yield running_api


@pytest.fixture
def own_api(database: str) -> Iterator[Api]:
    with run_api(database) as running_api:
        yield running_api


@pytest.fixture
def org(api: Api) -> str:
    return api.insert_organisation()


@pytest.fixture
def start(database: str) -> Callable[..., AbstractContextManager[Api]]:
    """Start an API with other settings over the test's database: `with start(max_body_bytes=100) as api`."""
    return lambda **changes: run_api(database, **changes)


@pytest.fixture
def trigger() -> Iterator[Trigger]:
    with start_trigger() as desk:
        yield desk
