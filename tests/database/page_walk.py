"""Walk the commands of a how-to page in order, as somebody with only the page would."""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.forked_dex import run_dex_text

_STEP = re.compile(r"^ {7}(?P<dex>dex [^\n]*)$|^ *```sql\n(?P<sql>.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Ended(NamedTuple):
    """A command of the page, its exit status and what it printed."""

    command: str
    status: int
    said: str


def walk_page(
    page: Path, project: Path, database: str, execute_sql: Callable[[str], object], *, answers: tuple[str, ...] = ()
) -> list[Ended]:
    """Run the page's commands in `project`, and its SQL. Those that begin with one of `answers` get --yes."""
    ended = []
    for step in _STEP.finditer(page.read_text()):
        if step["sql"]:
            execute_sql(step["sql"])
            continue
        words = [*shlex.split(step["dex"])[1:], *(["--yes"] if step["dex"].startswith(answers or ("-",)) else [])]
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database}
        done = run_dex_text(*words, environment=environment, folder=project)
        ended.append(Ended(step["dex"], done.returncode, done.stdout + done.stderr))
    return ended
