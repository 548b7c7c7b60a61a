"""What the endpoints of a spec share: how they are added to the app, their parameters, and the size of a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Path
from pydantic import Field

from api.http.errors import Fault
from api.http.models import Omittable, OrganisationParameters
from api.http.named_schemas import NamedSchema, move_to_components
from api.http.openapi import describe_errors
from api.http.route import EndpointRoute
from engine.generate.type_names import build_type_name
from engine.plan import Plan

Schema: TypeAlias = Mapping[str, Any]

#: A page ends early when its rows exceed this many bytes, and the next page continues after them: a page may have 1000
#: rows, each with a document of 32 MB.
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024

#: The id of a row in a path. A text that is not a UUID gives 404, as the id of no row.
RowId = Annotated[str, Path(alias="id", json_schema_extra={"format": "uuid"})]


class RowParameters(OrganisationParameters):
    """The organisation, and the columns to show."""

    fields: Annotated[
        Omittable[str], Field(description="Columns and paths to show, separated by commas. Default: every column.")
    ] = None

    def list_fields(self) -> list[str] | None:
        """Return the columns and paths to show; None means every column."""
        return None if self.fields is None else self.fields.split(",")


def build_missing_row_fault(plan: Plan) -> Fault:
    """Return the fault for an id that no row of the organisation has."""
    return Fault("not_found", f"there is no such row of `{plan.name}`", hint="check the id and the organisation")


@dataclass(frozen=True, slots=True)
class SpecRouter:
    """Adds the endpoints of a plan to a router, and the schemas they name to the components of the OpenAPI document."""

    plan: Plan
    router: APIRouter
    components: dict[str, Any]

    def add_endpoint(
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        *,
        name: str,
        title: str,
        answer: tuple[str, Schema, Schema | None] | None = None,
        files: Mapping[str, Schema] | None = None,
        errors: tuple[int, ...] = (400, 401, 403, 404, 422, 503),
        description: str = "",
        parameters: Mapping[str, tuple[Schema, str]] | None = None,
        body: Schema | None = None,
        body_example: Mapping[str, Any] | None = None,
        body_required: bool = False,
        route_class: type[EndpointRoute] = EndpointRoute,
        response_model: Any = None,
        **options: Any,
    ) -> None:
        """Add an endpoint.

        `answer` is the kind of the answer for its schema's name, and the schemas of its `data` and `meta`. An answer
        with the same form for every spec has a `response_model` instead; one that is not JSON has its media types in
        `files`. `parameters` are those of the query string that differ by plan, so that no model describes them.
        """
        schemas = dict(files or {})
        if answer is not None:
            schemas["application/json"] = self._describe_answer(*answer)
        content = {media_type: {"schema": self._name_parts(schema)} for media_type, schema in schemas.items()}
        extra: dict[str, Any] = {
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
                for name, (schema, description) in (parameters or {}).items()
            ]
        }
        if body is not None:
            media = {"schema": self._name_parts(body), "example": body_example}
            extra["requestBody"] = {"content": {"application/json": media}, "required": body_required}
        self.router.add_api_route(
            path,
            endpoint,
            methods=[method],
            operation_id=name,
            tags=[self.plan.name],
            summary=f"{self.plan.title}: {title}",
            description=description or self.plan.description,
            responses={200: {"description": "done", "content": content}, **describe_errors(*errors)},
            openapi_extra=extra,
            response_model=response_model,
            route_class_override=route_class,
            **options,
        )

    def _name_parts(self, schema: Any) -> Any:
        return move_to_components(schema, self.components)

    def _describe_answer(self, kind: str, data: Schema, meta: Schema | None) -> NamedSchema:
        properties = {"data": data} if meta is None else {"data": data, "meta": meta}
        schema = {"type": "object", "required": list(properties), "properties": properties}
        return NamedSchema(build_type_name(self.plan, kind), schema)
