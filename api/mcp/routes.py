"""The endpoint of agents, `/mcp`: it authenticates the caller and passes the request to the MCP SDK."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.dependencies import find_tenant
from api.http.errors import Fault
from api.http.route import DocumentRoute
from api.mcp.server import HttpServer, McpMissing, check_installed

agent_router = APIRouter(tags=["agents"], route_class=DocumentRoute)


#: Not in the OpenAPI document: it is JSON-RPC, and MCP clients discover its tools through the protocol.
@agent_router.post("/mcp", include_in_schema=False)
async def answer_agent(request: Request) -> Response:
    """Pass an agent's request to the SDK, which reads and answers it."""
    await find_tenant(request)
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
        await self.server.answer_request(scope, receive, send)
