"""Turn what is pending into rows every so often, and when a scheduler asks for it.

Several processes may do it: of one spec one backfill is at work at a time, and the others leave it alone.
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
    """Sweep every `sweep_seconds`, beginning after the first of them; 0 is never."""
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
    title="Turn what is pending of every spec into rows",
    tag="operation",
    response_schema=build_data_schema({"type": "array", "items": SWEPT_ACCOUNT}),
    security=("internalKey",),
    error_statuses=(401, 503),
)
async def answer_reconcile(context: Context, request: Request) -> Response:
    """Answer an account of each spec that had something pending, or could not be swept."""
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
