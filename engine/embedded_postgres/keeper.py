"""The keeper: a process that stops the server after its last user has left. Its argument is the data folder.

It is detached from the process that started it (`server.ensure_keeper`), so it survives the end of a terminal too.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path

from engine.embedded_postgres import data_folder, lock, postmaster
from engine.embedded_postgres.data_folder import DataFolder


def main() -> None:
    """Wait until the server has no users, then stop it."""
    for request in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        # A signal to all processes ends the users too; the keeper then stops the server, and ends by itself.
        signal.signal(request, signal.SIG_IGN)
    folder = DataFolder(Path(sys.argv[1]))
    try:
        keeper = lock.acquire_lock(folder.keeper_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(keeper, 0)
        os.write(keeper, b"%d" % os.getpid())  # lets a person find the process
        users = lock.acquire_lock(folder.users_lock, fcntl.LOCK_EX)
    except (BlockingIOError, FileNotFoundError):
        return  # there is another keeper, or the data folder is gone
    stop_and_clean_up(folder)
    # keeper.lock is released first: a user that gets users.lock must see that it has to start another keeper.
    os.truncate(keeper, 0)
    os.close(keeper)
    os.close(users)


def stop_and_clean_up(folder: DataFolder) -> None:
    """Stop the server and remove its socket folder, and the data folder if it was temporary."""
    with lock.hold_exclusively(folder.start_lock):
        # A user that was killed while it started the server has left the lock to the shell that starts it.
        server = postmaster.find_postmaster(folder.cluster)
    if server:
        postmaster.stop_postmaster(folder.cluster, server)
    data_folder.remove_socket_folder(folder)
    if folder.temporary_marker.exists():
        data_folder.remove_data_folder(folder)


if __name__ == "__main__":
    main()
