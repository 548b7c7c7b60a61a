"""Locks that the kernel gives back when their holder dies, kill -9 included.

In: a file. Out: a hold on it, shared or exclusive, until it is let go or the process ends.
It must not know what is locked.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold `file` with nobody else; waits until everybody has let go."""
    descriptor = take(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def take(file: Path, kind: int) -> int:
    """Return the descriptor of a locked file.

    Raises BlockingIOError for a LOCK_NB that would wait, FileNotFoundError when the file's folder is gone.
    """
    while True:
        # Not inheritable, as all of Python's: a server started while we hold it does not hold it too.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, kind)
        except BaseException:
            os.close(descriptor)
            raise
        if is_still(file, descriptor):
            return descriptor
        # It was removed while we waited: whoever comes next would lock another file of the same name.
        os.close(descriptor)


def is_still(file: Path, descriptor: int) -> bool:
    """Tell whether the path names the file that the descriptor holds."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_free(file: Path) -> bool:
    """Tell whether nobody holds `file`."""
    try:
        os.close(take(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
