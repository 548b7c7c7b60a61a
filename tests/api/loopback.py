"""The real API on loopback over a database of its own, and the credentials of its callers."""

import asyncio
import hashlib
import select
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import psycopg

from api.app import READINESS_INTERVAL, create_app
from api.server import build_server
from api.settings import Limits, Settings
from engine.plan import Plan
from engine.store.connection import connect
from engine.store.database_url import replace_login
from engine.tables.engine_access import give_engine_access
from tests import world
from tests.conftest import API_LOGIN, LOGIN_PASSWORD, ROOT, load_project_plans

INTERNAL_KEY = "internal key of the tests, long enough to start with"
JWT_SECRET = "session secret of the tests, long enough for every algorithm that is tried"
ADMIN_KEY = "super-admin key of the tests, long enough to start with"
ADMIN_SECRET = "super-admin secret of the tests, long enough for every algorithm that is tried"


@dataclass
class Api:
    """One running API, its database, and the calls tests make."""

    url: str
    dsn: str
    plans: tuple[Plan, ...]
    client: httpx.Client = field(repr=False)
    is_running: bool = False
    owner: psycopg.Connection[Any] | None = field(default=None, repr=False)

    @contextmanager
    def connect_owner(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection as the owner of the database: that of the main thread is kept while the API runs."""
        if not self.is_running or threading.current_thread() is not threading.main_thread():
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                yield connection
            return
        if self.owner is not None and select.select([self.owner], [], [], 0)[0]:  # the server has closed it
            self.owner.close()
            self.owner = None
        if self.owner is None:
            self.owner = psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None)
        yield self.owner

    def close(self) -> None:
        """Close the connection that is kept, and keep none any more."""
        self.is_running = False
        if self.owner is not None:
            self.owner.close()
            self.owner = None

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else None
        return self.client.post(path, content=content, json=None if content is not None else body, **options)

    def upsert(self, slug: str, body: Any, org_id: str, **headers: str) -> httpx.Response:
        return self.post(f"/api/internal/{slug}/upsert", body, headers={**internal_headers(org_id), **headers})

    def query(self, slug: str, org_id: str, body: Any = None) -> httpx.Response:
        return self.post(f"/api/v1/{slug}/query", body or {}, headers=internal_headers(org_id))

    def call_runner(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.post(f"/api/internal/{path}", body, headers={**internal_headers(), **headers})

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        """Run one statement as the owner of the database; return its rows."""
        with self.connect_owner() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def fetch_value(self, statement: str, parameters: Any = None) -> Any:
        return self.execute(statement, parameters)[0][0]

    @contextmanager
    def hold_locks(self, statement: str, parameters: Any = None) -> Iterator[None]:
        """Hold the locks of a statement within a `with` block."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement, parameters)
            yield
            connection.rollback()

    def insert_organisation(self) -> str:
        with self.connect_owner() as connection:
            return world.insert_organisation(connection)

    def insert_submission(self, org_id: str) -> tuple[str, str]:
        """Insert a running submission and a run of it; return their ids."""
        with self.connect_owner() as connection:
            submission_id = world.insert_submission(connection, org_id, status="running")
            return submission_id, world.insert_run(connection, org_id, submission_id, status="running")

    def insert_step(self, run_id: str, position: int = 1, status: str = "queued") -> str:
        with self.connect_owner() as connection:
            return world.insert_step(connection, run_id, position=position, status=status)

    def insert_token(self, org_id: str, **columns: Any) -> str:
        """Insert an API token of the organisation; return it as a caller sends it."""
        token = f"dex_{uuid.uuid4().hex}"
        row = {
            "org_id": org_id,
            "name": "test",
            "token_hash": hashlib.sha256(token.encode()).hexdigest(),
            "role": "member",
        }
        row |= columns
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        self.execute(f"insert into api_tokens ({names}) values ({places})", list(row.values()))
        return token


def read_data(answer: httpx.Response) -> Any:
    """Return the `data` of a successful answer."""
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def read_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return a failed answer: it has this status and code, a hint, and if that may help, when to try again."""
    error = answer.json()
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert error["hint"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    return dict(error)


def bearer_headers(value: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}", **headers}


def internal_headers(org_id: str | None = None) -> dict[str, str]:
    return bearer_headers(INTERNAL_KEY, **({"x-internal-org-id": org_id} if org_id else {}))


def session_jwt(org_id: str | None, secret: str = JWT_SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Build a session JWT. A claim given as None is left out."""
    defaults = {
        "type": "session",
        "sub": str(uuid.uuid4()),
        "org_id": org_id,
        "company_id": None,
        "role": "member",
        "exp": int(time.time()) + 600,
    }
    payload = {name: value for name, value in (defaults | claims).items() if value is not None}
    return jwt.encode(payload, secret, algorithm=algorithm)


def insert_admin(api: Api, *, is_active: bool = True) -> str:
    """Insert a super-admin; return its id, the `sub` of its JWT."""
    admin_id = str(uuid.uuid4())
    row = (admin_id, f"{admin_id}@example.com", is_active)
    api.execute("insert into super_admins (id, email, is_active) values (%s, %s, %s)", row)
    return admin_id


def admin_jwt(secret: str = ADMIN_SECRET, **claims: Any) -> str:
    return jwt.encode({"type": "super_admin", "sub": str(uuid.uuid4()), "exp": int(time.time()) + 600} | claims, secret)


@contextmanager
def serve_app(app: Any, settings: Settings) -> Iterator[str]:
    """Run an app on a free port of loopback, in a thread with a loop of its own: uvicorn's, as `dex serve` does.

    asyncio's own would let small answers wait 40 ms for the acknowledgement of their head (Nagle's algorithm).
    """
    listener = socket.create_server(("127.0.0.1", 0))
    server = build_server(app, settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
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


def build_settings(dsn: str, **changes: Any) -> Settings:
    defaults: dict[str, Any] = {
        "database_url": dsn,
        "internal_api_key": INTERNAL_KEY,
        "jwt_secret": JWT_SECRET,
        "super_admin_jwt_secret": ADMIN_SECRET,
        "super_admin_api_key": ADMIN_KEY,
        "pool_size": 4,
        "sweep_seconds": 0,  # a test says when something is swept
        "limits": Limits(failed_tokens_per_minute=1000),  # every test comes from one address
    }
    return Settings(**(defaults | changes))


def wait_for_registration(api: Api) -> None:
    """Wait until the started API has given each spec its first version.

    If it could not at once, as on a busy machine, it tries again after READINESS_INTERVAL of `api/app.py`.
    """
    deadline = time.monotonic() + 2 * READINESS_INTERVAL
    while api.fetch_value("select count(*) from spec_versions where is_queued") < len(api.plans):
        assert time.monotonic() < deadline, "the specs were not registered"
        time.sleep(0.05)


async def give_access(dsn: str, plans: tuple[Plan, ...]) -> None:
    """Let the API's login reach the tables of plans, as `dex migrate` does."""
    async with await connect(dsn) as connection:
        await give_engine_access(connection, plans)


@contextmanager
def run_api(dsn: str, plans: tuple[Plan, ...] | None = None, grant: bool = True, **changes: Any) -> Iterator[Api]:
    """Run the API over a database, by default with the specs of the project, under the login that owns nothing.

    `grant` first lets it reach the tables of the plans, which takes a server that can be written to.
    """
    plans = load_project_plans() if plans is None else plans
    settings = build_settings(replace_login(dsn, API_LOGIN.name, LOGIN_PASSWORD), **changes)
    with ThreadPoolExecutor(1) as thread:  # this one may have an event loop
        if grant:
            thread.submit(asyncio.run, give_access(dsn, plans)).result()
    app = create_app(settings, plans, ROOT / "migrations")
    with (
        serve_app(app, settings) as url,
        httpx.Client(base_url=url, timeout=60, verify=False) as client,
        closing(Api(url, dsn, plans, client, is_running=True)) as api,
    ):
        yield api
