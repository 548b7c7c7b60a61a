"""Run every test of the project (`make test`), or some of them: `make test ARGS="tests/engine -k upsert"`.

After a failed suite it continues, and at the end it prints one line per suite. Exit status 1 if a suite failed.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from engine.embedded_postgres import find_system_binaries

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
    "DEX_LIMIT_",
    "DEX_HOST",
    "DEX_OPERATOR_ADDRESS",
    "FORWARDED_ALLOW_IPS",
    "PORT",
    "PG",
)
#: Removed too, since it makes every process compile what it imports; tests start hundreds of processes.
SLOW_VARIABLES = ("PYTHONDONTWRITEBYTECODE",)
#: The tests that can depend on the version of Postgres: those that send it the engine's SQL.
DATABASE_TESTS = ("tests/database", "tests/api")
#: Files among them about other things: the command line, the URL, credentials, limits of a process, protocols, clients.
#: Their SQL is tested by the other files. A new file runs on both servers until it is named here.
OTHER_TESTS = (
    *(f"tests/database/test_{name}.py" for name in ("command_line", "database_url", "scripts")),
    *(f"tests/api/test_{name}.py" for name in ("auth", "clients", "exchange", "large_pages", "limits", "mcp")),
    *(f"tests/api/test_{name}.py" for name in ("openapi", "outage", "samples", "settings", "telemetry")),
)


def main() -> None:
    """Run pytest on the embedded Postgres, its database tests on an installed Postgres 15, and the tests of trigger/.

    With arguments for pytest, run only pytest, on the embedded Postgres or the one that `--postgres` names.
    """
    parser = argparse.ArgumentParser(
        description="run every test, or those that the arguments for pytest choose", allow_abbrev=False
    )
    parser.add_argument("--jobs", default="2", help="how many processes share the tests (default: 2)")
    options, arguments = parser.parse_known_args()
    pytest = [str(BIN / "python"), "-m", "pytest", "-n", options.jobs, "--dist", "worksteal"]
    if arguments:
        passed, sentence = run_suite("some tests", [*pytest, *arguments])
        print(f"\n{sentence}", flush=True)
        sys.exit(not passed)
    outcomes = [run_suite("embedded Postgres", pytest)]
    chosen = [*DATABASE_TESTS, *(f"--ignore={file}" for file in OTHER_TESTS)]
    if find_system_binaries(15):
        outcomes.append(run_suite("system Postgres 15", [*pytest, "--postgres", "system15", *chosen]))
    else:
        outcomes.append((True, "system Postgres 15: not on this machine, left out"))
    outcomes.append(run_suite("trigger/", [str(BIN / "npm"), "--prefix", "trigger", "--silent", "test"]))
    print("\n" + "\n".join(sentence for _, sentence in outcomes), flush=True)
    sys.exit(not all(passed for passed, _ in outcomes))


def run_suite(name: str, command: list[str]) -> tuple[bool, str]:
    """Run one suite; return whether it passed, and the line to print about it."""
    print(f"\n{name}", flush=True)
    began = time.monotonic()
    unwanted = (*REAL_VARIABLES, *SLOW_VARIABLES)
    harmless = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment = {**harmless, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    passed = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    return passed, f"{name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s"


if __name__ == "__main__":
    main()
