"""Run `dex` in a process of its own that does not import everything first: a fork of one that has.

Each pytest process starts one such server on first use. A command gets its own arguments, environment, folder, standard
streams and exit status, as it would from a shell; only the second that Python takes to import the engine is spent once.
What is about the program itself (how it starts, what a signal does to it) starts `dex` as a user does.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

from engine.plans import load_plans
from engine.project import Project

ROOT = Path(__file__).resolve().parent.parent
#: What most commands import when they need it.
PRELOADED = (
    *("engine.backfill.run", "engine.explain.row", "engine.generate.generators", "engine.store.export_files"),
    *("engine.store.select", "engine.tables.migrate", "engine.verify.run"),
)
#: More than the arguments and the environment of any command.
_MOST_BYTES = 1 << 20
_SEND_LOCK = threading.Lock()


def run_dex(
    *arguments: str | Path, environment: Mapping[str, str], folder: Path = ROOT, seconds: float = 200
) -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end, in an environment of nothing but `environment`.

    Raises subprocess.TimeoutExpired after `seconds`; the command is killed then.
    """
    words = [str(argument) for argument in arguments]
    request = {"arguments": words, "environment": dict(environment), "folder": str(folder)}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            descriptors = [theirs.fileno(), output.fileno(), errors.fileno()]
            with _SEND_LOCK:
                socket.send_fds(start_server(), [json.dumps(request).encode()], descriptors)
            theirs.close()  # the command's end alone closes it
            status = wait_for_status(ours, words, seconds)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(["dex", *words], status, *texts)


def run_dex_text(
    *arguments: str | Path, environment: Mapping[str, str], folder: Path = ROOT, seconds: float = 200
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; its output is text."""
    done = run_dex(*arguments, environment=environment, folder=folder, seconds=seconds)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@cache
def start_server() -> socket.socket:
    """Start the process that forks; it ends with ours, whose end of the socket closes then."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BYTES)
    command = [sys.executable, "-m", "tests.forked_dex", str(theirs.fileno())]
    with theirs:
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    atexit.register(stop_server, ours, server)
    return ours


def stop_server(link: socket.socket, server: subprocess.Popen[bytes]) -> None:
    link.close()
    server.wait(20)


def wait_for_status(waiting: socket.socket, words: list[str], seconds: float) -> int:
    """Return the exit status that the fork reports; negative for the signal that killed the command."""
    waiting.settimeout(seconds)
    with waiting.makefile() as lines:
        pid = int(lines.readline())
        try:
            return int(lines.readline())
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["dex", *words], seconds) from None


# --- the server ---


def serve_requests(link: socket.socket) -> None:
    """Fork for each request. Returns in the fork that is to run the command; the server itself ends here."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, _MOST_BYTES, 3)
        if not message:
            sys.exit()
        if os.fork() == 0:
            link.close()
            if fork_command(descriptors):
                become_command(json.loads(message), descriptors)
                return
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def fork_command(descriptors: list[int]) -> bool:
    """Return True in the process of the command; in its parent report how it ended and return False."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        return True
    with socket.socket(fileno=descriptors[0]) as report:
        report.sendall(f"{pid}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        report.sendall(f"{status}\n".encode())
    return False


def become_command(request: dict[str, object], descriptors: list[int]) -> None:
    """Take the streams, the folder, the environment and the arguments of the request."""
    report, output, errors = descriptors
    os.close(report)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    sys.argv = ["dex", *request["arguments"]]  # type: ignore[misc]
    sys.modules["__main__"].__spec__ = None  # in its messages the program is named by `sys.argv`


if __name__ == "__main__":
    from scripts import dex

    for name in PRELOADED:
        import_module(name)
    load_plans(Project(ROOT))  # which computes, once, the versions of the normalizers and of what extracts
    with socket.socket(fileno=int(sys.argv[1])) as link_to_tests:
        serve_requests(link_to_tests)
    dex.main()
