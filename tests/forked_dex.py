"""Run `dex` in a process of its own that does not import everything first: a fork of one that has.

Each pytest process starts one such server on first use. A command gets its own arguments, environment, folder, standard
streams and exit status, as it would from a shell; only the second that Python takes to import the engine is spent once.
`run_dex` runs a command to its end, `start_dex` leaves one running, such as `dex serve`. `find_dex` gives a program to
those who start `dex` themselves, such as the scripts of a page. What is about the program itself (how it starts, how
much memory it takes) starts `dex` as a user does.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from engine.plans import load_plans
from engine.project import Project
from scripts.processes import Process
from tests import dex_client

ROOT = Path(__file__).resolve().parent.parent
#: What most commands import when they need it.
PRELOADED = (
    *("engine.backfill.run", "engine.backfill.shards", "engine.backfill.coverage", "engine.explain.row"),
    *("engine.explain.key", "engine.generate.generators", "engine.generate.files", "engine.orders.listing"),
    *("engine.orders.collection", "engine.runs.imports", "engine.runs.management", "engine.runs.submissions"),
    *("engine.store.access", "engine.store.export_files", "engine.store.select", "engine.tables.draft_migration"),
    *("engine.tables.migrate", "engine.tables.rebuild", "engine.tables.roles", "engine.verify.repair"),
    *("engine.verify.run", "engine.verify.shards", "engine.erase.run", "api.settings"),
)
#: What `dex serve` imports, which takes two seconds; they are spent when a fork is to serve first.
OF_SERVE = ("api.app", "api.server", "api.auth", "uvloop")


class ForkedCommand(subprocess.Popen[bytes]):
    """A command in a fork, with the methods of a process that `subprocess` has started."""

    def __init__(
        self,
        words: Sequence[str | Path],
        environment: Mapping[str, str],
        folder: Path,
        streams: Sequence[int],
        niceness: int = 0,
        script: Path | None = None,
    ) -> None:
        self.args = [str(script or "dex"), *(str(word) for word in words)]
        self.stdin = None
        self.returncode: int | None = None
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(start_server()))
        dex_client.send_request(self._link, self.args, environment, str(folder), streams, niceness)
        self._lines = self._link.makefile()
        self.pid = int(self._lines.readline())

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ready = select.poll()  # `select` takes no descriptor from 1024 on
            ready.register(self._link, select.POLLIN)
            if not ready.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._lines.readline())  # negative for the signal that killed the command
            self._lines.close()
            self._link.close()
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode


@contextmanager
def start_dex(*arguments: str, environment: Mapping[str, str], folder: Path = ROOT) -> Iterator[Process]:
    """Run a command during a `with` block, in an environment of nothing but `environment`."""
    with Path(os.devnull).open("rb") as nothing, tempfile.TemporaryFile() as output:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        process = Process(ForkedCommand(arguments, environment, folder, streams), output)
        try:
            yield process
        finally:
            process.stop()


def run_dex(
    *arguments: str | Path,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    seconds: float = 200,
    niceness: int = 0,
    script: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run one command, or a `script` of ours in its place, to its end, in an environment of nothing but `environment`.

    Raises subprocess.TimeoutExpired after `seconds`; the command is killed then.
    """
    with (
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        streams = (nothing.fileno(), output.fileno(), errors.fileno())
        command = ForkedCommand(arguments, environment, folder, streams, niceness, script)
        try:
            command.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(command.pid, signal.SIGKILL)
            command.wait()
            raise
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(command.args, command.wait(), *texts)


def run_dex_text(
    *arguments: str | Path,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    seconds: float = 200,
    niceness: int = 0,
    script: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; its output is text."""
    options: Any = {"folder": folder, "seconds": seconds, "niceness": niceness, "script": script}
    done = run_dex(*arguments, environment=environment, **options)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@cache
def find_dex() -> Path:
    """Return a program `dex` whose commands are forks; its folder can stand first in a PATH.

    Who kills the program kills the command a moment later.
    """
    address = start_server()
    program = address.with_name("dex")
    words = (sys.executable, "-IS", str(Path(dex_client.__file__)), str(address))
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return program


@cache
def start_server() -> Path:
    """Start the process that forks; return its address. It ends with ours, which holds its standard input open."""
    folder = Path(tempfile.mkdtemp(prefix="dex-forks-"))
    address = folder / "server"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        command = [sys.executable, "-m", "tests.forked_dex", str(listener.fileno())]
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()], stdin=subprocess.PIPE)
    atexit.register(stop_server, server, folder)
    return address


def stop_server(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait(20)
    shutil.rmtree(folder, ignore_errors=True)


# --- the server ---


def serve_requests(listener: socket.socket) -> None:
    """Fork for each request. Returns in the fork that is to run the command; the server itself ends here."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:  # its other end is closed
            sys.exit()
        link, _ = listener.accept()
        with link:
            request, streams = receive_request(link)
            if request["words"][:2] == ["dex", "serve"]:
                import_modules(OF_SERVE)
            if os.fork() == 0:
                listener.close()
                if fork_command(link, streams):
                    become_command(request, streams)
                    return
                os._exit(0)
            for stream in streams:
                os.close(stream)


def import_modules(names: Sequence[str]) -> None:
    """Import modules for all later forks, unless they are there already."""
    missing = [name for name in names if name not in sys.modules]
    for name in missing:
        import_module(name)
    if missing:
        gc.collect()
        gc.freeze()  # so that no fork copies what it only looks through for garbage


def receive_request(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a request, and the descriptors of its streams."""
    head, streams, _, _ = socket.recv_fds(link, dex_client.HEAD_BYTES, 3)
    with link.makefile("rb") as body:
        return json.loads(body.read(int.from_bytes(head, "big"))), streams


def fork_command(link: socket.socket, streams: list[int]) -> bool:
    """Return True in the process of the command; in its parent report how it ended and return False.

    The link ends with the process that asked: when that is killed, so is the command.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        return True
    for stream in streams:
        os.close(stream)
    with suppress(OSError):
        link.sendall(f"{pid}\n".encode())
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, link.fileno()], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):
        link.sendall(f"{status}\n".encode())
    return False


def become_command(request: dict[str, Any], streams: list[int]) -> None:
    """Take the streams, the folder, the environment and the arguments of the request."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Those of the server know whether its own files can be read again, not whether these can.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the streams of a process are open to its end
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even if the tests run in the background of a shell
    os.nice(request["niceness"])
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(request["descriptors"]))
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["words"]
    program = sys.modules["__main__"]  # in its messages it is named by `sys.argv`, unless it is part of a package
    program.__spec__, program.__package__ = None, ""


def run_main(main: Callable[[], object]) -> NoReturn:
    """Run the command and end with its exit status, without taking a copy of all that was imported apart first."""
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    from scripts import dex

    load_plans(Project(ROOT))  # which computes, once, the versions of the normalizers and of what extracts
    import_modules(PRELOADED)
    with socket.socket(fileno=int(sys.argv[1])) as listener_of_tests:
        serve_requests(listener_of_tests)
    run_main(dex.main if sys.argv[0] == "dex" else lambda: runpy.run_path(sys.argv[0], run_name="__main__"))
