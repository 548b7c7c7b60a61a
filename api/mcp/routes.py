"""The endpoint of agents, `/mcp`: it authenticates the caller and passes the request to the MCP SDK."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import authenticate_tenant
from api.context import Context
from api.http.endpoint import Endpoint
from api.http.errors import Fault
from api.mcp.server import HttpServer, McpMissing, check_installed

MCP_PATH = "/mcp"


async def _answer_agent(context: Context, request: Request) -> Response:
    await authenticate_tenant(request, context)
    try:
        check_installed()
    except McpMissing as error:
        raise Fault("mcp_unavailable", error.message, hint=error.hint) from error
    return _AgentResponse(request.app.state.mcp)


class _AgentResponse(Response):
    """A response that the SDK writes."""

    def __init__(self, server: HttpServer) -> None:
        super().__init__()
        self.server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the SDK, which reads and answers it."""
        await self.server.answer(scope, receive, send)


#: Not in the OpenAPI document: it is JSON-RPC, and MCP clients discover its tools through the protocol.
MCP_ENDPOINT = Endpoint(
    method="POST",
    path=MCP_PATH,
    name="ask_as_agent",
    title="Model Context Protocol: describe, query, explain, coverage",
    tag="agents",
    security=("tenant",),
    respond=_answer_agent,
)
