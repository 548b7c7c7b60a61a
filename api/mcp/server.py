"""The MCP server, built with the official SDK, over streamable HTTP and over stdio.

The SDK is an optional dependency and takes a second to import, so it is imported at an agent's first request. Over HTTP
no sessions are kept, so that any of several processes can answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.errors import Fault
from api.mcp.arguments import ANSWER_BYTES
from api.mcp.endpoint_client import CREDENTIAL_HEADERS, EndpointClient, EndpointRefused
from api.mcp.size import shorten_error
from api.mcp.tools import INSTRUCTIONS, TOOLS, AgentTool, ToolCall, build_input_schema, call_tool
from engine.errors import EngineError, suggest_name
from engine.plan import Plan

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

_NAME = "data-engine-x"
#: A function that returns the client with the credentials of an HTTP request; over stdio the request is None.
FindClient = Callable[[Request | None], EndpointClient]


class McpMissing(EngineError):
    """The MCP SDK is not installed."""

    def __init__(self) -> None:
        super().__init__("agents need `mcp`", hint="install the optional part: `pip install data-engine-x[mcp]`")


def check_installed() -> None:
    """Raise McpMissing when the SDK is not installed."""
    if find_spec("mcp") is None:
        raise McpMissing


def build_server(plans: Sequence[Plan], version: str, find_client: FindClient) -> Server[Any]:
    """Build the SDK's server with our tools."""
    from mcp import types
    from mcp.server.lowlevel import Server

    tools = {tool.name: tool for tool in TOOLS}
    listed = [
        types.Tool(
            name=tool.name,
            description=tool.description,
            input_schema=build_input_schema(tool, plans),
            annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
        )
        for tool in TOOLS
    ]

    async def list_tools(context: Any, parameters: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def answer_call(context: Any, parameters: types.CallToolRequestParams) -> types.CallToolResult:
        call = ToolCall(plans, find_client(context.request))
        text, failed = await _answer_call(tools, parameters.name, call, parameters.arguments or {})
        return types.CallToolResult(content=[types.TextContent(text=text)], is_error=failed)

    return Server(_NAME, version=version, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=answer_call)


async def _answer_call(
    tools: Mapping[str, AgentTool], name: str, call: ToolCall, arguments: Mapping[str, Any]
) -> tuple[str, bool]:
    """Call the tool `name`; return the JSON text of its answer, and whether that is an error.

    Errors are returned too, since the agent reads them to correct its next call.
    """
    try:
        if name not in tools:
            raise Fault("not_found", f"there is no tool `{name[:100]}`", hint=suggest_name(name[:100], tools))
        return (await call_tool(tools[name], call, arguments)).decode(), False
    except EndpointRefused as error:
        text = error.text.encode()
    except Fault as fault:
        text = msgspec.json.encode(
            {"error": fault.message, "code": fault.code, "detail": fault.detail, "hint": fault.hint}
        )
    return shorten_error(text, ANSWER_BYTES).decode(), True


class HttpServer:
    """Answers agents over HTTP. The SDK is imported at the first request."""

    def __init__(self, inner_app: ASGIApp, plans: Sequence[Plan], version: str, max_body_bytes: int) -> None:
        self._inner_app = inner_app
        self._plans = plans
        self._version = version
        self._max_body_bytes = max_body_bytes
        self._lock = asyncio.Lock()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._manager: StreamableHTTPSessionManager | None = None

    async def answer_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one authenticated request. Raises McpMissing when the SDK is not installed."""
        check_installed()
        manager = await self._start_manager()
        await manager.handle_request(scope, receive, send)

    async def close(self) -> None:
        """Stop the SDK's session manager, if it was started."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def _start_manager(self) -> StreamableHTTPSessionManager:
        async with self._lock:
            if self._manager is None:
                manager = await anyio.to_thread.run_sync(self._build_manager)
                started = asyncio.Event()
                self._task = asyncio.create_task(self._run_manager(manager, started))
                await started.wait()
                self._manager = manager
            return self._manager

    def _build_manager(self) -> StreamableHTTPSessionManager:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        return StreamableHTTPSessionManager(
            build_server(self._plans, self._version, self._find_client),
            json_response=True,
            stateless=True,
            max_request_body_size=self._max_body_bytes,
        )

    async def _run_manager(self, manager: StreamableHTTPSessionManager, started: asyncio.Event) -> None:
        async with manager.run():
            started.set()
            await self._stop.wait()

    def _find_client(self, request: Request | None) -> EndpointClient:
        assert request is not None
        headers = {name: request.headers[name] for name in CREDENTIAL_HEADERS if name in request.headers}
        address = (request.client.host, request.client.port) if request.client else ("", 0)
        return EndpointClient(self._inner_app, headers, address)


@asynccontextmanager
async def open_http_server(
    inner_app: ASGIApp, plans: Sequence[Plan], version: str, max_body_bytes: int
) -> AsyncIterator[HttpServer]:
    """Yield an HttpServer, which is closed at the end of the `with` block."""
    server = HttpServer(inner_app, plans, version, max_body_bytes)
    try:
        yield server
    finally:
        await server.close()


async def serve_stdio(plans: Sequence[Plan], version: str, client: EndpointClient) -> None:
    """Answer one agent on standard input and output until it closes them.

    Raises McpMissing when the SDK is not installed.
    """
    check_installed()
    from mcp.server.stdio import stdio_server

    server = build_server(plans, version, lambda request: client)
    async with stdio_server() as (read_stream, write_stream):
        await server.run(read_stream, write_stream, server.create_initialization_options())
