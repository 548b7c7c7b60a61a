"""Start, read and stop child processes, for the demo, the benchmarks and the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from engine.errors import EngineError

_POLL_INTERVAL = 0.02  # seconds between two readings of the output
_TIMEOUT = 180  # seconds, enough for a program to start on a slow machine


class ProcessFailed(EngineError):
    """A process ended, or took too long, before it printed the expected line. The hint is its output."""


@dataclass(slots=True)
class Process:
    """A child process whose standard output and error go to a file, so that it cannot block on a full pipe."""

    popen: subprocess.Popen[bytes]
    output: IO[bytes]
    _lines_read: int = field(default=0, repr=False)
    _final_text: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """All output so far."""
        if self.output.closed:
            return self._final_text
        size = os.fstat(self.output.fileno()).st_size
        # pread leaves the file position unchanged: the child shares it and writes there.
        return os.pread(self.output.fileno(), size, 0).decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """The complete lines of the output so far, with their line ends."""
        return [line for line in self.text.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of the process's structured log, decoded from JSON."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def list_warnings(self) -> list[dict[str, Any]]:
        """Return the log lines of the level warning or error."""
        return [line for line in self.log if line.get("level") in ("warn", "error")]

    def wait_for_line(self, part: str, seconds: float = _TIMEOUT) -> str:
        """Wait for a line that contains `part`, and return it stripped; the next call searches after that line.

        Raises ProcessFailed when the process ends first, or after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            ended = self.popen.poll() is not None  # checked before reading, so that the last output is read too
            lines = self.lines
            for number in range(self._lines_read, len(lines)):
                if part in lines[number]:
                    self._lines_read = number + 1
                    return lines[number].strip()
            self._lines_read = len(lines)
            if ended:
                raise ProcessFailed(f"a process ended with {self.popen.returncode}", hint=self.text[-2000:])
            if time.monotonic() > deadline:
                raise ProcessFailed(f"a process did not print `{part}` within {seconds:g} s", hint=self.text[-2000:])
            time.sleep(_POLL_INTERVAL)

    def wait_for_exit(self, seconds: float = _TIMEOUT) -> int:
        """Wait until the process ends and return its exit status. Raises ProcessFailed after `seconds`."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"a process still runs after {seconds:g} s", hint=self.text[-2000:]) from None

    def close_input(self) -> None:
        """Close the standard input of a process that was started with `with_input`."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()

    def kill(self) -> None:
        """End the process at once, by SIGKILL, and wait until it has ended."""
        self.popen.kill()
        self.popen.wait()

    def stop(self, seconds: float = 20) -> None:
        """Send SIGTERM, then SIGKILL if the process has not ended after `seconds`; keep its output."""
        self.close_input()
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._final_text = self.text


@contextmanager
def start_process(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    inherit: bool = True,
    with_input: bool = False,
    interruptible: bool = False,
) -> Iterator[Process]:
    """Run a program during a `with` block.

    Its environment is that of this process plus `environment`, or only `environment` if `inherit` is False.
    `interruptible` makes it react to SIGINT even if this process ignores the signal, as a shell's background processes
    do.
    """
    variables = {**(os.environ if inherit else {}), **(environment or {})}
    with tempfile.TemporaryFile() as output:
        popen = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=variables,
            stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_restore_interrupt if interruptible else None,
        )
        process = Process(popen, output)
        try:
            yield process
        finally:
            process.stop()


def _restore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def build_dex_command(*arguments: str) -> list[str]:
    """Build the command that runs `dex` with the Python of this process."""
    return [sys.executable, "-m", "scripts.dex", *arguments]
