"""Run `dex` in a process of its own that does not import everything first: a fork of one that has.

Each pytest process starts one such server on first use. A command gets its own arguments, environment, folder, standard
streams and exit status, as it would from a shell; only the second that Python takes to import the engine is spent once.
`find_dex` gives a program to those who start `dex` themselves, such as the scripts of a page. What is about the program
itself (how it starts, how much memory it takes) starts `dex` as a user does.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from engine.plans import load_plans
from engine.project import Project
from tests import dex_client

ROOT = Path(__file__).resolve().parent.parent
#: What most commands import when they need it.
PRELOADED = (
    *("engine.backfill.run", "engine.backfill.shards", "engine.backfill.coverage", "engine.explain.row"),
    *("engine.explain.questions", "engine.generate.generators", "engine.generate.files", "engine.orders.listing"),
    *("engine.orders.collection", "engine.runs.imports", "engine.runs.management", "engine.runs.submissions"),
    *("engine.store.access", "engine.store.export_files", "engine.store.select", "engine.tables.draft_migration"),
    *("engine.tables.migrate", "engine.tables.rebuild", "engine.tables.roles", "engine.verify.repair"),
    *("engine.verify.run", "engine.verify.shards", "engine.erase.run", "api.settings"),
)


def run_dex(
    *arguments: str | Path,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    seconds: float = 200,
    niceness: int = 0,
) -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end, in an environment of nothing but `environment`.

    Raises subprocess.TimeoutExpired after `seconds`; the command is killed then.
    """
    words = [str(argument) for argument in arguments]
    with (
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        socket.socket(socket.AF_UNIX) as link,
    ):
        link.connect(str(start_server()))
        streams = (nothing.fileno(), output.fileno(), errors.fileno())
        dex_client.send_request(link, words, environment, str(folder), streams, niceness)
        status = wait_for_status(link, words, seconds)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(["dex", *words], status, *texts)


def run_dex_text(
    *arguments: str | Path,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    seconds: float = 200,
    niceness: int = 0,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; its output is text."""
    done = run_dex(*arguments, environment=environment, folder=folder, seconds=seconds, niceness=niceness)
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


def wait_for_status(link: socket.socket, words: list[str], seconds: float) -> int:
    """Return the exit status that the server reports; negative for the signal that killed the command."""
    link.settimeout(seconds)
    with link.makefile() as lines:
        pid = int(lines.readline())
        try:
            return int(lines.readline())
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["dex", *words], seconds) from None


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
            if os.fork() == 0:
                listener.close()
                request, streams = receive_request(link)
                if fork_command(link, streams):
                    become_command(request, streams)
                    return
                os._exit(0)


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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even if the tests run in the background of a shell
    os.nice(request["niceness"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["dex", *request["arguments"]]
    program = sys.modules["__main__"]  # in its messages it is named by `sys.argv`, unless it is part of a package
    program.__spec__, program.__package__ = None, ""


def run_main(main: Callable[[], None]) -> NoReturn:
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

    for name in PRELOADED:
        import_module(name)
    load_plans(Project(ROOT))  # which computes, once, the versions of the normalizers and of what extracts
    gc.collect()
    gc.freeze()  # so that no fork copies what it only looks through for garbage
    with socket.socket(fileno=int(sys.argv[1])) as listener_of_tests:
        serve_requests(listener_of_tests)
    run_main(dex.main)
