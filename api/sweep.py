"""Write the rows of pending step results at an interval, and when a scheduler requests it.

Several API processes may do so at once: an advisory lock allows one backfill per spec, and the others skip the spec.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from api.auth import require_internal_key
from api.context import Context
from api.http.endpoint import build_data_response, endpoint
from api.http.openapi import build_data_schema
from api.operator import ACCOUNT
from engine.backfill.sweep import sweep_specs
from engine.rows.accounts import Account
from engine.store.errors import StoreError

log = structlog.get_logger("api")

SWEPT_ACCOUNT = {
    "type": "object",
    "required": ["spec", "found", "pending"],
    "properties": {
        **{name: schema for name, schema in ACCOUNT["properties"].items() if name != "org_id"},  # type: ignore[attr-defined]
        "reasons": {"type": "array", "items": {"type": "object"}},
        "error": {"type": "string", "description": "Why it could not be swept."},
    },
}


async def sweep_forever(context: Context) -> None:
    """Backfill all pending step results every `sweep_seconds` of the settings, first after one interval; never if 0."""
    while seconds := context.settings.sweep_seconds:
        await asyncio.sleep(seconds)
        try:
            _log_accounts(await sweep_specs(context.settings.database_url, context.plans))
        except StoreError as error:
            log.warning("sweep failed", reason=error.message)


@endpoint(
    "POST",
    "/api/internal/reconcile",
    name="reconcile",
    title="Write the rows of the pending step results of every spec",
    tag="operation",
    response_schema=build_data_schema({"type": "array", "items": SWEPT_ACCOUNT}),
    security=("internalKey",),
    error_statuses=(401, 503),
)
async def answer_reconcile(context: Context, request: Request) -> Response:
    """Backfill all pending step results; answer an account per spec that had some or could not be backfilled."""
    require_internal_key(request, context)
    accounts = await sweep_specs(context.settings.database_url, context.plans)
    _log_accounts(accounts)
    return build_data_response(msgspec.json.encode([account.as_dict() for account in accounts]))


def _log_accounts(accounts: Sequence[Account]) -> None:
    for account in accounts:
        if account.error:
            log.warning("spec not swept", spec=account.spec, reason=account.error)
        else:
            log.info("swept", spec=account.spec, found=account.found, **dict(account.outcomes))
