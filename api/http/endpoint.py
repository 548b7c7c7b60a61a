"""One endpoint: how it is called, what it answers, and the function that does.

In: a request. Out: the function's response, or the answer to what it raised. It must not know any particular endpoint.

Endpoints are plain ASGI apps on Starlette routes. A FastAPI function with dependencies costs more per request than all
else we do outside Postgres, and would read the body before asking who sends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.errors import Fault, answer, of_store
from engine.store.errors import StoreError

Answers = Callable[[Request], Awaitable[Response]]
JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What the router and the OpenAPI document need to know. `security`: names of schemes, any one of which opens."""

    method: str
    path: str
    name: str
    title: str
    tag: str
    answers: Answers
    answer: JsonSchema = field(default_factory=dict)
    media_type: str = "application/json"
    body: JsonSchema | type[msgspec.Struct] | None = None
    body_needed: bool = True
    example: Any = None
    security: tuple[str, ...] = ()
    headers: Mapping[str, tuple[bool, str]] = field(default_factory=dict)  # name -> (needed, what it is)
    faults: tuple[int, ...] = ()
    text: str = ""

    def route(self) -> Route:
        """Return the route that calls it."""
        return Route(self.path, self.app(), methods=[self.method], name=self.name)

    def app(self) -> ASGIApp:
        """Return the ASGI app that calls it."""
        return _App(self.path, self.answers)


class _App:
    """Calls the function and answers what it raises. Leaves the route's template where Telemetry reads it."""

    __slots__ = ("answers", "template")

    def __init__(self, template: str, answers: Answers) -> None:
        self.template = template
        self.answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["route"] = self.template
        try:
            response = await self.answers(Request(scope, receive))
        except Fault as fault:
            response = answer(fault)
        except StoreError as error:
            response = answer(of_store(error))
        except ClientDisconnect:
            return  # nobody is there to be answered
        await response(scope, receive, send)


class Direct:
    """Hands a request whose method and path are exactly an endpoint's to it; passes everything else on.

    The router would try one pattern after the other, below six layers of which an endpoint of ours needs none.
    """

    def __init__(self, endpoints: Iterable[Endpoint], other: ASGIApp) -> None:
        self._apps = {(item.method, item.path): item.app() for item in endpoints if "{" not in item.path}
        self._other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        app = self._apps.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (app or self._other)(scope, receive, send)


class Json(Response):
    """A response whose body is JSON bytes already."""

    media_type = "application/json"


def data(raw: bytes | str, meta: Mapping[str, Any] | None = None) -> Json:
    """Answer `{"data": raw}`, with `meta` where there is more to say."""
    body = raw.encode() if isinstance(raw, str) else raw
    if meta is None:
        return Json(b'{"data":%b}' % body)
    return Json(b'{"data":%b,"meta":%b}' % (body, msgspec.json.encode(meta)))


def data_list(rows: Sequence[bytes], meta: Mapping[str, Any]) -> Json:
    """Answer `{"data": [...], "meta": ...}`. A page may hold megabytes: it is put together in one copy."""
    pieces = [piece for row in rows for piece in (b",", row)][1:]
    return Json(b"".join((b'{"data":[', *pieces, b'],"meta":', msgspec.json.encode(meta), b"}")))
