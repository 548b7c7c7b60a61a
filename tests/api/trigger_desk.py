"""A server that stands where Trigger.dev would."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Trigger:
    """Stands where Trigger.dev would: records what it is asked, answers as it is told."""

    url: str
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)  # path, authorization, body
    lock: threading.Lock = field(default_factory=threading.Lock)
    meanwhile: Callable[[], Any] = lambda: None  # called before each answer

    def answer(self, path: str, authorization: str, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        with self.lock:
            self.asked.append((path, authorization, body))
            self.meanwhile()
            if self.answers:
                return self.answers.pop(0)
        if path.endswith("/cancel"):
            return 200, {}, b'{"id": "canceled"}'
        return 200, {}, json.dumps({"id": "run_" + body["options"]["idempotencyKey"]}).encode()

    def reset_answers(self) -> None:
        """Forget what was asked, and answer as Trigger.dev does."""
        self.answers, self.asked, self.meanwhile = [], [], lambda: None

    def list_keys(self) -> list[str]:
        """Return the idempotency keys of the tasks that were asked for."""
        return [body["options"]["idempotencyKey"] for path, _, body in self.asked if path.endswith("/trigger")]


@contextmanager
def start_trigger() -> Iterator[Trigger]:
    """Run a server on loopback that stands where Trigger.dev would."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"] or 0)) or b"{}")
            status, headers, content = desk.answer(self.path, self.headers["authorization"], body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    desk = Trigger(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield desk
    server.shutdown()
    server.server_close()
    thread.join(10)
