"""The files of one embedded server, and where they can be.

In: the data folder a project names. Out: where locks, log, cluster and socket are, so that the server reaches its own.
It must not start or stop anything.
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
from engine.embedded_postgres.os_user import Account, give

#: A Unix socket's address has room for about a hundred bytes, `/.s.PGSQL.5432.lock` among them.
LONGEST_SOCKET_FOLDER = 60
#: Where root keeps a cluster that an unprivileged user could not reach in the project's own folder.
SHELTERS = Path("/var/lib/data-engine-x")


@dataclass(frozen=True, slots=True)
class Folder:
    """One data folder. Its locks lie in it, so whoever may not write to it cannot hold up its users."""

    path: Path

    @property
    def users(self) -> Path:
        """Held shared by every user; whoever holds it alone knows that nobody uses the server."""
        return self.path / "users.lock"

    @property
    def starting(self) -> Path:
        """Held by the one user who looks whether the server runs, and starts it."""
        return self.path / "starting.lock"

    @property
    def keeping(self) -> Path:
        """Held by the keeper as long as it lives, with the id of its process inside."""
        return self.path / "keeping.lock"

    @property
    def cluster(self) -> Path:
        """Postgres's own folder, or a link to it."""
        return self.path / "cluster"

    @property
    def log(self) -> Path:
        """What the server said since it was last started."""
        return self.path / "server.log"

    @property
    def socket_note(self) -> Path:
        """Names the folder of the server's socket."""
        return self.path / "socket"

    @property
    def temporary(self) -> Path:
        """Stands for the wish that the keeper removes everything when the last user has left."""
        return self.path / "temporary"

    def make(self) -> None:
        """Make the folder and its locks, as property of whoever owns the folder it stands in."""
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in reversed(missing):
            give(folder, folder.parent)
        for lock in (self.users, self.starting, self.keeping):
            if not lock.exists():
                lock.touch(mode=0o600)
                give(lock, self.path)


def place(folder: Folder, account: Account) -> Path:
    """Return the folder that holds cluster and copied programs: the data folder, or a shelter where it is out of reach.

    Raises EmbeddedError when a cluster is there that the server's user cannot reach.
    """
    if folder.cluster.is_symlink():
        shelter = folder.cluster.resolve().parent
        if read(shelter / "of") == str(folder.path):
            return shelter
        # The project was copied or moved together with the link: the cluster behind it is another project's.
        folder.cluster.unlink()
    if account.reads(folder.path):
        return folder.path
    if folder.cluster.exists():
        raise EmbeddedError(
            f"the user `{account.name}`, who runs the server, cannot reach `{folder.cluster}`",
            hint="move the project to a folder that other users may enter, or run as the owner of the cluster",
        )
    return make_shelter(folder)


def make_shelter(folder: Folder) -> Path:
    """Make a folder outside of the project, known by the link that will stand where the cluster would."""
    temporary = Path(tempfile.gettempdir()).resolve()
    base = temporary if folder.path.is_relative_to(temporary) else SHELTERS
    base.mkdir(parents=True, exist_ok=True)
    if base == temporary:
        remove_abandoned(base)
    shelter = Path(tempfile.mkdtemp(prefix="dex-", dir=base))
    shelter.chmod(0o755)
    (shelter / "of").write_text(str(folder.path))
    return shelter


def remove_abandoned(temporary: Path) -> None:
    """Remove the shelters of temporary data folders that are gone, by us or by a cleaner of temporary files."""
    for note in temporary.glob("dex-*/of"):
        running = (note.parent / "cluster" / "postmaster.pid").exists()
        if os.access(note.parent, os.W_OK) and not running and not Path(read(note)).exists():
            shutil.rmtree(note.parent, ignore_errors=True)


def socket_folder(folder: Folder, account: Account) -> Path:
    """Return the private folder for the server's socket, the one of the last start when it is still there.

    It is short, whatever the data folder is called, and keeps its name as long as there are users: a connection URL
    stays true when somebody has to start the server again.
    """
    noted = read(folder.socket_note)
    if noted and is_private(Path(noted), account):
        return Path(noted)
    made = Path(tempfile.mkdtemp(prefix="dex-", dir=short_temporary_folder()))
    account.own(made)
    folder.socket_note.unlink(missing_ok=True)
    with folder.socket_note.open("x") as note:
        note.write(str(made))
    give(folder.socket_note, folder.path)
    return made


def short_temporary_folder() -> str:
    """Return the user's folder for temporary files, or the common one where a socket's address would not fit."""
    preferred = str(Path(tempfile.gettempdir()).resolve())
    fits = len(preferred.encode()) <= LONGEST_SOCKET_FOLDER and re.fullmatch(r"[\w./-]+", preferred, re.ASCII)
    return preferred if fits else "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it


def is_private(path: Path, account: Account) -> bool:
    """Tell whether a path is a folder that only this account can enter: temporary folders are everybody's."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return found.st_mode == 0o040700 and found.st_uid == account.uid


def close_socket_folder(folder: Folder) -> None:
    """Remove the folder of a socket that no server serves any more, and nothing else that might be in it."""
    noted = read(folder.socket_note)
    if not noted:
        return
    for file in Path(noted).glob(".s.PGSQL.*"):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        Path(noted).rmdir()
    folder.socket_note.unlink(missing_ok=True)


def remove(folder: Folder) -> None:
    """Remove everything of a temporary server."""
    shelter = folder.cluster.resolve().parent
    if folder.cluster.is_symlink() and read(shelter / "of") == str(folder.path):
        shutil.rmtree(shelter, ignore_errors=True)
    shutil.rmtree(folder.path, ignore_errors=True)


def read(file: Path) -> str:
    """Return the text of a file, empty when there is none."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
