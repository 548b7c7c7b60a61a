"""Run a command until it ends, and measure its time and its peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POLL_INTERVAL = 0.02  # seconds between two readings of the memory


@dataclass(frozen=True, slots=True)
class Measurement:
    """The JSON that a process printed, its time and its peak memory.

    `seconds` is the time that the process itself measured and printed, or else its whole time.
    """

    report: Any
    wall: float  # seconds
    peak: float  # MB

    @property
    def seconds(self) -> float:
        measured = self.report.get("seconds") if isinstance(self.report, dict) else None
        return self.wall if measured is None else float(measured)


def run_measured(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    prints_json: bool = True,
    cwd: Path | None = None,
) -> Measurement:
    """Run a command until it ends; decode the JSON that it prints.

    Raises RuntimeError with the command's error output when it fails.
    """
    started, peak = time.monotonic(), 0.0
    child = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    while True:
        peak = max(peak, read_peak(child.pid))
        try:
            output, errors = child.communicate(timeout=_POLL_INTERVAL)
            break
        except subprocess.TimeoutExpired:
            continue
    if child.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{errors[-2000:]}")
    return Measurement(json.loads(output) if prints_json else None, time.monotonic() - started, peak)


def read_peak(pid: int) -> float:
    """Return the peak memory of a process in MB, or 0 on systems other than Linux."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def read_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process in seconds, or 0 on systems other than Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def build_installed_command(*arguments: str) -> list[str]:
    """Build the command that runs the installed `dex`, as a user starts it."""
    return [str(Path(sys.executable).parent / "dex"), *arguments]


def build_module_command(name: str, *arguments: str) -> list[str]:
    """Build the command that runs a module of this package."""
    return [sys.executable, "-m", f"scripts.bench.{name}", *arguments]
