"""Under whose name the server runs. Postgres refuses to run as root.

In: the data folder. Out: the user who started us, or, for root, an existing unprivileged one.
It must not change the machine: no new users, no wider permissions on anybody's folders.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from engine.embedded_postgres.errors import EmbeddedError

#: Tried in this order by root, when the data folder belongs to root as well.
UNPRIVILEGED = ("nobody", "daemon", "postgres")


class Drop(TypedDict, total=False):
    """The arguments of `subprocess.run` that give up root."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    uid: int
    gid: int
    name: str

    def drop(self) -> Drop:
        """Return what `subprocess.run` needs to run a program as this user; nothing when we are it."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if os.getuid() == 0 else {}

    def own(self, path: Path) -> None:
        """Give a path to this user, which only root can and need do."""
        if os.getuid() == 0:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reads(self, *paths: Path) -> bool:
        """Tell whether this user can read these files and enter these folders, whatever stands above them."""
        command = ["/bin/sh", "-c", 'for path; do test -r "$path" && test -x "$path" || exit 1; done', "sh"]
        return subprocess.run([*command, *map(str, paths)], cwd="/", check=False, **self.drop()).returncode == 0  # noqa: S603


def choose(folder: Path) -> Account:
    """Return who runs the server of `folder`: we ourselves; for root the folder's owner, else an unprivileged user.

    Raises EmbeddedError when this machine has no user for it: `initdb` asks for the user's name.
    """
    us = os.getuid()
    candidates: tuple[int | str, ...] = (us,) if us else (folder.stat().st_uid, *UNPRIVILEGED)
    found = next(filter(None, (known(candidate) for candidate in candidates)), None)
    if not found:
        raise EmbeddedError(
            f"Postgres runs as a user other than root whose name is known, and this machine has none of {candidates}",
            hint="add such a user, or name a server in `DATABASE_URL`",
        )
    return found


def owner(cluster: Path) -> Account:
    """Return who runs the server of a cluster that is there: its owner, as Postgres demands, known by name or not."""
    found = cluster.stat()
    return known(found.st_uid) or Account(found.st_uid, found.st_gid, str(found.st_uid))


def known(user: int | str) -> Account | None:
    """Return the account of a user id or name, None for root and for users the machine does not know."""
    try:
        entry = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name) if entry.pw_uid else None


def give(path: Path, like: Path) -> None:
    """Let `path` belong to the owner of `like`: root at work in somebody's folder leaves nothing they cannot remove."""
    if os.getuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
