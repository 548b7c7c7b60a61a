"""^C before a command has begun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEX = Path(sys.executable).with_name("dex")
#: Python runs a `sitecustomize` at its start: this one interrupts the process when it imports a module.
INTERRUPT = """
import signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        signal.raise_signal(signal.SIGINT)

sys.addaudithook(interrupt)
"""


@pytest.mark.parametrize("module", ["scripts.dex", "typer", "scripts.commands.verify"])
def test_an_interrupt_while_the_commands_are_imported_prints_no_traceback(tmp_path: Path, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT.format(module=module))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([DEX, "--version"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
