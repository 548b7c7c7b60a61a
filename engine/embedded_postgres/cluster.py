"""The cluster: Postgres's own folder, made once.

In: the place, the programs, the account. Out: a cluster that only the account's owner and root can log in to.
It must not know whether a server runs on it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine.embedded_postgres import binaries
from engine.embedded_postgres.data_folder import Folder, read
from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.os_user import Account, known

#: Only over the socket. The database's own superuser is for who runs the server; other roles bring a password.
RULES = """\
local all postgres peer map=dex
local all all scram-sha-256
"""

SETTINGS = """\
# written by engine/embedded_postgres
listen_addresses = ''
unix_socket_permissions = 0700
timezone = 'UTC'
log_timezone = 'UTC'
# Statements and their values stay out of the log: research is about people.
log_min_error_statement = panic
log_error_verbosity = terse
"""


INHERITED = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def ensure(folder: Folder, place: Path, programs: Path, account: Account, *, durable: bool) -> Path:
    """Return the cluster of a folder, made if there is none.

    Raises EmbeddedError when `initdb` fails, or when the cluster is of another major version than the programs.
    """
    cluster = place / "cluster"
    if not cluster.is_dir():
        make(cluster, programs, account, admitted(folder), durable=durable)
    if place != folder.path and not folder.cluster.is_symlink():
        folder.cluster.symlink_to(cluster)
    made, runs = read(cluster / "PG_VERSION").strip(), binaries.major_version(programs)
    if made != str(runs):
        raise EmbeddedError(
            f"the cluster in `{folder.cluster}` is of PostgreSQL {made}, the programs in `{programs}` are {runs}",
            hint=f"name the `bin` folder of a PostgreSQL {made} in `{binaries.OVERRIDE}`, or remove `{folder.path}`",
        )
    return cluster


def make(cluster: Path, programs: Path, account: Account, logins: str, *, durable: bool) -> None:
    """Make a cluster beside its place and move it there when it is whole: killed half-way, it leaves none."""
    for abandoned in cluster.parent.glob("unfinished-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cluster.parent))
    account.own(unfinished)
    # The C locale sorts the same on every version and every machine.
    command = [str(programs / "initdb"), "-D", str(unfinished), "-U", "postgres", "--encoding=UTF8", "--no-locale"]
    command += ["--auth-local=peer", "--auth-host=reject", "--no-instructions", *([] if durable else ["--no-sync"])]
    done = subprocess.run(  # noqa: S603
        command, cwd="/", env=environment(), capture_output=True, text=True, check=False, **account.drop()
    )
    if done.returncode != 0:
        raise EmbeddedError(f"`{command[0]}` could not make a cluster: {done.stderr.strip() or done.stdout.strip()}")
    (unfinished / "pg_hba.conf").write_text(RULES)
    (unfinished / "pg_ident.conf").write_text(logins)
    with (unfinished / "postgresql.conf").open("a") as settings:
        settings.write(SETTINGS)
    unfinished.rename(cluster)


def admitted(folder: Folder) -> str:
    """Return who may log in as the superuser: whose folder it is, we, and root, who could anyway.

    Not the server's own user as such: other programs run as `nobody` too.
    """
    names = {pwd.getpwuid(user).pw_name for user in (0, os.getuid())}
    if (owner := known(folder.path.stat().st_uid)) is not None:
        names.add(owner.name)
    return "".join(f'dex "{name}" postgres\n' for name in sorted(names))


def environment() -> dict[str, str]:
    """Return what the server gets of our environment: none of its own variables, no language, no secrets."""
    return {**{name: os.environ[name] for name in INHERITED if name in os.environ}, "LC_ALL": "C"}
