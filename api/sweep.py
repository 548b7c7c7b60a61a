"""Write the rows of pending step results: at an interval, and when a scheduler requests it.

Several API processes may do so at once: an advisory lock allows one backfill per spec, and the others skip that spec.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field

from api.context import Context
from api.dependencies import AppContext, require_internal
from api.http.models import Data
from api.http.openapi import describe_errors
from api.http.route import ROUTER_OPTIONS
from api.operator import SpecCounts
from api.runs.routes import RunnerRoute
from engine.backfill.sweep import sweep_specs
from engine.errors import EngineError
from engine.rows.accounts import Account

log = structlog.get_logger("api")

router = APIRouter(tags=["operation"], **{**ROUTER_OPTIONS, "route_class": RunnerRoute})


class SweptAccount(SpecCounts):
    """How many step results of one spec a sweep processed, by outcome."""

    reasons: list[dict[str, Any]]
    error: Annotated[str, Field(description="Why it could not be swept.")] = ""


async def sweep_forever(context: Context) -> None:
    """Backfill all pending step results every `sweep_seconds`, first after one interval; if that is 0, do nothing."""
    while seconds := context.settings.sweep_seconds:
        await asyncio.sleep(seconds)
        try:
            _log_accounts(await sweep_specs(context.settings.database_url, context.plans))
        except EngineError as error:
            log.warning("sweep failed", reason=error.message)
        except Exception as error:  # a sweep that ended would be missed by nobody
            log.error("sweep failed", exc_info=error)


@router.post(
    "/api/internal/reconcile",
    operation_id="reconcile",
    summary="Write the rows of the pending step results of every spec",
    response_model=Data[list[SweptAccount]],
    response_model_exclude_unset=True,
    dependencies=[Depends(require_internal)],
    responses=describe_errors(401, 413, 415, 422, 503),
)
async def answer_reconcile(context: AppContext) -> Any:
    """Backfill all pending step results; return the counts per spec that had some or could not be backfilled."""
    accounts = await sweep_specs(context.settings.database_url, context.plans)
    _log_accounts(accounts)
    return {"data": [account.as_dict() for account in accounts]}


def _log_accounts(accounts: Sequence[Account]) -> None:
    for account in accounts:
        if account.error:
            log.warning("spec not swept", spec=account.spec, reason=account.error)
        else:
            log.info("swept", spec=account.spec, found=account.found, **dict(account.outcomes))
