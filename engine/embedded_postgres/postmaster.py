"""Start, find and stop the server process of a cluster; the file `postmaster.pid` that it writes tells where it is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from engine.embedded_postgres.cluster import build_server_environment
from engine.embedded_postgres.data_folder import read_text_or_empty
from engine.embedded_postgres.os_user import OsUser

#: Only a part of the socket's file name: the server listens on no network address, so it occupies no port.
PORT = 5432
#: Settings of a server whose data need not survive a crash of the machine, as in tests.
NON_DURABLE_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
#: Starts a server in the background, and prints its process id. The shell stays until the server has written its
#: `postmaster.pid`, at most half a minute: until then nobody else can know that there is one.
LAUNCHER = """
file=$1; shift
"$@" </dev/null >&2 &
trap "" PIPE
echo $!
turns=0
while [ ! -s "$file" ] && [ $turns -lt 1500 ] && kill -0 $! 2>/dev/null; do sleep 0.02; turns=$((turns + 1)); done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """A server process, as its `postmaster.pid` describes it."""

    pid: int
    socket_folder: Path | None  # None until the server has written it
    ready: bool  # False while it starts or stops


def find_postmaster(cluster: Path) -> Postmaster | None:
    """Return the server process of a cluster, or None; the `postmaster.pid` of a killed server does not count."""
    lines = read_text_or_empty(cluster / "postmaster.pid").splitlines()
    if not lines or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    if not serves_cluster(pid, cluster):
        return None
    folder = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return Postmaster(pid=pid, socket_folder=folder, ready=lines[7:8] != [] and lines[7].strip() == "ready")


def serves_cluster(pid: int, cluster: Path) -> bool:
    """Return whether a process is the Postgres of this cluster: its id alone proves nothing, since ids are reused."""
    if not is_alive(pid):
        return False
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == cluster.resolve()
    except FileNotFoundError:
        # Without /proc only the name of the process can be checked.
        return not Path("/proc/self").exists() and Path(read_ps_column(pid, "comm")).name == "postgres"
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        state = read_ps_column(pid, "stat")
    return state[:1] not in ("Z", "X", "")


def read_ps_column(pid: int, column: str) -> str:
    """Return one column of what `ps` prints about a process, for systems without /proc."""
    command = ["/bin/ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def start_postmaster(
    cluster: Path, programs: Path, user: OsUser, socket_folder: Path, log: Path, *, start_lock: int, durable: bool
) -> int:
    """Start a server and return its process id once it has written its `postmaster.pid`; it may not be ready yet.

    The process is detached: it survives this process, and does not become a zombie of it. If this process is killed
    before the file is there, the shell goes on holding the lock whose descriptor is `start_lock`.
    """
    # No server runs, so these files are left over. Postgres could mistake a process with the old id for a server.
    pid_file = cluster / "postmaster.pid"
    for file in (pid_file, *socket_folder.glob(".s.PGSQL.*")):
        file.unlink(missing_ok=True)
    settings = [f"unix_socket_directories={socket_folder}", f"port={PORT}", *([] if durable else NON_DURABLE_SETTINGS)]
    command = [str(programs / "postgres"), "-D", str(cluster), *(part for s in settings for part in ("-c", s))]
    with open(log, "wb", opener=open_private_file) as log_file:
        detached = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", LAUNCHER, "sh", str(pid_file), *command],
            cwd="/",
            env=build_server_environment(),
            stdin=start_lock,
            stdout=subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,
            check=True,
            umask=0o077,
            **user.build_run_options(),
        )
    return int(detached.stdout)


def open_private_file(path: str, flags: int) -> int:
    """Open a file with permissions for its owner alone, and without following symbolic links."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def accepts_connections(server: Postmaster) -> bool:
    """Return whether a server accepts connections at its socket."""
    if not server.ready or not server.socket_folder:
        return False
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(server.socket_folder / f".s.PGSQL.{PORT}"))
        except OSError:
            return False
    return True


def stop_postmaster(cluster: Path, server: Postmaster) -> None:
    """Stop a server: by a fast shutdown, after a minute by an immediate shutdown, at last by SIGKILL."""
    for signal_, timeout in ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
        try:
            os.kill(server.pid, signal_)
        except ProcessLookupError:
            return
        if wait_until_gone(server.pid, cluster, timeout):
            return


def wait_until_gone(pid: int, cluster: Path, timeout: float) -> bool:
    """Wait until a process no longer serves the cluster; return False if it still does after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while serves_cluster(pid, cluster):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
