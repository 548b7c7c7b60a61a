"""Plan -> its two endpoints.

In: a plan. Out: `POST /api/internal/<slug>/upsert` and `POST /api/v1/<slug>/query`. It must not know any one plan.

Each request passes through in one direction: who asks, the body, its fields admitted one by one, the store, the answer.
Documents are never decoded here: their text goes to Postgres, and comes back from it, as it is.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.auth import (
    COMPANY_HEADER,
    ORG_HEADER,
    choose_organisation,
    require_internal_key,
    require_organisation,
    resolve_flexible_auth,
)
from api.context import Context
from api.http.body import read
from api.http.endpoint import Endpoint, Json, data, data_list
from api.http.errors import Fault, unknown_organisation
from api.http.openapi import of_data
from api.rows import json_schemas
from api.rows.cursor import Cursors
from api.rows.query_body import Questions
from api.rows.upsert_body import Admission, Admitted, refused
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.store import organisation, select
from engine.store.errors import FOREIGN_KEY, StoreRefused, is_of_row
from engine.store.upsert import SourceRefused, Stored, Upsert

STRONGEST = ("written", "unchanged", "superseded")


def endpoints(context: Context, plan: Plan) -> list[Endpoint]:
    """Return the endpoints of `plan`."""
    return [_upsert_endpoint(context, plan), _query_endpoint(context, plan)]


def _upsert_endpoint(context: Context, plan: Plan) -> Endpoint:
    what = "rows" if plan.many else "a row"
    return Endpoint(
        method="POST",
        path=f"/api/internal/{plan.slug}/upsert",
        name=f"upsert_{plan.row_name}",
        title=f"{plan.title}: write {what}",
        text=f"{plan.description} Conflict columns: {', '.join(f'`{name}`' for name in plan.conflict)}.".strip(),
        tag=plan.name,
        body=json_schemas.upsert_body(plan),
        answer=of_data(*json_schemas.upsert_answer(plan)),
        security=("internalKey",),
        headers={ORG_HEADER: (True, "The organisation the row belongs to.")},
        faults=(400, 401, 403, 404, 409, 413, 415, 422, 503),
        answers=partial(_upsert, context, Admission(plan), Upsert.of(plan)),
    )


def _query_endpoint(context: Context, plan: Plan) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"/api/v1/{plan.slug}/query",
        name=f"query_{plan.name}",
        title=f"{plan.title}: ask for rows, newest first",
        text=plan.description,
        tag=plan.name,
        body=json_schemas.query_body(plan),
        body_needed=False,
        answer=of_data(*json_schemas.query_answer(plan)),
        security=("tenant", "superAdmin"),
        headers={
            ORG_HEADER: (False, "With the internal key: the organisation to act for."),
            COMPANY_HEADER: (False, "With the internal key: the company to act for."),
        },
        faults=(400, 401, 403, 404, 413, 415, 422, 503),
        answers=partial(_query, context, Questions(plan, Cursors.of(context.settings.jwt_secret))),
    )


async def _upsert(context: Context, admission: Admission, upsert: Upsert, request: Request) -> Response:
    require_internal_key(request, context)
    org_id = require_organisation(request)
    admitted = admission.admit(await read(request, context.settings.max_body_bytes))
    stored = await _write(context, upsert, org_id, admitted)
    for row in stored:
        context.meters.upserted(upsert.plan.name, row.outcome)
    return _many_answer(stored, admitted) if upsert.plan.many else _one_answer(stored[0])


async def _write(context: Context, upsert: Upsert, org_id: str, admitted: Admitted) -> list[Stored]:
    async with context.connection() as connection:
        try:
            return await upsert.run(connection, org_id, admitted.rows)
        except SourceRefused as error:
            raise await _source_refused(connection, org_id, error) from error
        except StoreRefused as error:
            if error.sqlstate == FOREIGN_KEY and not await organisation.exists(connection, org_id):
                raise unknown_organisation() from error
            if not (upsert.plan.many and is_of_row(error.sqlstate)):
                raise
        return await _write_singly(connection, upsert, org_id, admitted)


async def _write_singly(connection: Any, upsert: Upsert, org_id: str, admitted: Admitted) -> list[Stored]:
    """The database refuses one row of several: write the others, and tell which one it was."""
    stored: list[Stored] = []
    for row, element in zip(admitted.rows, admitted.elements, strict=True):
        try:
            stored += await upsert.run(connection, org_id, [row])
        except StoreRefused as error:
            if not is_of_row(error.sqlstate):
                raise
            reason = Reason("refused_by_database", error.column, error.message, element=element)
            admitted.rejected.append(reason)
    if not stored:
        raise refused(admitted.rejected)
    return stored


async def _source_refused(connection: Any, org_id: str, error: SourceRefused) -> Fault:
    if not await organisation.exists(connection, org_id):
        return unknown_organisation()
    detail = [{"code": "foreign_source", "field": error.field, "message": error.message}]
    return Fault(403, "foreign_source", error.message, hint=error.hint, detail=detail)


def _one_answer(stored: Stored) -> Json:
    return data(stored.json, {"outcome": stored.outcome})


def _many_answer(stored: list[Stored], admitted: Admitted) -> Json:
    outcomes = Counter(row.outcome for row in stored)
    meta = {
        "outcome": next(outcome for outcome in STRONGEST if outcome in outcomes),
        "outcomes": dict(outcomes),
        "rejected": [reason.as_dict() for reason in admitted.rejected],
    }
    return data_list([row.json for row in stored], meta)


async def _query(context: Context, questions: Questions, request: Request) -> Response:
    caller = await resolve_flexible_auth(request, context)
    asked = questions.read(await read(request, context.settings.max_body_bytes))
    question = questions.of(asked, choose_organisation(caller, asked.org_id))
    async with context.connection() as connection:
        found = await select.fetch(connection, questions.plan, question)
        if not found.rows and not await organisation.exists(connection, question.tenant):
            raise unknown_organisation()
    meta = {"limit": question.limit, "offset": question.offset, "next_cursor": questions.next(question, found.last)}
    return data_list(found.rows, meta)
