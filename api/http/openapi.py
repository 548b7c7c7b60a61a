"""Endpoints -> the OpenAPI document.

In: endpoints. Out: one JSON document. It must not know plans: what a column is called stands in an endpoint's schemas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from api.http.endpoint import Endpoint

SECURITY: Mapping[str, Mapping[str, Any]] = {
    "internalKey": {"type": "http", "scheme": "bearer", "description": "The value of `INTERNAL_API_KEY`."},
    "tenant": {
        "type": "http",
        "scheme": "bearer",
        "description": "A session JWT, an API token, or the internal key with `x-internal-org-id`.",
    },
    "superAdmin": {"type": "http", "scheme": "bearer", "description": "The static key or a JWT of type `super_admin`."},
}

#: What each status means here. 500 can happen anywhere.
MEANINGS: Mapping[int, str] = {
    400: "a header, a cursor or `org_id` that cannot be used",
    401: "no credentials, or wrong ones",
    403: "something of another organisation",
    404: "there is no such thing",
    409: "another runner, or another purchase, is in the way",
    413: "the body is too large",
    415: "the body is compressed",
    422: "the body does not fit",
    500: "something went wrong on our side",
    503: "the database does not answer",
}

ERROR: Mapping[str, Any] = {
    "type": "object",
    "required": ["error", "code", "detail", "hint"],
    "properties": {
        "error": {"type": "string", "description": "One sentence."},
        "code": {"type": "string", "description": "What a program looks at."},
        "detail": {"type": "array", "items": {"type": "object"}, "description": "One entry per thing that is wrong."},
        "hint": {"type": "string", "description": "What to do."},
    },
}

_SCHEMAS = "#/components/schemas/"


def document(title: str, version: str, text: str, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `endpoints`."""
    endpoints = tuple(endpoints)
    structs = [endpoint.body for endpoint in endpoints if isinstance(endpoint.body, type)]
    bodies, schemas = msgspec.json.schema_components(structs, ref_template=_SCHEMAS + "{name}")
    by_struct = dict(zip(structs, bodies, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        body = by_struct[endpoint.body] if isinstance(endpoint.body, type) else endpoint.body
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": text},
        "paths": paths,
        "components": {"schemas": {"Error": ERROR, **schemas}, "securitySchemes": SECURITY},
    }


def _operation(endpoint: Endpoint, body: Mapping[str, Any] | None) -> dict[str, Any]:
    words: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.title,
        "tags": [endpoint.tag],
        "responses": _responses(endpoint),
    }
    if endpoint.text:
        words["description"] = endpoint.text
    if parameters := [*_path_parameters(endpoint), *_header_parameters(endpoint)]:
        words["parameters"] = parameters
    if body is not None:
        content: dict[str, Any] = {"schema": body}
        if endpoint.example is not None:
            content["example"] = endpoint.example
        words["requestBody"] = {"required": endpoint.body_needed, "content": {"application/json": content}}
    if endpoint.security:
        words["security"] = [{name: []} for name in endpoint.security]
    return words


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    fine = {"description": "done", "content": {endpoint.media_type: {"schema": endpoint.answer}}}
    refused = {"application/json": {"schema": {"$ref": _SCHEMAS + "Error"}}}
    faults = {str(status): {"description": MEANINGS[status], "content": refused} for status in (*endpoint.faults, 500)}
    return {"200": fine, **faults}


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}} for name in names
    ]


def _header_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "required": needed,
            "description": text,
            "schema": {"type": "string", "format": "uuid"},
        }
        for name, (needed, text) in endpoint.headers.items()
    ]


def of_data(schema: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of `{"data": ...}`, with `meta` where the endpoint has one."""
    properties: dict[str, Any] = {"data": schema}
    if meta is not None:
        properties["meta"] = meta
    return {"type": "object", "required": list(properties), "properties": properties}
