"""The endpoints that tell a caller who it is, and which organisations it may read."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.auth import CallerKind
from api.dependencies import AppContext, Reader
from api.http.models import Data, DataWithMeta, Id
from api.http.openapi import describe_errors
from api.http.responses import build_list_response
from api.http.route import ROUTER_OPTIONS
from engine.store.identity import list_organisations

#: The most organisations in a response. There are no further pages: an operator with more can query the database.
MOST_ORGANISATIONS: Final = 5000

router = APIRouter(prefix="/api/v1", tags=["callers"], responses=describe_errors(400, 401, 422, 503), **ROUTER_OPTIONS)


class Organisation(BaseModel):
    """An organisation, as id and name."""

    id: Id
    name: str
    slug: str


class CallerFacts(BaseModel):
    """What the credentials of a request say about its caller."""

    kind: CallerKind
    role: str
    org_id: Annotated[str | None, Field(description="null: a super-admin, of no organisation.")]
    company_id: str | None
    subject: Annotated[str | None, Field(description="The id of the user or of the token.")]


@router.get(
    "/caller", summary="The caller: its kind of credentials, role and organisation", response_model=Data[CallerFacts]
)
async def read_caller(caller: Reader) -> Any:
    """Return the caller's kind of credentials, role, organisation and company."""
    return {"data": caller}


@router.get(
    "/organisations",
    operation_id="list_organisations",
    summary="The organisations that the caller may read, by name: its own, or all for a super-admin",
    response_model=DataWithMeta[list[Organisation], dict[str, int]],
)
async def answer_organisations(caller: Reader, context: AppContext) -> Response:
    """Return the organisations that the caller may read: its own; for a super-admin, all."""
    async with context.connection() as connection:
        texts = await list_organisations(connection, caller.org_id, MOST_ORGANISATIONS)
    return build_list_response([text.encode() for text in texts], {"limit": MOST_ORGANISATIONS})
