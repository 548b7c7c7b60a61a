"""Load generator: `python -m scripts.bench.load <job>` (JSON) sends each request as soon as the last is answered.

It is a separate process that does little work per request, since it shares the machine with the measured API.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, cycle
from pathlib import Path
from typing import cast

import uvloop

MARK = b"@" * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to send: the lines of the file `bodies`, again and again.

    MARK in a line is replaced by a different text in each request, so that no two requests are equal.
    """

    port: int
    path: str
    headers: dict[str, str]
    bodies: str
    connections: int
    seconds: float

    def as_json(self) -> str:
        return json.dumps(asdict(self))


class Caller(asyncio.Protocol):
    """One connection: it sends a request, reads the response, and repeats until `perf_counter()` exceeds `stop`."""

    def __init__(self, requests: Iterator[bytes], stop: float) -> None:
        self.requests = requests
        self.stop = stop
        self.spent: list[float] = []
        self.finished = asyncio.get_running_loop().create_future()
        self._head, self._missing = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._send_next()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            if not self._read_head():
                return
        if self._missing == 0:
            self._finish_request()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(error or ConnectionError("the server closed the connection"))

    def _read_head(self) -> bool:
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._head[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(self._head.decode(errors="replace")[:2000])
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        self._missing = length - (len(self._head) - end - 4)
        self._head = b""
        return True

    def _finish_request(self) -> None:
        now = time.perf_counter()
        self.spent.append(now - self.sent)
        if now < self.stop:
            self._send_next()
        else:
            self.finished.set_result(None)
            self.transport.close()

    def _send_next(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))


def build_requests(job: Job) -> Iterator[bytes]:
    """Yield the requests of a job endlessly; everything except the text for MARK is built once."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {"host": "bench", **job.headers}.items())
    start = f"POST {job.path} HTTP/1.1\r\n{head}content-type: application/json\r\n".encode()
    bodies = Path(job.bodies).read_bytes().splitlines()
    ready = [b"%bcontent-length: %d\r\n\r\n%b" % (start, len(body), body) for body in bodies]
    for parts, mark in zip(cycle([request.split(MARK) for request in ready]), count_marks(), strict=False):
        yield mark.join(parts)


def count_marks() -> Iterator[bytes]:
    """Yield different texts, each as long as MARK."""
    return (b"%016x" % number for number in count(time.time_ns()))


async def send_requests(job: Job) -> dict[str, float]:
    """Send requests for the job's `seconds`; return their number, rate, median and 99th percentile in ms."""
    loop, requests = asyncio.get_running_loop(), build_requests(job)
    began = time.perf_counter()
    callers = [Caller(requests, began + job.seconds) for _ in range(job.connections)]
    waiting = iter(callers)
    for _ in callers:
        await loop.create_connection(lambda: next(waiting), "127.0.0.1", job.port)
    await asyncio.gather(*(caller.finished for caller in callers))
    took = time.perf_counter() - began
    spent = sorted(seconds for caller in callers for seconds in caller.spent)
    middle, slow = (spent[len(spent) * part // 100] * 1000 for part in (50, 99))
    return {"requests": len(spent), "rate": len(spent) / took, "p50": middle, "p99": slow}


def main() -> None:
    print(json.dumps(uvloop.run(send_requests(Job(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
