"""Read the variables of the project's `.env`; variables of the environment take precedence.

`DEX_ENV_FILE` names another file; if it is blank, no file is read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer
from dotenv import dotenv_values

from engine.project import ProjectNotFound, find_project

VARIABLE = "DEX_ENV_FILE"


#: The variables that were taken from a file, each with the file's name for messages.
_origins: dict[str, str] = {}


def load_env_file() -> None:
    """Set the variables of the project's `.env` that the environment lacks.

    Raises BadParameter when `DEX_ENV_FILE` names a file that does not exist.
    """
    file = _find_file()
    if file is None:
        return
    for name, value in dotenv_values(file, interpolate=False).items():
        if value is not None and name not in os.environ:
            os.environ[name] = value
            _origins[name] = file.name


def find_origin(name: str) -> str | None:
    """Return the file from which a variable was taken; None if the environment has it itself."""
    return _origins.get(name)


def describe_origins(message: str) -> str:
    """Say which of the variables named (in backticks) in a message come from a file; "" if none does."""
    named = dict.fromkeys(name for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", message) if name in _origins)
    return "; ".join(f"`{name}` is that of {_origins[name]}" for name in named)


def _find_file() -> Path | None:
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        if chosen.strip() and not Path(chosen).is_file():
            raise typer.BadParameter(f"`{VARIABLE}` names `{chosen}`, which is no file; blank means none")
        return Path(chosen) if chosen.strip() else None
    try:
        file = find_project().root / ".env"
    except ProjectNotFound:
        return None
    return file if file.is_file() else None
