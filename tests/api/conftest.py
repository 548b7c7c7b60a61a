"""The API on loopback. Tests of one file share one, apart by organisation; who changes tables takes `own_api`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.api.loopback import Api, running
from tests.conftest import created


@pytest.fixture(scope="module")
def api(server_dsn: str, template: str) -> Iterator[Api]:
    with created(server_dsn, template) as dsn, running(dsn) as running_api:
        yield running_api


@pytest.fixture
def own_api(database: str) -> Iterator[Api]:
    with running(database) as running_api:
        yield running_api


@pytest.fixture
def org(api: Api) -> str:
    return api.organisation()


@pytest.fixture
def start(database: str) -> Callable[..., AbstractContextManager[Api]]:
    """Start an API of one's own making over the test's database: `with start(max_body_bytes=100) as api`."""
    return lambda **changes: running(database, **changes)
