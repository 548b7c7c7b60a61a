"""A proxy on loopback that sees every request of a runner and can spoil it at any point."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

DROPPED = {
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "accept-encoding",
    "date",
    "server",
}


class Cut(Exception):
    """Close the connection instead of answering."""


@dataclass
class Exchange:
    """A request on its way; `answer` is there once the target has answered."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answer: httpx.Response | None = field(default=None, repr=False)
    number: int = 0  # for hooks that count


#: Called before a request is passed on, and again before its answer is. May change `path`, `headers` and `body`,
#: raise Cut, or return an answer of its own: (status, content type, body).
Hook = Callable[[Exchange], tuple[int, str, bytes] | None]


@contextmanager
def start_proxy(target: str, hook: Hook) -> Iterator[str]:
    """Run a proxy in front of `target`; its address."""
    client = httpx.Client(base_url=target, timeout=120, verify=False)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer is sent in two parts; the second would wait for 40 ms

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.pass_on()

        def do_POST(self) -> None:
            self.pass_on()

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items() if name.lower() not in DROPPED}
            exchange = Exchange(self.command, self.path, headers, body)
            try:
                own = hook(exchange)
                if own is None:
                    exchange.answer = client.request(
                        exchange.method, exchange.path, headers=exchange.headers, content=exchange.body
                    )
                    own = hook(exchange)
                self.send(exchange, own)
            except (Cut, httpx.TransportError, BrokenPipeError, ConnectionResetError):
                self.close_connection = True
                self.connection.close()

        def send(self, exchange: Exchange, own: tuple[int, str, bytes] | None) -> None:
            if own is None:
                assert exchange.answer is not None
                kind = exchange.answer.headers.get("content-type", "application/json")
                own = (exchange.answer.status_code, kind, exchange.answer.content)
            status, kind, content = own
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A runner that was killed hangs up in the middle; that is what the tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        client.close()
        thread.join(5)
