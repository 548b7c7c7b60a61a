"""Record when API tokens were last used, in the background, so that requests do not wait for it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

import structlog

from engine.store import identity
from engine.store.connection import Pool
from engine.store.errors import StoreError, wrap_errors

log = structlog.get_logger("api")

#: Seconds to wait with the next attempt after the database refused a write, as a read-only standby does.
_PAUSE_AFTER_FAILURE = 60.0
_MOST_KNOWN = 10_000


class TokenUse:
    """Remembers the hashes of tokens that were valid lately, and the ids of those whose use is still to be written.

    A request calls `record_use`, which does not wait; a background task writes the time of use to the database.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[str, None] = OrderedDict()
        self._unwritten: set[str] = set()
        self._has_unwritten = asyncio.Event()
        self._paused_until = 0.0

    def record_use(self, token_hash: str, token: identity.Token) -> None:
        """Remember that a token was used just now and was valid."""
        self._known[token_hash] = None
        self._known.move_to_end(token_hash)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        if token.last_use_is_old and time.monotonic() >= self._paused_until:
            self._unwritten.add(token.id)
            self._has_unwritten.set()

    def is_known(self, token_hash: str) -> bool:
        """Return whether a token with this hash was valid lately; it may have been revoked since."""
        return token_hash in self._known

    def forget_token(self, token_hash: str) -> None:
        """Forget a token that is no longer valid."""
        self._known.pop(token_hash, None)

    async def write_use_times_forever(self) -> None:
        """Write the times of use to the database whenever there are some, until cancelled."""
        while True:
            await self._has_unwritten.wait()
            await self.write_use_times()

    async def write_use_times(self) -> None:
        """Write the times of use to the database; a read-only server drops them, which never fails a request."""
        self._has_unwritten.clear()
        ids, self._unwritten = sorted(self._unwritten), set()
        if not ids:
            return
        try:
            async with wrap_errors(), self._pool.connection() as connection:
                await identity.record_token_use(connection, ids)
        except StoreError as error:
            self._paused_until = time.monotonic() + _PAUSE_AFTER_FAILURE
            log.warning("use of tokens not noted", reason=error.message, tokens=len(ids))
