"""Compression of responses and CORS, for all endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

#: Responses smaller than this many bytes are not compressed.
_LEAST_BYTES: Final = 1000
#: The gzip level. Documents shrink to a third at any level; higher levels block the event loop several times longer.
_LEVEL: Final = 3
_HEADERS: Final = ("authorization", "content-type", "idempotency-key", "x-request-id")
_ANSWER_HEADERS: Final = ("x-request-id", "retry-after", "content-disposition")


def add_compression_and_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Wrap `app` in middleware that gzips responses for clients that accept it and allows CORS from `origins`.

    Cookies are not used: a page of another origin sends a token.
    """
    packed = GZipMiddleware(app, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL)
    if not origins:
        return packed
    return CORSMiddleware(
        packed,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=_HEADERS,
        expose_headers=_ANSWER_HEADERS,
        max_age=3600,
    )
