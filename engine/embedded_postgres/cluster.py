"""Create the cluster, the folder in which Postgres keeps its data, and configure who may log in to it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine.embedded_postgres import binaries
from engine.embedded_postgres.data_folder import DataFolder, read_text_or_empty
from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.os_user import OsUser, find_unprivileged_user

#: The text of `pg_hba.conf`. Only the OS users of `build_ident_map` may log in as the superuser; other roles need a
#: password.
HBA_RULES = """\
local all postgres peer map=dex
local all all scram-sha-256
"""

SERVER_SETTINGS = """\
# written by engine/embedded_postgres
listen_addresses = ''
unix_socket_permissions = 0700
timezone = 'UTC'
log_timezone = 'UTC'
# Statements and their values stay out of the log: research is about people.
log_min_error_statement = panic
log_error_verbosity = terse
"""

#: Environment variables of this process that the server inherits.
INHERITED_VARIABLES = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def ensure_cluster(folder: DataFolder, storage: Path, programs: Path, user: OsUser, *, durable: bool) -> Path:
    """Return the cluster of a data folder; create it in the storage folder when there is none.

    Raises EmbeddedError when `initdb` fails, or when the cluster is of another major version than the programs.
    """
    cluster = storage / "cluster"
    if not cluster.is_dir():
        create_cluster(cluster, programs, user, build_ident_map(folder), durable=durable)
    if storage != folder.path and not folder.cluster.is_symlink():
        folder.cluster.symlink_to(cluster)
    required, major = read_text_or_empty(cluster / "PG_VERSION").strip(), binaries.read_major_version(programs)
    if required != str(major):
        raise EmbeddedError(
            f"the cluster in `{folder.cluster}` is of PostgreSQL {required}, the programs in `{programs}` are {major}",
            hint=f"name the `bin` folder of a PostgreSQL {required} in `{binaries.BIN_VARIABLE}`,"
            f" or remove `{folder.path}`",
        )
    return cluster


def create_cluster(cluster: Path, programs: Path, user: OsUser, logins: str, *, durable: bool) -> None:
    """Create a cluster under a temporary name and rename it once complete, so that a killed process leaves no part.

    Raises EmbeddedError when `initdb` fails.
    """
    for abandoned in cluster.parent.glob("unfinished-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cluster.parent))
    user.give_path(unfinished)
    # The C locale gives the same sort order on every version and every machine. So does the built-in C.UTF-8, which
    # also knows the capitals beyond ASCII: a search for `über` finds `Über`. Full text uses it since version 18.
    command = [str(programs / "initdb"), "-D", str(unfinished), "-U", "postgres", "--encoding=UTF8", "--no-locale"]
    if binaries.read_major_version(programs) >= 18:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += ["--auth-local=peer", "--auth-host=reject", "--no-instructions", *([] if durable else ["--no-sync"])]
    result = subprocess.run(  # noqa: S603
        command,
        cwd="/",
        env=build_server_environment(),
        capture_output=True,
        text=True,
        check=False,
        **user.build_run_options(),
    )
    if result.returncode != 0:
        raise EmbeddedError(
            f"`{command[0]}` could not make a cluster: {result.stderr.strip() or result.stdout.strip()}",
            hint="correct what it names, or name a server in `DATABASE_URL`",
        )
    (unfinished / "pg_hba.conf").write_text(HBA_RULES)
    (unfinished / "pg_ident.conf").write_text(logins)
    with (unfinished / "postgresql.conf").open("a") as settings:
        settings.write(SERVER_SETTINGS)
    unfinished.rename(cluster)


def build_ident_map(folder: DataFolder) -> str:
    """Return the text of `pg_ident.conf`: root, the current user and the folder's owner may log in as the superuser.

    A server started by root runs as an unprivileged user. That user is left out unless it owns the folder, since other
    programs run as `nobody` too.
    """
    names = {pwd.getpwuid(uid).pw_name for uid in (0, os.getuid())}
    if (owner := find_unprivileged_user(folder.path.stat().st_uid)) is not None:
        names.add(owner.name)
    return "".join(f'dex "{name}" postgres\n' for name in sorted(names))


def build_server_environment() -> dict[str, str]:
    """Return the environment of the server: without `PG*` variables, language settings and secrets of this process."""
    return {**{name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}, "LC_ALL": "C"}
