"""Where histories are played: a database with one table, an API per version of its spec, node for generated blocks."""

import asyncio
import gc
import itertools
import json
import subprocess
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from engine.generate import typescript
from engine.plan import Plan
from engine.tables import draft_migration
from tests.api.loopback import Api, run_api
from tests.conftest import ROOT, link_trigger
from tests.database.history_specs import Variant

TRIGGER = ROOT / "trigger"


class Killed(BaseException):
    """The process is dead: nothing more reaches the server."""


@contextmanager
def kill_at(exchange: int, after: bool) -> Iterator[None]:
    """Let nothing more reach the server from the n-th exchange on, or from the answer to it.

    It is what the server sees of a process that is killed there. Does nothing if there are fewer exchanges.
    """
    whole = AsyncConnection.wait
    seen: dict[int, AsyncConnection[Any]] = {}
    counter = itertools.count(1)

    async def wait(self: AsyncConnection[Any], *arguments: Any, **options: Any) -> Any:
        seen[id(self)] = self
        number = next(counter)
        if number > exchange or (number == exchange and not after):
            raise Killed
        answer = await whole(self, *arguments, **options)
        if number == exchange:
            raise Killed
        return answer

    AsyncConnection.wait = wait  # type: ignore[method-assign,assignment]
    try:
        yield
    except Killed:
        pass
    finally:
        AsyncConnection.wait = whole  # type: ignore[method-assign]
        for connection in seen.values():
            connection.pgconn.finish()
        collect_cursors()


def collect_cursors() -> None:
    """Free the cursors of processes that are dead; those were never closed, of which Python would warn."""
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


class Blocks:
    """A node process that runs generated persist blocks against a real API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        link_trigger(folder)
        self.process = subprocess.Popen(
            ["node", "--import", "tsx", "tests/persist/serve-blocks.ts"],
            cwd=TRIGGER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def write_block(self, plan: Plan, number: int) -> str:
        """Generate the block of a plan; return the path of its module."""
        (text,) = [
            text
            for name, text in typescript.build_typescript_files([plan]).items()
            if name.endswith(typescript.build_file_name(plan))
        ]
        module = self.folder / "src" / "persist" / "generated" / f"{plan.name}_{number}_{uuid.uuid4().hex[:8]}.ts"
        module.write_text(text)
        return str(module)

    def run_block(self, request: bytes) -> list[str]:
        """Run one block; return what it logs."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(request.decode() + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the node process has ended"
        return list(json.loads(answer))


class Laboratory:
    """A database with the table of one variant, an API per version of its spec, and a node process for live rows."""

    def __init__(self, dsn: str, variant: Variant, blocks: Blocks) -> None:
        self.dsn, self.variant, self.blocks = dsn, variant, blocks
        self.plans = variant.plans
        self.stack = ExitStack()
        self.db = self.stack.enter_context(psycopg.connect(dsn, autocommit=True, row_factory=dict_row))
        self.loop = self.stack.enter_context(asyncio.Runner())
        self.db.execute(draft_migration.build_create_migration(self.plans[0]))
        if variant.constraint:
            self.db.execute(f"alter table {self.plans[0].table} add constraint refuses {variant.constraint}")
        self.apis: list[Api] = [self.stack.enter_context(run_api(dsn, (plan,))) for plan in self.plans]
        self.modules = [blocks.write_block(plan, number) for number, plan in enumerate(self.plans)]
        tables = self.db.execute(
            "select quote_ident(relname) as name from pg_class"
            " where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> 'schema_migrations'"
        ).fetchall()
        self.tables = ", ".join(row["name"] for row in tables)

    def close(self) -> None:
        self.stack.close()
        collect_cursors()  # of the last kill: whoever handles its exception still has them

    def empty(self) -> None:
        """Leave nothing in the database, nor what a rebuild that was killed has left."""
        self.db.execute(f'drop table if exists "{self.plans[0].table}_Rebuild"')
        self.db.execute(f"truncate {self.tables}")

    def call(self, coroutine: Any) -> Any:
        return self.loop.run(asyncio.wait_for(coroutine, 30))
