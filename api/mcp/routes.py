"""The endpoint of agents, `/mcp`: it authenticates the caller and passes the request to the MCP SDK."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.dependencies import find_tenant
from api.http.body import MAX_QUERY_BYTES, read_body
from api.http.errors import Fault
from api.http.responses import EncodedJsonResponse
from api.http.route import DocumentRoute
from api.mcp.messages import find_mistake
from api.mcp.server import HttpServer, McpMissing, check_installed

#: Headers about a body as it was sent, before it was decompressed.
_BODY_HEADERS: Final = (b"content-encoding", b"content-length")

agent_router = APIRouter(tags=["agents"], route_class=DocumentRoute)


#: Not in the OpenAPI document: it is JSON-RPC, and MCP clients discover its tools through the protocol.
@agent_router.post("/mcp", include_in_schema=False)
async def answer_agent(request: Request) -> Response:
    """Pass a tenant's request to the SDK, which answers it.

    Raises Fault 401 for any other caller, 501 when the SDK is not installed, and 413, 415 or 422 as `read_body` does.
    """
    await find_tenant(request)
    try:
        check_installed()
    except McpMissing as error:
        raise Fault("mcp_unavailable", error.message, hint=error.hint) from error
    body = await read_body(request, MAX_QUERY_BYTES)
    mistake = find_mistake(body)
    if mistake is not None:
        return EncodedJsonResponse(mistake.encode_answer(), HTTPStatus.BAD_REQUEST)
    return _AgentResponse(request.app.state.mcp, body)


class _AgentResponse(Response):
    """A response that the SDK writes."""

    def __init__(self, server: HttpServer, request_body: bytes) -> None:
        super().__init__()
        self.server = server
        self.request_body = request_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the SDK, with its body as it is decompressed."""
        headers = [(name, value) for name, value in scope["headers"] if name not in _BODY_HEADERS]
        messages = [{"type": "http.request", "body": self.request_body, "more_body": False}]

        async def receive_body() -> Message:
            return messages.pop() if messages else await receive()

        await self.server.answer_request({**scope, "headers": headers}, receive_body, send)
