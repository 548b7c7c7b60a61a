"""The data folder of one embedded server: the paths of its locks, log, cluster and socket.

The server may run as another user than this process (`engine/embedded_postgres/os_user.py`). If that user cannot
enter the project's folder, the cluster and the programs lie outside of it, and the data folder links to the cluster.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.os_user import OsUser, copy_owner

#: The most bytes of the socket folder's path: a Unix socket's address may have about a hundred, with the
#: `/.s.PGSQL.5432.lock` at its end.
LONGEST_SOCKET_FOLDER = 60
#: Where root keeps clusters that an unprivileged user could not reach in the projects' own folders.
OUTSIDE_ROOT = Path("/var/lib/data-engine-x")


@dataclass(frozen=True, slots=True)
class DataFolder:
    """One data folder. Its locks are files in it, so only users who may write to the folder can block others."""

    path: Path

    @property
    def users_lock(self) -> Path:
        """The lock that every user of the server holds shared; the keeper gets it exclusively once no user is left."""
        return self.path / "users.lock"

    @property
    def start_lock(self) -> Path:
        """The lock that a user holds while it checks whether the server runs, and starts it."""
        return self.path / "starting.lock"

    @property
    def keeper_lock(self) -> Path:
        """The lock that the keeper holds while it runs; the file contains its process id."""
        return self.path / "keeping.lock"

    @property
    def cluster(self) -> Path:
        """The folder in which Postgres keeps its data, or a link to it."""
        return self.path / "cluster"

    @property
    def server_log(self) -> Path:
        """The output of the server since its last start."""
        return self.path / "server.log"

    @property
    def socket_note(self) -> Path:
        """The file with the path of the folder of the server's socket."""
        return self.path / "socket"

    @property
    def temporary_marker(self) -> Path:
        """The file that tells the keeper to remove everything once the last user has left."""
        return self.path / "temporary"

    def create(self) -> None:
        """Create the folder and its lock files; they belong to the owner of the folder around it."""
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in reversed(missing):
            copy_owner(folder, folder.parent)
        for lock in (self.users_lock, self.start_lock, self.keeper_lock):
            if not lock.exists():
                lock.touch(mode=0o600)
                copy_owner(lock, self.path)


def choose_storage_folder(folder: DataFolder, user: OsUser) -> Path:
    """Return the folder for the cluster and the copied programs: the data folder, or one outside of it.

    It is outside when the server's user cannot reach the data folder. Raises EmbeddedError when there is a cluster that
    this user cannot reach.
    """
    if folder.cluster.is_symlink():
        outside = folder.cluster.resolve().parent
        if read_text_or_empty(outside / "of") == str(folder.path):
            return outside
        # The project was copied or moved together with the link, so the cluster belongs to another data folder.
        folder.cluster.unlink()
    if user.can_read(folder.path):
        return folder.path
    if folder.cluster.exists():
        raise EmbeddedError(
            f"the user `{user.name}`, who runs the server, cannot reach `{folder.cluster}`",
            hint="move the project to a folder that other users may enter, or run as the owner of the cluster",
        )
    return create_outside_folder(folder)


def create_outside_folder(folder: DataFolder) -> Path:
    """Create a folder for the cluster of a data folder that the server's user cannot reach; note in it whose it is.

    It lies in OUTSIDE_ROOT; that of a temporary data folder lies in the folder for temporary files, from which
    abandoned ones are removed. Later `folder.cluster` becomes a link into it.
    """
    temporary = Path(tempfile.gettempdir()).resolve()
    base = temporary if folder.path.is_relative_to(temporary) else OUTSIDE_ROOT
    base.mkdir(parents=True, exist_ok=True)
    if base == temporary:
        remove_abandoned_folders(base)
    outside = Path(tempfile.mkdtemp(prefix="dex-", dir=base))
    outside.chmod(0o755)
    (outside / "of").write_text(str(folder.path))
    return outside


def remove_abandoned_folders(temporary: Path) -> None:
    """Remove the outside folders of temporary data folders that no longer exist."""
    for note in temporary.glob("dex-*/of"):
        running = (note.parent / "cluster" / "postmaster.pid").exists()
        if os.access(note.parent, os.W_OK) and not running and not Path(read_text_or_empty(note)).exists():
            shutil.rmtree(note.parent, ignore_errors=True)


def ensure_socket_folder(folder: DataFolder, user: OsUser) -> Path:
    """Return the private folder for the server's socket: that of the last start if it still exists, else a new one.

    Its path is short, however long the data folder's is. It stays the same as long as the server has users, so that
    their connection URL stays valid when the server restarts.
    """
    recorded = read_text_or_empty(folder.socket_note)
    if recorded and is_private(Path(recorded), user):
        return Path(recorded)
    created = Path(tempfile.mkdtemp(prefix="dex-", dir=find_short_temporary_folder()))
    user.give_path(created)
    folder.socket_note.unlink(missing_ok=True)
    with folder.socket_note.open("x") as note:
        note.write(str(created))
    copy_owner(folder.socket_note, folder.path)
    return created


def find_short_temporary_folder() -> str:
    """Return the user's folder for temporary files, or `/tmp` where the address of a socket would be too long."""
    preferred = str(Path(tempfile.gettempdir()).resolve())
    fits = len(preferred.encode()) <= LONGEST_SOCKET_FOLDER and re.fullmatch(r"[\w./-]+", preferred, re.ASCII)
    return preferred if fits else "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it


def is_private(path: Path, user: OsUser) -> bool:
    """Return whether a path is a folder that only this user can enter; anybody can create one in `/tmp`."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return status.st_mode == 0o040700 and status.st_uid == user.uid


def remove_socket_folder(folder: DataFolder) -> None:
    """Remove the socket and its folder after the server has stopped; a folder with other files stays."""
    recorded = read_text_or_empty(folder.socket_note)
    if not recorded:
        return
    for file in Path(recorded).glob(".s.PGSQL.*"):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        Path(recorded).rmdir()
    folder.socket_note.unlink(missing_ok=True)


def remove_data_folder(folder: DataFolder) -> None:
    """Remove the folder of a stopped server, and its cluster where the folder only links to it."""
    outside = folder.cluster.resolve().parent
    if folder.cluster.is_symlink() and read_text_or_empty(outside / "of") == str(folder.path):
        shutil.rmtree(outside, ignore_errors=True)
    shutil.rmtree(folder.path, ignore_errors=True)


def read_text_or_empty(file: Path) -> str:
    """Return the text of a file, empty when there is none."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
