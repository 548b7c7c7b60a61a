"""JSON responses made of texts that are encoded already, such as rows from Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EncodedJsonResponse(Response):
    """A response whose content is already encoded as JSON."""

    media_type = "application/json"


def build_data_response(data: bytes | str, meta: Mapping[str, Any] | None = None) -> EncodedJsonResponse:
    """Return the response `{"data": ...}` around a JSON text, with `meta` if it is given."""
    text = data.encode() if isinstance(data, str) else data
    if meta is None:
        return EncodedJsonResponse(b'{"data":%b}' % text)
    return EncodedJsonResponse(b'{"data":%b,"meta":%b}' % (text, msgspec.json.encode(meta)))


def build_list_response(rows: Sequence[bytes], meta: Mapping[str, Any]) -> Response:
    """Return the response `{"data": [...], "meta": ...}` around the JSON texts of rows."""
    pieces = [piece for row in rows for piece in (b",", row)][1:]
    return PiecesResponse((b'{"data":[', *pieces, b'],"meta":', msgspec.json.encode(meta), b"}"))


class PiecesResponse(Response):
    """A JSON response that is sent as several ASGI messages of limited size.

    A page may have megabytes: joined, it would be in memory twice, and written at once, it would block the event loop
    for other requests.
    """

    media_type = "application/json"
    message_bytes = 256 * 1024

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self.pieces = pieces
        self.headers["content-length"] = str(sum(map(len, pieces)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces, and let other tasks run between two messages."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        messages = _join_pieces(self.pieces, self.message_bytes)
        last = next(messages)
        for message in messages:
            await send({"type": "http.response.body", "body": last, "more_body": True})
            await asyncio.sleep(0)
            last = message
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _join_pieces(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the pieces joined into messages of about `size` bytes, at least one; a large piece is cut."""
    waiting, waiting_bytes = list[bytes](), 0
    for piece in pieces:
        if waiting and waiting_bytes + len(piece) > size:
            yield b"".join(waiting)
            waiting, waiting_bytes = [], 0
        start = 0
        while len(piece) - start > size:
            yield piece[start : start + size]
            start += size
        waiting.append(piece[start:])
        waiting_bytes += len(piece) - start
    yield b"".join(waiting)
