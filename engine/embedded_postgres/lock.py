"""File locks that the kernel releases when their process ends, also after `kill -9`."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_exclusively(file: Path) -> Iterator[int]:
    """Hold an exclusive lock on `file` during the block; waits until all other holders have released theirs.

    Yields its descriptor: a child process that is given it holds the lock until it ends, too.
    """
    descriptor = acquire_lock(file, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def acquire_lock(file: Path, kind: int) -> int:
    """Lock a file and return its descriptor; closing the descriptor releases the lock.

    `kind` is LOCK_SH or LOCK_EX, with LOCK_NB not to wait. Raises BlockingIOError for a LOCK_NB that would wait,
    FileNotFoundError when the file's folder is gone.
    """
    while True:
        # Child processes do not inherit Python's descriptors, so a server started under the lock does not hold it too.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, kind)
        except BaseException:
            os.close(descriptor)
            raise
        if is_same_file(file, descriptor):
            return descriptor
        # The file was removed while we waited; the next process would create and lock a new one of the same name.
        os.close(descriptor)


def is_same_file(file: Path, descriptor: int) -> bool:
    """Return whether the path still names the file that the descriptor has open."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_free(file: Path) -> bool:
    """Return whether no process holds a lock on `file`."""
    try:
        os.close(acquire_lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
