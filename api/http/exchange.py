"""What goes over the wire beside the endpoints: answers packed for who takes them so, and browsers of other origins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

#: Bytes below which packing costs more than it spares.
_LEAST_BYTES: Final = 1000
#: Of 1 to 9. Documents shrink to a third at any level; the higher ones cost several times the time of the event loop.
_LEVEL: Final = 3
_HEADERS: Final = ("authorization", "content-type", "idempotency-key", "x-request-id")
_ANSWER_HEADERS: Final = ("x-request-id", "retry-after", "content-disposition")


def wrap_exchange(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return the app with its answers gzipped for who accepts it, and open to pages of the `origins`.

    No cookie is ever looked at: a page has to have a token, and sends it.
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
