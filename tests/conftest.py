"""One Postgres per run of the tests, one database per test.

The server is the project's own embedded one (or a system Postgres 15, with `--postgres system15`), started on first use
and thrown away with everything in it. The processes of a parallel run share it. A migrated template is made once; each
test that asks for `database` gets a clone.

What has too many cases for every run takes a share of them (`take_share`): the next run takes the next share.
"""

import asyncio
import contextlib
import gc
import os
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from engine.embedded_postgres import find_system_binaries, lock, run_server
from engine.plan import Plan
from engine.plans import load_plans
from engine.project import Project
from engine.store.connection import connect
from engine.tables.migrate import migrate
from engine.tables.roles import Login, make_roles
from scripts.test import REAL_VARIABLES, SLOW_VARIABLES

ROOT = Path(__file__).resolve().parent.parent
#: Names the folder of the run's server to the processes of a parallel run.
DATA_DIR = "DEX_TEST_DATA_DIR"
TEMPLATE = "template_migrated"
LOGIN_PASSWORD = "of the tests"
API_LOGIN = Login("tests_api", LOGIN_PASSWORD)
#: The number of the run, from which its share of the cases follows; set it to get the share of an earlier run again.
SHARE = "DEX_TEST_SHARE"

#: Whether laws are tried with as many inputs as `make test-long` has time for.
IS_LONG = "DEX_TEST_LONG"
#: How many shares there are of the inputs of laws, each the ones that follow from one seed. A run takes one of them, so
#: that it fails for what was changed; what nobody has tried yet is for the long run.
LAW_SHARES = 5
#: The tests that take longest, longest first. The processes of a parallel run begin with them, so that none of them is
#: alone at the end.
LONGEST = (
    *("test_everything_at_once_loses_doubles_and_stales_nothing", "test_a_project_elsewhere"),
    *("test_the_tutorial_runs_as_it_stands", "test_rows_are_what_a_fresh_backfill_makes", "test_known_histories"),
    *("test_it_ends_well_and_leaves_alone_what_is_not_its_own", "test_schemathesis_finds_nothing"),
    *("test_from_the_database_through_files", "test_it_passes_the_runners_own_checks", "test_killed_and_started_again"),
    *("test_killed_at_fifty_points_and_resumed_it_ends_as_if_nothing_had_happened", "test_a_few_submissions_and_kills"),
    *("test_everything_says_so_and_recovers", "test_procrastinate_with_two_workers_of_which_one_is_killed"),
    *("test_killed_at_every_request", "test_one_trace_from_submission_to_row"),
    *("test_memory_is_bounded_whatever_the_rows_hold", "test_random_schedules_never_pass_the_budget"),
)
#: The room that the databases of a run get in memory; it needs a quarter of it.
MEMORY_BYTES = 4 * 1024**3

T = TypeVar("T")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        choices=("embedded", "system15"),
        default=os.environ.get("DEX_TEST_POSTGRES", "embedded"),
        help="the server the tests run on (default: embedded, or what DEX_TEST_POSTGRES says)",
    )
    parser.addoption(
        "--soak-seconds",
        type=float,
        default=60.0,
        help="how long the soak lasts (default: 60)",
    )


@pytest.hookimpl(tryfirst=True)  # before hypothesis reads its seed
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--postgres") == "system15" and not find_system_binaries(15):
        raise pytest.UsageError("--postgres system15: this machine has no PostgreSQL 15 programs")
    for name in [name for name in os.environ if name.startswith((*REAL_VARIABLES, *SLOW_VARIABLES))]:
        del os.environ[name]
    os.environ["DEX_ENV_FILE"] = ""  # a developer's `.env` leads to a database that no test may see
    if not is_worker(config):
        if config.option.markexpr.startswith("long"):
            os.environ[IS_LONG] = "1"
        os.environ[SHARE] = os.environ.get(SHARE) or str(count_run(config))
        # Outside of the repository, and open to the unprivileged user under which root runs a server.
        folder = Path(tempfile.mkdtemp(prefix="dex-tests-", dir=find_memory_folder()))
        folder.chmod(0o755)
        os.environ[DATA_DIR] = str(folder)
    if not os.environ.get(IS_LONG) and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = int(os.environ[SHARE]) % LAW_SHARES


def find_memory_folder() -> Path | None:
    """Return a folder whose files are kept in memory, None where there is none with enough room.

    A database is some 400 files; to make and remove them on a disk takes half of a server's processor time.
    """
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < MEMORY_BYTES:
        return None
    return folder


