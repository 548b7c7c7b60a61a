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
#: The tests that can depend on the version of Postgres: those that send it the engine's SQL.
DATABASE_TESTS = ("tests/database", "tests/api")
#: Files among them about other things: the command line, the URL, credentials, limits of a process, protocols, clients,
#: programs around the engine. Their SQL is tested by the other files. A new file runs on both servers until it is named
#: here.
OTHER_FILES = (
    *(f"tests/database/test_{name}.py" for name in ("command_line", "database_url", "scripts")),
    *(f"tests/database/test_{name}.py" for name in ("poolers", "spread_the_work", "standby")),
    *(f"tests/api/test_{name}.py" for name in ("auth", "clients", "exchange", "large_pages", "limits", "mcp")),
    *(f"tests/api/test_{name}.py" for name in ("openapi", "outage", "samples", "settings", "telemetry")),
)
#: Tests of the other files that send no other SQL than their neighbours, only more of it: at random, killed anywhere,
#: for each spec, through a command, to another service, over much data. What begins like one of these is left out.
OTHER_TESTS = (
    *(f"tests/api/test_{name}.py::TestTrigger" for name in ("run_management", "starting_work", "submissions")),
    "tests/api/test_explain.py::test_the_command_line_says_the_same",
    "tests/api/test_explain.py::test_wrong_words_are_named",
    "tests/api/test_export.py::test_memory_is_bounded_whatever_the_rows_hold",
    *(f"tests/api/test_isolation.py::test_an_operator[{name}_" for name in ("company", "icp", "person")),
    "tests/api/test_questions.py::test_every_order_meets_each_row_once",
    "tests/api/test_starting_work.py::test_the_start_says_who_may_spend_without_bound",
    "tests/database/test_backfill.py::test_a_document_of_twenty_megabytes",
    "tests/database/test_concurrency.py::test_a_database_that_is_not_there",
    "tests/database/test_concurrency.py::test_a_stopped_database_is_said_so_and_the_backfill_resumed_once_it_is_back",
    "tests/database/test_concurrency.py::test_killed_at_fifty_points_and_resumed_it_ends_as_if_nothing_had_happened",
    "tests/database/test_concurrency.py::test_the_command_says_so_in_two_lines_and_exits_with_1",
    "tests/database/test_erase.py::test_the_command",
    *(f"tests/database/test_files.py::Test{name}" for name in ("Commands", "Extractor")),
    "tests/database/test_files.py::test_a_missing_library_is_named_with_the_part_to_install",
    "tests/database/test_files.py::test_files_and_database_give_the_same_rows[lists",
    "tests/database/test_filled_tables.py::test_migrations_that_are_killed_anywhere_are_gone_on_with",
    "tests/database/test_laws.py::test_any_order_of_arrival_ends_with_the_newest_source",
    *(
        f"tests/database/test_laws.py::test_live_rows_are_backfilled_rows[{name}_"
        for name in ("company", "icp", "person")
    ),
    "tests/database/test_rebuild.py::test_a_rebuild_that_is_killed_anywhere_is_done_again",
    "tests/database/test_rebuild.py::test_the_commands_of_the_page",
    *(f"tests/database/test_row_laws.py::test_known_histories[{name}]" for name in ("lists deleted", "readings")),
    "tests/database/test_row_laws.py::test_rows_are_what_a_fresh_backfill_makes",
    "tests/database/test_rows.py::test_the_last_complete_result_is_what_stands_there_in_any_batches",
    "tests/database/test_shards.py::test_random_cuts_overlaps_and_kills",
    "tests/database/test_verify.py::test_the_command",
)


def main() -> None:
    """Run pytest on the embedded Postgres, its database tests on an installed Postgres 15, and the tests of trigger/.

    With arguments for pytest, run only pytest, on the embedded Postgres or the one that `--postgres` names.
    """
    parser = argparse.ArgumentParser(
        description="run every test, or those that the arguments for pytest choose", allow_abbrev=False
    )
    parser.add_argument("--jobs", default="3", help="how many processes share the tests (default: 3)")
    options, arguments = parser.parse_known_args()
    pytest = [str(BIN / "python"), "-m", "pytest", "-n", options.jobs, "--dist", "worksteal"]
    if arguments:
        passed, sentence = run_suite("some tests", [*pytest, *arguments])
        print(f"\n{sentence}", flush=True)
        sys.exit(not passed)
    outcomes = [run_suite("embedded Postgres", pytest)]
    left_out = (*(f"--ignore={file}" for file in OTHER_FILES), *(f"--deselect={test}" for test in OTHER_TESTS))
    chosen = [*DATABASE_TESTS, *left_out]
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
