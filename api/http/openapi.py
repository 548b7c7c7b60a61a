"""Add to FastAPI's OpenAPI document what does not follow from the routes: error responses, and schemas by name.

The bodies and rows of a spec have JSON Schemas made from its plan. They become named components, so that generated
clients have types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from api.http.named_schemas import REFERENCE, NamedSchema

#: The description of each error status. Every endpoint may return 429 and 500.
MEANINGS: Final[Mapping[int, str]] = {
    400: "an invalid header or cursor, or a missing `org_id`",
    401: "no credentials, or wrong ones",
    403: "not allowed for this organisation or role",
    404: "not found",
    406: "no format in `Accept` is supported",
    409: "a conflict with another runner, order or row",
    413: "the body is too large",
    415: "the body is compressed in a way other than gzip",
    422: "an invalid body or parameter",
    429: "too many requests from one address, or too many queued steps",
    500: "an unexpected error on the server",
    501: "an optional library is not installed on the server",
    503: "the database does not answer, or cannot execute it now",
}

ERROR: Final = NamedSchema(
    "Error",
    {
        "type": "object",
        "required": ["error", "code", "detail", "hint"],
        "properties": {
            "error": {"type": "string", "description": "One sentence."},
            "code": {"type": "string", "description": "For programs; `docs/errors.md` lists every code."},
            "detail": {"type": "array", "items": {"type": "object"}, "description": "One entry per mistake."},
            "hint": {"type": "string", "description": "What to do."},
        },
    },
)


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for these error statuses, and for 429 and 500."""
    content = {"application/json": {"schema": {"$ref": REFERENCE + ERROR.name}}}
    return {status: {"description": MEANINGS[status], "content": content} for status in (*statuses, 429, 500)}


def install_document(app: FastAPI, routes: Sequence[BaseRoute], components: Mapping[str, Any]) -> None:
    """Make `app.openapi` return a document that describes `routes`, with `components` among its schemas."""

    def build_document() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=routes,
                separate_input_output_schemas=False,
            )
            document["components"]["schemas"] |= components
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = build_document  # type: ignore[method-assign]
