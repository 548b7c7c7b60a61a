"""Divide the connections of the pool among endpoints, so that those which wait for a lock leave some to the others."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """The endpoints that take connections together: those of one tag, which for endpoints of a spec is its name."""

    tag: str
    reads_rows: bool = False  # whether they read the table of a spec and no other


class PoolShares:
    """Counts the connections that each share uses, and lets requests wait for their turn.

    A share may use as many connections as it leaves free, so a single one gets half of the pool and each further one
    less. All that do more than read rows get three quarters of it together: a lock on a table that all of them use,
    such as `step_results`, leaves the rest to those who read rows.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._most_others = max(size * 3 // 4, 1)
        self._used: Counter[Share] = Counter()
        self._waiting: dict[Share, deque[asyncio.Future[None]]] = {}

    async def acquire(self, share: Share) -> None:
        """Wait until the share may use one more connection; the caller has to release it."""
        is_first = all(turn.done() for turn in self._waiting.get(share, ()))  # others, if any, wait no longer
        if is_first and self._may_take(share):
            self._used[share] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(share, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came in the same moment
                self.release(share)
            raise

    def release(self, share: Share) -> None:
        """Give a connection back, and let those whose turn it is take one."""
        self._used[share] -= 1
        while any(self._let_next_take(waiting) for waiting in list(self._waiting)):
            pass

    def _let_next_take(self, share: Share) -> bool:
        """Return whether a request of the share that waits has taken a connection; the share is then the last in turn.

        Otherwise the first shares would pass a connection on among themselves for as long as they have requests.
        """
        turns = self._waiting[share]
        while turns and turns[0].done():  # it waits no longer
            turns.popleft()
        has_taken = bool(turns) and self._may_take(share)
        if has_taken:
            self._used[share] += 1
            turns.popleft().set_result(None)
            self._waiting[share] = self._waiting.pop(share)
        if not turns:
            del self._waiting[share]
        return has_taken

    def _may_take(self, share: Share) -> bool:
        used = self._used.total()
        others = sum(count for other, count in self._used.items() if not other.reads_rows)
        return self._used[share] < self._size - used and (share.reads_rows or others < self._most_others)
