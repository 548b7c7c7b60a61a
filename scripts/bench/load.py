"""Requests over HTTP, as fast as they are answered: `python -m scripts.bench.load <job>`.

In: a Job as JSON. Out: how many were answered, how fast. It must not know what is asked.

A process of its own that does next to nothing per request, since it shares the machine with what it measures.
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
    """What to send: the lines of the file `bodies`, from the first again behind the last.

    Where a line holds MARK, each request has a word of its own there, so that no two are the same.
    """

    port: int
    path: str
    headers: dict[str, str]
    bodies: str
    connections: int
    seconds: float

    def words(self) -> str:
        return json.dumps(asdict(self))


class Caller(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends again, until it is told to stop."""

    def __init__(self, requests: Iterator[bytes], stop: float) -> None:
        self.requests = requests
        self.stop = stop
        self.spent: list[float] = []
        self.finished = asyncio.get_running_loop().create_future()
        self._head, self._missing = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            if not self._read_head():
                return
        if self._missing == 0:
            self._answered()

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

    def _answered(self) -> None:
        now = time.perf_counter()
        self.spent.append(now - self.sent)
        if now < self.stop:
            self._send()
        else:
            self.finished.set_result(None)
            self.transport.close()

    def _send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))


def requests(job: Job) -> Iterator[bytes]:
    """The requests, all but the mark spelled once."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {"host": "bench", **job.headers}.items())
    start = f"POST {job.path} HTTP/1.1\r\n{head}content-type: application/json\r\n".encode()
    bodies = Path(job.bodies).read_bytes().splitlines()
    ready = [b"%bcontent-length: %d\r\n\r\n%b" % (start, len(body), body) for body in bodies]
    for parts, word in zip(cycle([request.split(MARK) for request in ready]), words(), strict=False):
        yield word.join(parts)


def words() -> Iterator[bytes]:
    """Words of the length of MARK, never the same."""
    return (b"%016x" % number for number in count(time.time_ns()))


async def run(job: Job) -> dict[str, float]:
    """Send for `seconds`; return requests, their rate, and how long the middle one and the slowest hundredth took."""
    loop, sent = asyncio.get_running_loop(), requests(job)
    began = time.perf_counter()
    callers = [Caller(sent, began + job.seconds) for _ in range(job.connections)]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", job.port)
    await asyncio.gather(*(caller.finished for caller in callers))
    took = time.perf_counter() - began
    spent = sorted(seconds for caller in callers for seconds in caller.spent)
    middle, slow = (spent[len(spent) * part // 100] * 1000 for part in (50, 99))
    return {"requests": len(spent), "rate": len(spent) / took, "p50": middle, "p99": slow}


def main() -> None:
    print(json.dumps(uvloop.run(run(Job(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
