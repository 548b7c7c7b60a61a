"""`dex` as a client of the process that forks (`forked_dex.py`): hand it one command, and end as the command ends.

Run with `python -IS` it starts in a few milliseconds, so it imports the standard library alone.
"""

import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

#: Bytes that say how long a request is; the descriptors of its streams travel with them.
HEAD_BYTES = 8
#: The signals that the command gets in place of this process.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def send_request(
    link: socket.socket,
    words: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    streams: Sequence[int],
    niceness: int = 0,
) -> None:
    """Send one command, with its standard input, output and error."""
    request = {
        "words": list(words),
        "environment": dict(environment),
        "folder": folder,
        "niceness": niceness,
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
    }
    body = json.dumps(request).encode()
    socket.send_fds(link, [len(body).to_bytes(HEAD_BYTES, "big")], list(streams))
    link.sendall(body)


def main(address: str, *arguments: str) -> int:
    """Run a command with the streams, the environment and the folder of this process; return its exit status."""
    # One that comes before the command has a process waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(address)
        folder = os.getcwd()  # noqa: PTH109 - to import pathlib takes longer than all of this
        send_request(link, ("dex", *arguments), os.environ, folder, (0, 1, 2))
        with link.makefile() as lines:
            pid = int(lines.readline())
            for request in PASSED_ON:
                signal.signal(request, lambda number, _: os.kill(pid, number))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            return int(lines.readline())


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    if status < 0:  # killed by a signal: so is this process
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
