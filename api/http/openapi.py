"""Build the OpenAPI 3.1 document of the endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from api.http.endpoint import Endpoint
from api.http.named_schemas import REFERENCE, NamedSchema, move_to_components

SECURITY: Mapping[str, Mapping[str, Any]] = {
    "internalKey": {"type": "http", "scheme": "bearer", "description": "The value of `INTERNAL_API_KEY`."},
    "tenant": {
        "type": "http",
        "scheme": "bearer",
        "description": "A session JWT, an API token, or the internal key with `x-internal-org-id`.",
    },
    "superAdmin": {"type": "http", "scheme": "bearer", "description": "The static key or a JWT of type `super_admin`."},
}

#: The description of each error status. Every endpoint may answer 429 and 500.
MEANINGS: Mapping[int, str] = {
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

ERROR: Mapping[str, Any] = {
    "type": "object",
    "required": ["error", "code", "detail", "hint"],
    "properties": {
        "error": {"type": "string", "description": "One sentence."},
        "code": {"type": "string", "description": "For programs; `docs/errors.md` lists every code."},
        "detail": {"type": "array", "items": {"type": "object"}, "description": "One entry per mistake."},
        "hint": {"type": "string", "description": "What to do."},
    },
}

#: The schemas of headers that are not a UUID.
_HEADER_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "idempotency-key": {"type": "string", "minLength": 1, "maxLength": 255}
}


def build_document(title: str, version: str, description: str, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Build the OpenAPI document; the struct types of request bodies become components."""
    endpoints = tuple(endpoints)
    structs = [endpoint.body for endpoint in endpoints if isinstance(endpoint.body, type)]
    bodies, schemas = msgspec.json.schema_components(structs, ref_template=REFERENCE + "{name}")
    by_struct = dict(zip(structs, bodies, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        body = by_struct[endpoint.body] if isinstance(endpoint.body, type) else endpoint.body
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _build_operation(endpoint, body)
    components: dict[str, Any] = {"Error": ERROR, **schemas}
    paths = move_to_components(paths, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SECURITY},
    }


def _build_operation(endpoint: Endpoint, body: Mapping[str, Any] | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.title,
        "tags": [endpoint.tag],
        "responses": _build_responses(endpoint),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if parameters := [
        *_list_path_parameters(endpoint),
        *_list_query_parameters(endpoint),
        *_list_header_parameters(endpoint),
    ]:
        operation["parameters"] = parameters
    if body is not None:
        content: dict[str, Any] = {"schema": body}
        if endpoint.example is not None:
            content["example"] = endpoint.example
        operation["requestBody"] = {"required": endpoint.body_required, "content": {"application/json": content}}
    if endpoint.security:
        operation["security"] = [{name: []} for name in endpoint.security]
    return operation


def _build_responses(endpoint: Endpoint) -> dict[str, Any]:
    kinds = {endpoint.media_type: endpoint.response_schema, **endpoint.media_types}
    success = {"description": "done", "content": {kind: {"schema": schema} for kind, schema in kinds.items()}}
    error = {"application/json": {"schema": {"$ref": REFERENCE + "Error"}}}
    statuses = (*endpoint.error_statuses, 429, 500)
    return {"200": success, **{str(status): {"description": MEANINGS[status], "content": error} for status in statuses}}


def _list_path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _build_path_schema(name)} for name in names]


def _build_path_schema(name: str) -> dict[str, Any]:
    """Return the schema of a path parameter: a UUID where its name ends in `id`, else any string."""
    return {"type": "string", **({"format": "uuid"} if name.endswith("id") else {})}


def _list_query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
        for name, (schema, description) in endpoint.parameters.items()
    ]


def _list_header_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "required": required,
            "description": description,
            "schema": _HEADER_SCHEMAS.get(name, {"type": "string", "format": "uuid"}),
        }
        for name, (required, description) in endpoint.headers.items()
    ]


def build_data_schema(
    schema: Mapping[str, Any], meta: Mapping[str, Any] | None = None, *, name: str = ""
) -> dict[str, Any]:
    """Return the schema of `{"data": ..., "meta": ...}`, `meta` if given; with `name` it becomes a component."""
    properties: dict[str, Any] = {"data": schema}
    if meta is not None:
        properties["meta"] = meta
    answer = {"type": "object", "required": list(properties), "properties": properties}
    return NamedSchema(name, answer) if name else answer