@pytest.hookimpl(trylast=True)  # after those of other marks have been left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each process of a parallel run begin with long tests: it is given a part of the list, in its order."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes == 1:
        return
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    ranked = [(ranks.get(getattr(item, "originalname", ""), len(ranks)), item) for item in items]
    long = [item for rank, item in sorted(ranked, key=lambda pair: pair[0]) if rank < len(ranks)]
    others = [item for rank, item in ranked if rank == len(ranks)]
    items.clear()
    for number in range(processes):
        part = slice(len(others) * number // processes, len(others) * (number + 1) // processes)
        items += long[number::processes] + others[part]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage while modules are imported: there is little, and to look for it takes a third of the time."""
    if is_worker(session.config) or not session.config.getoption("numprocesses", None):  # others import no test
        gc.disable()


def pytest_collection_finish() -> None:
    """Leave what is there by now, some million objects, out of every later collection of garbage, and collect seldom.

    Every test frees what it made; by Python's own thresholds a twentieth of the time went into looking for more.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def count_run(config: pytest.Config) -> int:
    """Return the number of this run, one more than that of the last one here; the first is drawn by lot."""
    known = getattr(config, "cache", None)  # absent under `-p no:cacheprovider`
    number = int(known.get("dex/run", random.randrange(1000)) if known else random.randrange(1000)) + 1
    if known:
        known.set("dex/run", number)
    return number


def count_examples(ordinary: int, long: int) -> int:
    """Return with how many inputs a law is tried: a few in every run, more in the long one."""
    return long if os.environ.get(IS_LONG) else ordinary


def pytest_report_header() -> str:
    return f"share of the run: {SHARE}={os.environ[SHARE]}"


def take_share(cases: Sequence[T], parts: int) -> Sequence[T]:
    """Return every `parts`-th of the cases; where it starts, moves on by one with each run."""
    return cases[int(os.environ[SHARE]) % parts :: parts]


@cache
def load_project_plans() -> tuple[Plan, ...]:
    """Return the project's own plans, which are compiled once for all tests of a process."""
    return load_plans(Project(ROOT))


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_worker(config) and DATA_DIR in os.environ:
        data_dir = Path(os.environ.pop(DATA_DIR))
        with contextlib.suppress(OSError):
            data_dir.rmdir()  # no test wanted a server
        # The keeper removes the folder after it has stopped the server; a run ends with nothing of it left behind.
        deadline = time.monotonic() + 30
        while data_dir.exists() and time.monotonic() < deadline:
            time.sleep(0.02)


def is_worker(config: pytest.Config) -> bool:
    """Return whether this is one of the processes of a parallel run."""
    return hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def server_dsn(pytestconfig: pytest.Config) -> Iterator[str]:
    """Start the server of this run; yield its URL, as its superuser."""
    binaries = find_system_binaries(15) if pytestconfig.getoption("--postgres") == "system15" else None
    with run_server(Path(os.environ[DATA_DIR]), binaries=binaries, durable=False, temporary=True) as dsn:
        yield dsn
        connect_server(dsn).close()


@pytest.fixture
def empty_database(server_dsn: str) -> Iterator[str]:
    """Create a database with nothing in it; yield its URL."""
    with create_database(server_dsn, "template0") as dsn:
        yield dsn


@pytest.fixture
def database(server_dsn: str, template: str) -> Iterator[str]:
    """Create a database with all migrations applied; yield its URL."""
    with create_database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def shared_database(server_dsn: str, template: str) -> Iterator[str]:
    """Create a migrated database that no test changes: for those in which something is refused."""
    with create_database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template(server_dsn: str) -> str:
    """Return the name of the migrated database that others are cloned from; the first process makes it."""
    make_template(server_dsn, TEMPLATE, "template0", lambda dsn: asyncio.run(migrate_template(dsn)))
    return TEMPLATE


def make_template(server_dsn: str, name: str, base: str, fill: Callable[[str], object]) -> None:
    """Clone the database `base` and fill the clone, unless another process of the run has done so already."""
    unfinished = f"{name}_unfinished"
    with (
        lock.hold_exclusively(Path(os.environ[DATA_DIR]) / f"{name}.lock"),
        psycopg.connect(server_dsn, autocommit=True) as server,
    ):
        if not server.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            server.execute(f"create database {unfinished} template {base}")
            with ThreadPoolExecutor(1) as thread:  # this one may have an event loop
                thread.submit(fill, build_database_url(server_dsn, unfinished)).result()
            # Sessions of processes that have ended may take a moment to end as well.
            end_sessions = "select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = %s"
            server.execute(end_sessions, [unfinished])
            server.execute(f"alter database {unfinished} rename to {name}")


async def migrate_template(dsn: str) -> None:
    """Apply the migrations, and make the logins of `dex db roles`: the API of the tests works with the lesser one."""
    await migrate(dsn, ROOT / "migrations")
    async with await connect(dsn) as connection:
        await make_roles(connection, Login("tests_migrate", LOGIN_PASSWORD), API_LOGIN, load_plans(Project(ROOT)))
        if connection.info.server_version >= 160_000:  # or each connection of each API hashes for 5 ms
            await connection.execute("set scram_iterations = 1")
            await connection.execute(f"alter role {API_LOGIN.name} password '{LOGIN_PASSWORD}'")


@contextlib.contextmanager
def create_database(server_dsn: str, template: str) -> Iterator[str]:
    """Create a database for the length of a `with` block; yield its URL."""
    name = f"test_{uuid.uuid4().hex}"
    connect_server(server_dsn).execute(f"create database {name} template {template} strategy file_copy")
    yield build_database_url(server_dsn, name)
    connect_server(server_dsn).execute(f"drop database {name} with (force)")


@cache
def connect_server(server_dsn: str) -> psycopg.Connection[Any]:
    """Return this process's connection to the run's server, which makes and drops databases."""
    return psycopg.connect(server_dsn, autocommit=True, prepare_threshold=None)


def build_database_url(dsn: str, database: str) -> str:
    """Return the URL of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def link_trigger(folder: Path) -> Path:
    """Make `folder` what trigger/ is but for its generated blocks; return the folder that these belong in."""
    trigger, generated = ROOT / "trigger", folder / "src" / "persist" / "generated"
    (folder / "package.json").write_text('{"type": "module"}')
    generated.mkdir(parents=True)
    for part in (trigger / "src").iterdir():
        if part.name != "persist":
            (folder / "src" / part.name).symlink_to(part)
    for part in (trigger / "src" / "persist").glob("*.ts"):
        (folder / "src" / "persist" / part.name).symlink_to(part)
    (folder / "node_modules").symlink_to(trigger / "node_modules")
    return generated
