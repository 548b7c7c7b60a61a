"""Processes that the demo, the benchmarks and the tests start: read line by line, stopped whatever happens."""

import signal
import sys

import pytest

from scripts.processes import ProcessFailed, start_process


def build_command(program: str) -> list[str]:
    return [sys.executable, "-uc", program]


def test_lines_are_found_one_after_the_other_on_either_channel() -> None:
    program = "import sys; print('up 1'); print('up 2', file=sys.stderr); print('{\"level\": \"warn\"}')"
    with start_process(build_command(program)) as process:
        assert [process.wait_for_line("up"), process.wait_for_line("up")] == ["up 1", "up 2"]
        assert process.wait_for_exit() == 0
    assert process.text.startswith("up 1\nup 2\n"), "what it printed is kept after its end"
    assert process.list_warnings() == [{"level": "warn"}]


def test_a_process_that_ends_first_is_reported_with_its_output() -> None:
    with start_process(build_command("print('no port'); raise SystemExit(3)")) as process:
        with pytest.raises(ProcessFailed, match="ended with 3") as raised:
            process.wait_for_line("serving")
        assert "no port" in raised.value.hint


def test_waiting_has_an_end() -> None:
    with start_process(build_command("import time; time.sleep(60)")) as process:
        with pytest.raises(ProcessFailed, match="did not print `up`"):
            process.wait_for_line("up", seconds=0.1)
        with pytest.raises(ProcessFailed, match="still runs"):
            process.wait_for_exit(0.1)
    assert process.popen.returncode == -signal.SIGTERM


def test_it_ends_when_its_input_is_closed() -> None:
    program = "import sys; sys.stdin.read(); print('left')"
    with start_process(build_command(program), with_input=True) as process:
        process.close_input()
        assert process.wait_for_line("left") == "left"


def test_it_gets_no_environment_but_the_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "ours")
    program = "import os; print(os.environ.get('SECRET'), os.environ.get('GIVEN'), 'end')"
    with start_process(build_command(program), {"GIVEN": "1"}, inherit=False) as process:
        assert process.wait_for_line("end") == "None 1 end"
