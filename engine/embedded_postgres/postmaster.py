"""The server process: found by the file it writes, started, stopped.

In: a cluster. Out: the process that serves it, where its socket is, and whether it is ready.
It must not know who uses the server.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from engine.embedded_postgres.cluster import environment
from engine.embedded_postgres.data_folder import read
from engine.embedded_postgres.os_user import Account

#: The port only names the socket's file, for the server listens nowhere else; so it cannot be taken.
PORT = 5432
#: What the tests' servers leave out: they are thrown away when the machine stops anyway.
FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """A living server process, as its `postmaster.pid` describes it."""

    pid: int
    socket_folder: Path | None  # None until the server has said so
    status: str  # starting, ready, stopping, standby, or empty


def find(cluster: Path) -> Postmaster | None:
    """Return the process that serves a cluster, None when there is none (a file it left behind proves nothing)."""
    lines = read(cluster / "postmaster.pid").splitlines()
    if not lines or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    if not serves(pid, cluster):
        return None
    folder = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return Postmaster(pid=pid, socket_folder=folder, status=lines[7].strip() if len(lines) > 7 else "")


def serves(pid: int, cluster: Path) -> bool:
    """Tell whether a process is a living Postgres at work in this cluster: ids are used again after a crash."""
    if not lives(pid):
        return False
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == cluster.resolve()
    except FileNotFoundError:
        # No /proc on this system: its name has to do.
        return not Path("/proc/self").exists() and Path(reported(pid, "comm")).name == "postgres"
    except OSError:
        return False


def lives(pid: int) -> bool:
    """Tell whether a process is there and not merely waiting for its parent to notice its end."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        state = reported(pid, "stat")
    return state[:1] not in ("Z", "X", "")


def reported(pid: int, column: str) -> str:
    """Return what `ps` says of a process, for systems without /proc."""
    command = ["/bin/ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def start(cluster: Path, programs: Path, account: Account, socket_folder: Path, log: Path, *, durable: bool) -> int:
    """Start a server and return the id of its process, which is not ready yet and may yet fail.

    It is nobody's child, so that it neither ends with us nor stays as a dead child when it ends first.
    """
    # Nothing serves this cluster, so these are left behind; should another process have the old id now, Postgres would
    # take it for a server.
    for file in (cluster / "postmaster.pid", *socket_folder.glob(".s.PGSQL.*")):
        file.unlink(missing_ok=True)
    settings = [f"unix_socket_directories={socket_folder}", f"port={PORT}", *([] if durable else FORGETFUL)]
    command = [str(programs / "postgres"), "-D", str(cluster), *(part for s in settings for part in ("-c", s))]
    with open(log, "wb", opener=plainly) as said:
        detached = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
            cwd="/",
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
            check=True,
            umask=0o077,
            **account.drop(),
        )
    return int(detached.stdout)


def plainly(path: str, flags: int) -> int:
    """Open a file that only we can read, and no link to another one."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def answers(server: Postmaster) -> bool:
    """Tell whether a server takes connections at its socket."""
    if server.status != "ready" or not server.socket_folder:
        return False
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(str(server.socket_folder / f".s.PGSQL.{PORT}"))
        except OSError:
            return False
    return True


def stop(cluster: Path, server: Postmaster) -> None:
    """Stop a server: politely first (sessions end, everything is written), after a minute at once."""
    for kind, patience in ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
        try:
            os.kill(server.pid, kind)
        except ProcessLookupError:
            return
        if gone(server.pid, cluster, patience):
            return


def gone(pid: int, cluster: Path, patience: float) -> bool:
    """Wait until a process no longer serves the cluster; tell whether that came in time."""
    deadline = time.monotonic() + patience
    while serves(pid, cluster):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
