"""Run every test the project has: `make test`.

In: how many processes may share them. Out: what each runner prints, then one line per runner; exit 1 if one failed.
It must not know what is tested. It goes on after a failure, so that one run tells everything.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from engine.embedded_postgres import system_binaries

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
#: Names in somebody's environment that lead to real databases, providers and queues: no test may get hold of them.
REAL = ("DATABASE_URL", "INTERNAL_API_KEY", "JWT_", "SUPER_ADMIN_", "TRIGGER_", "PARALLEL_", "DATA_ENGINE_", "PG")
#: What the version of Postgres can make a difference to.
ON_BOTH = ("tests/database", "tests/api")


def main() -> None:
    """Run pytest on the embedded server, on a system Postgres 15 where there is one, then the tests of trigger/."""
    parser = argparse.ArgumentParser(description="run every test")
    parser.add_argument("--jobs", default="2", help="how many processes share the tests (default: 2)")
    jobs = parser.parse_args().jobs
    pytest = [str(BIN / "python"), "-m", "pytest", "-n", jobs]
    outcomes = [run("embedded Postgres", pytest)]
    if system_binaries(15):
        outcomes.append(run("system Postgres 15", [*pytest, "--postgres", "system15", *ON_BOTH]))
    else:
        outcomes.append((True, "system Postgres 15: not on this machine, left out"))
    outcomes.append(run("trigger/", [str(BIN / "npm"), "--prefix", "trigger", "--silent", "test"]))
    print("\n" + "\n".join(sentence for _, sentence in outcomes), flush=True)
    sys.exit(not all(passed for passed, _ in outcomes))


def run(name: str, command: list[str]) -> tuple[bool, str]:
    """Run one of the runners; return whether it passed, and the sentence that says so."""
    print(f"\n{name}", flush=True)
    began = time.monotonic()
    harmless = {name: value for name, value in os.environ.items() if not name.startswith(REAL)}
    environment = {**harmless, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    passed = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    return passed, f"{name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s"


if __name__ == "__main__":
    main()
