"""A child process, timed and weighed.

In: a command. Out: what it printed as JSON, its seconds, its peak memory. It must not know what the command does.
"""

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

_LOOK = 0.02  # seconds between two looks at the memory


@dataclass(frozen=True, slots=True)
class Done:
    """How a process went. `seconds` is its own measure of its work, where it prints one, without its start."""

    words: Any
    wall: float
    peak: float  # MB

    @property
    def seconds(self) -> float:
        return float(self.words.get("seconds", self.wall))


def run(command: Sequence[str], environment: Mapping[str, str], *, reads: bool = True) -> Done:
    """Run to the end, and read the JSON it prints. Raises RuntimeError with what it said when it fails."""
    started, peak = time.monotonic(), 0.0
    child = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while True:
        peak = max(peak, _peak(child.pid))
        try:
            output, complaint = child.communicate(timeout=_LOOK)
            break
        except subprocess.TimeoutExpired:
            continue
    if child.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{complaint[-2000:]}")
    return Done(json.loads(output) if reads else None, time.monotonic() - started, peak)


def _peak(pid: int) -> float:
    """The most memory the process has had, in MB; 0 where the system does not say (it is Linux that does)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def dex(*words: str) -> list[str]:
    """The command line itself, as a user starts it."""
    return [str(Path(sys.executable).parent / "dex"), *words]


def module(name: str, *words: str) -> list[str]:
    """A module of this package as a process."""
    return [sys.executable, "-m", f"scripts.bench.{name}", *words]
