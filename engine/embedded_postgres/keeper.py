"""The keeper: a small process that outlives the users and stops the server after the last one.

In: a data folder, as the one argument. Out: no server, and no socket folder, when nobody holds users.lock any more.
It must not be anybody's child or share anybody's terminal; `server.keep` sees to that.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from engine.embedded_postgres import data_folder, lock, postmaster
from engine.embedded_postgres.data_folder import Folder


def main() -> None:
    """Wait for the last user to leave, then stop the server."""
    for request in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(request, signal.SIG_IGN)  # whoever ends everything ends the users, and so us, the server first
    home = Folder(Path(sys.argv[1]))
    try:
        keeping = lock.take(home.keeping, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(keeping, 0)
        os.write(keeping, b"%d" % os.getpid())  # for who wonders
        users = lock.take(home.users, fcntl.LOCK_EX)
    except (BlockingIOError, FileNotFoundError):
        return  # there is a keeper already, or nothing to keep any more
    close(home)
    # In this order: a user who gets hold of users.lock must find that there is no keeper any more.
    os.truncate(keeping, 0)
    os.close(keeping)
    os.close(users)


def close(home: Folder) -> None:
    """Stop the server and remove what it leaves outside of its data folder; all of it, when it was temporary."""
    if server := find(home):
        postmaster.stop(home.cluster, server)
    data_folder.close_socket_folder(home)
    if home.temporary.exists():
        data_folder.remove(home)


def find(home: Folder) -> postmaster.Postmaster | None:
    """Return the server, or the one that appears now: its user may have been killed at the moment of starting it."""
    deadline = time.monotonic() + 0.5
    while not (server := postmaster.find(home.cluster)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return server


if __name__ == "__main__":
    main()
