"""Run every test of the project (`make test`), or some of them: `make test ARGS="tests/engine -k upsert"`.

After a failed suite it continues, and at the end it prints one line per suite. Exit status 1 if a suite failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.embedded_postgres import find_system_binaries
from scripts.second_server import list_arguments

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
#: Variables that name real databases, providers and queues; tests run without them.
REAL_VARIABLES = (
    "DATABASE_URL",
    "INTERNAL_API_KEY",
    "JWT_",
    "SUPER_ADMIN_",
    "TRIGGER_",
    "PARALLEL_",
    "DATA_ENGINE_",
    "DEX_CORS_ORIGINS",
    "DEX_ENV_FILE",
    "DEX_HOST",
    "DEX_LIMIT_",
    "DEX_OPERATOR_ADDRESS",
    "DEX_SWEEP_SECONDS",
    "DEX_TOKEN",
    "FORWARDED_ALLOW_IPS",
    "OTEL_",
    "PORT",
    "PG",
)
#: Removed too, since it makes every process compile what it imports; tests start hundreds of processes.
SLOW_VARIABLES = ("PYTHONDONTWRITEBYTECODE",)


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests that one command runs."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a suite ended."""

    passed: bool
    sentence: str  # the line to print about it


def main() -> None:
    """Run pytest on the embedded Postgres and, beside it, the tests of trigger/.

    With `--second-server`, run the tests that depend on the version of Postgres on an installed Postgres 15. With
    arguments for pytest, run only pytest, on the embedded Postgres or the one that `--postgres` names.
    """
    parser = argparse.ArgumentParser(
        description="run every test, or those that the arguments for pytest choose", allow_abbrev=False
    )
    parser.add_argument("--jobs", type=int, default=3, help="how many processes share the tests (default: 3)")
    parser.add_argument("--second-server", action="store_true", help="what depends on the version, on Postgres 15")
    options, arguments = parser.parse_known_args()
    if options.second_server:
        outcomes = [run_on_second_server(options.jobs)]
    elif arguments:
        outcomes = [run_suite(Suite("some tests", build_pytest_command(options.jobs, *arguments)))]
    else:
        outcomes = run_all_suites(options.jobs)
    print("\n" + "\n".join(outcome.sentence for outcome in outcomes), flush=True)
    sys.exit(not all(outcome.passed for outcome in outcomes))


def build_pytest_command(jobs: int, *arguments: str) -> tuple[str, ...]:
    """Build the command that runs pytest in `jobs` processes."""
    return (str(BIN / "python"), "-m", "pytest", "-n", str(jobs), "--dist", "worksteal", *arguments)


def run_all_suites(jobs: int) -> list[Outcome]:
    """Run both suites side by side; what the first one prints is seen meanwhile, that of the other after it."""
    other = Suite("trigger/", (str(BIN / "npm"), "--prefix", "trigger", "--silent", "test"))
    with tempfile.TemporaryFile() as output, ThreadPoolExecutor(1) as threads:
        running = threads.submit(run_suite, other, output)
        first = run_suite(Suite("embedded Postgres", build_pytest_command(jobs)))
        second = running.result()
        output.seek(0)
        print(f"\n{other.name}\n{output.read().decode(errors='replace')}", end="", flush=True)
    return [first, second]


def run_on_second_server(jobs: int) -> Outcome:
    """Run the tests that depend on the version of Postgres on an installed Postgres 15, if there is one."""
    if not find_system_binaries(15):
        return Outcome(True, "system Postgres 15: not on this machine, left out")
    # Without pytest's cache, which counts the runs of `make test`: see `take_share` in tests/conftest.py.
    options = ("--postgres", "system15", "-p", "no:cacheprovider")
    return run_suite(Suite("system Postgres 15", build_pytest_command(jobs, *options, *list_arguments(ROOT))))


def run_suite(suite: Suite, output: IO[bytes] | None = None) -> Outcome:
    """Run one suite; what it prints goes to `output`, or is printed at once below the name of the suite."""
    if output is None:
        print(f"\n{suite.name}", flush=True)
    began = time.monotonic()
    unwanted = (*REAL_VARIABLES, *SLOW_VARIABLES)
    harmless = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment = {**harmless, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(suite.command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False)
    passed = done.returncode == 0
    sentence = f"{suite.name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s"
    return Outcome(passed, sentence)


if __name__ == "__main__":
    main()
