"""The real API on loopback, over a database of its own, and the people who call it."""

import asyncio
import hashlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import uvicorn

from api.app import create_app
from api.settings import Settings
from engine import plans as load
from engine import project
from engine.plan import Plan

ROOT = Path(__file__).resolve().parents[2]

INTERNAL_KEY = "internal-key-of-the-tests"
JWT_SECRET = "session secret of the tests, long enough for every algorithm that is tried"
ADMIN_KEY = "super-admin-key-of-the-tests"
ADMIN_SECRET = "super-admin secret of the tests, long enough for every algorithm that is tried"


@dataclass
class Api:
    """One running API: where it is, and who may call it."""

    url: str
    dsn: str
    plans: tuple[Plan, ...]
    client: httpx.Client = field(repr=False)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else None
        return self.client.post(path, content=content, json=None if content is not None else body, **options)

    def upsert(self, slug: str, body: Any, org_id: str, **headers: str) -> httpx.Response:
        return self.post(f"/api/internal/{slug}/upsert", body, headers={**internal(org_id), **headers})

    def query(self, slug: str, org_id: str, body: Any = None) -> httpx.Response:
        return self.post(f"/api/v1/{slug}/query", body or {}, headers=internal(org_id))

    def run(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.post(f"/api/internal/{path}", body, headers={**internal(), **headers})

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        """Look into the database, or change it, as its owner."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        return self.execute(statement, parameters)[0][0]

    @contextmanager
    def blocker(self, statement: str, parameters: Any = None) -> Iterator[None]:
        """Hold the locks of a statement for the length of a `with` block."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement, parameters)
            yield
            connection.rollback()

    def organisation(self) -> str:
        org_id = str(uuid.uuid4())
        self.execute("insert into orgs (id, name, slug) values (%s, %s, %s)", (org_id, f"Org {org_id}", org_id))
        return org_id

    def submission(self, org_id: str) -> tuple[str, str]:
        """A submission and a run of it."""
        submission_id, run_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.execute(
            "insert into submissions (id, org_id, input_payload, status) values (%s, %s, '{}', 'running')",
            (submission_id, org_id),
        )
        self.execute(
            "insert into pipeline_runs (id, org_id, submission_id, status) values (%s, %s, %s, 'running')",
            (run_id, org_id, submission_id),
        )
        return submission_id, run_id

    def step(self, run_id: str, position: int = 1, status: str = "queued") -> str:
        return str(
            self.value(
                "insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status)"
                " select org_id, submission_id, id, %s, %s from pipeline_runs where id = %s returning id",
                (position, status, run_id),
            )
        )

    def token(self, org_id: str, **columns: Any) -> str:
        """An API token of the organisation, as it is sent."""
        sent = f"dex_{uuid.uuid4().hex}"
        row = {
            "org_id": org_id,
            "name": "test",
            "token_hash": hashlib.sha256(sent.encode()).hexdigest(),
            "role": "member",
        }
        row |= columns
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        self.execute(f"insert into api_tokens ({names}) values ({places})", list(row.values()))
        return sent


def bearer(value: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}", **headers}


def internal(org_id: str | None = None) -> dict[str, str]:
    return bearer(INTERNAL_KEY, **({"x-internal-org-id": org_id} if org_id else {}))


def session(org_id: str | None, secret: str = JWT_SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A session JWT; a claim given as None is left out."""
    words = {
        "type": "session",
        "sub": str(uuid.uuid4()),
        "org_id": org_id,
        "company_id": None,
        "role": "member",
        "exp": int(time.time()) + 600,
    } | claims
    kept = {name: value for name, value in words.items() if value is not None}
    return jwt.encode(kept, secret, algorithm=algorithm)


def super_admin(secret: str = ADMIN_SECRET, **claims: Any) -> str:
    return jwt.encode({"type": "super_admin", "sub": str(uuid.uuid4()), "exp": int(time.time()) + 600} | claims, secret)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Run an app on a free port of loopback, in a thread with a loop of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the API did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def settings(dsn: str, **changes: Any) -> Settings:
    words: dict[str, Any] = {
        "database_url": dsn,
        "internal_api_key": INTERNAL_KEY,
        "jwt_secret": JWT_SECRET,
        "super_admin_jwt_secret": ADMIN_SECRET,
        "super_admin_api_key": ADMIN_KEY,
        "pool_size": 4,
    }
    return Settings(**(words | changes))


@contextmanager
def running(dsn: str, plans: tuple[Plan, ...] | None = None, **changes: Any) -> Iterator[Api]:
    """The API over a database; by default with the project's own specs."""
    plans = load.load(project.find(ROOT)) if plans is None else plans
    app = create_app(settings(dsn, **changes), plans, ROOT / "migrations")
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Api(url, dsn, plans, client)
