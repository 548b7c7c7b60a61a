"""Choose the operating-system user that runs the server: that of this process, or for root an unprivileged one.

Postgres refuses to run as root. No users are created on the machine, and no folder gets wider permissions.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from engine.embedded_postgres.errors import EmbeddedError

#: The users to try, in this order, when both this process and the data folder belong to root.
UNPRIVILEGED = ("nobody", "daemon", "postgres")


class SubprocessUser(TypedDict, total=False):
    """The arguments of `subprocess.run` that name the user of the new process."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class OsUser:
    """A user of the operating system."""

    uid: int
    gid: int
    name: str

    def build_run_options(self) -> SubprocessUser:
        """Return the arguments that make `subprocess.run` run a program as this user; none unless called by root."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if os.getuid() == 0 else {}

    def give_path(self, path: Path) -> None:
        """Make this user the owner of a path, if this process is root; other processes own what they create."""
        if os.getuid() == 0:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_read(self, *paths: Path) -> bool:
        """Return whether this user can read and execute these files and folders, and enter the folders above them."""
        command = ["/bin/sh", "-c", 'for path; do test -r "$path" && test -x "$path" || exit 1; done', "sh"]
        options = self.build_run_options()
        return subprocess.run([*command, *map(str, paths)], cwd="/", check=False, **options).returncode == 0  # noqa: S603


def choose_server_user(folder: Path) -> OsUser:
    """Return the user that runs the server of `folder`: the current one; for root, the owner of the folder.

    If that owner is root too, it is an unprivileged user. Raises EmbeddedError when the machine has none: `initdb`
    needs a user that has a name.
    """
    uid = os.getuid()
    candidates: tuple[int | str, ...] = (uid,) if uid else (folder.stat().st_uid, *UNPRIVILEGED)
    chosen = next(filter(None, (find_unprivileged_user(candidate) for candidate in candidates)), None)
    if not chosen:
        raise EmbeddedError(
            f"Postgres runs as a user other than root whose name is known, and this machine has none of {candidates}",
            hint="add such a user, or name a server in `DATABASE_URL`",
        )
    return chosen


def read_owner(cluster: Path) -> OsUser:
    """Return the owner of a cluster, who has to run its server, even if the machine has no name for that user."""
    status = cluster.stat()
    return find_unprivileged_user(status.st_uid) or OsUser(status.st_uid, status.st_gid, str(status.st_uid))


def find_unprivileged_user(user: int | str) -> OsUser | None:
    """Return a user by id or name; None for root and for users that the machine does not know."""
    try:
        entry = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except KeyError:
        return None
    return OsUser(entry.pw_uid, entry.pw_gid, entry.pw_name) if entry.pw_uid else None


def copy_owner(path: Path, like: Path) -> None:
    """Give `path` the owner of `like`, so that root leaves nothing in a folder which its owner cannot remove."""
    if os.getuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
