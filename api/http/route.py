"""The route classes of the API, which its routers name by `APIRouter(route_class=...)`.

FastAPI reads a body before it calls any dependency. Here the caller is authenticated first: a client without
credentials learns nothing from mistakes in its JSON, and cannot make the server read megabytes.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, Final

from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from api.auth import authenticate_tenant_or_admin, require_internal_key
from api.context import get_context, pool_share
from api.http.body import build_unknown_field_fault, read_body, split_fields
from api.http.errors import Fault, InvalidBody
from api.pool_shares import Share

#: How the paths end whose endpoints read the table of a spec and no other.
_READS_ROWS = ("/query", "/export", "/changes", "/{id}")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _RowIdConvertor(StringConvertor):
    """The path parameter for a row's id: any text but `query` and `export`, which are paths of other endpoints."""

    regex = "(?!(?:query|export)$)[^/]+"


register_url_convertor("row_id", _RowIdConvertor())


class EndpointRoute(APIRoute):
    """A route whose requests get connections from the share of its tag. If the tag is a spec, its table must fit."""

    def get_route_handler(self) -> Handler:
        respond, tag, path = self.build_handler(), str(self.tags[0]), self.path_format
        share = Share(tag, reads_rows=path.startswith("/api/v1/") and path.endswith(_READS_ROWS))
        takes_parameters = bool(self.dependant.query_params or (self.openapi_extra or {}).get("parameters"))

        async def answer_request(request: Request) -> Response:
            request.state.route = path  # the label of the request in the metrics
            pool_share.set(share)
            if request.scope["query_string"] and path.startswith("/api/"):
                await _check_parameters(request, takes_parameters)
            await get_context(request).readiness.require_fit(tag)
            return await respond(request)

        return answer_request

    def build_handler(self) -> Handler:
        """Return the function that handles a request: FastAPI's, which calls the dependencies and the endpoint."""
        return super().get_route_handler()


async def _check_parameters(request: Request, takes_parameters: bool) -> None:
    """Raise Fault 422 for a query string with a parameter that the endpoint would ignore; 401 for an unknown caller.

    FastAPI ignores all but the last of a parameter that is sent twice, and any parameter of an endpoint that has none.
    """
    fault = _find_parameter_fault(request, takes_parameters)
    if fault is None:
        return
    context = get_context(request)
    if request.url.path.startswith("/api/internal/"):
        require_internal_key(request, context)
    else:
        await authenticate_tenant_or_admin(request, context)
    raise fault


def _find_parameter_fault(request: Request, takes_parameters: bool) -> Fault | None:
    names = [name for name, _ in request.query_params.multi_items()]
    if names and not takes_parameters:
        place = ", or send it in the body" if request.method == "POST" else ""
        hint = f"leave it out{place}: this endpoint takes nothing in its query string"
        return build_unknown_field_fault(list(dict.fromkeys(names)), (), hint=hint)
    for name, count in Counter(names).items():
        if count > 1:
            return InvalidBody(f"`{name[:100]}` is given {count} times", field=name[:100], hint="send it once")
    return None


class BodyRoute(EndpointRoute):
    """A route with a body of limited size; `authenticate` has to accept the caller before the body is read.

    If its endpoint takes no body, any field of one is refused.
    """

    #: The most bytes of a body, where that is less than the setting.
    most_bytes: ClassVar[int] = sys.maxsize

    @staticmethod
    async def authenticate(request: Request) -> object:
        """Authenticate the caller. Raises Fault 401 for an unknown one, and 403 for one without the right."""
        raise NotImplementedError

    def build_handler(self) -> Handler:
        respond = super().build_handler()
        takes_body = self.body_field is not None or "requestBody" in (self.openapi_extra or {})

        async def answer_request(request: Request) -> Response:
            await self.authenticate(request)
            body = await read_body(request, self.most_bytes)
            if not takes_body and body.strip() not in (b"", b"null"):  # what says nothing is no mistake
                split_fields(body, ())
            return await respond(_ReadRequest(request, body))

        return answer_request


class _ReadRequest(Request):
    """A request whose body is read already, and unpacked if it was gzip; the endpoint's model decodes it."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._body = body

    async def json(self) -> bytes:
        """Return the body undecoded, since documents in it are stored as sent."""
        return await self.body()


class DocumentRoute(EndpointRoute):
    """A route whose endpoint gets only the request, since its documents are not passed through FastAPI.

    Its dependencies and models only describe it: the endpoint authenticates the caller and reads the body itself.
    """

    def build_handler(self) -> Handler:
        endpoint: Handler = self.endpoint
        return endpoint


#: What all routers but the runner's have in common: operations in the OpenAPI document have their functions' names.
ROUTER_OPTIONS: Final[Mapping[str, Any]] = {
    "route_class": EndpointRoute,
    "generate_unique_id_function": lambda route: route.name,
}
