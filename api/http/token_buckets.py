"""Token buckets in memory: they limit how often something may happen per key, such as a client's address."""

from __future__ import annotations

import math
import time
from collections import OrderedDict


class TokenBuckets:
    """One token bucket per key, with `capacity` tokens, refilled by `rate` tokens per second.

    Only the `most_keys` keys used last are remembered, so that many addresses cannot fill the memory; the bucket of any
    other key counts as full.
    """

    def __init__(self, rate: float, capacity: float, most_keys: int = 10_000) -> None:
        self._rate = rate
        self._capacity = capacity
        self._most_keys = most_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when counted

    def take_token(self, key: str) -> bool:
        """Take one token from the key's bucket; return False if it is empty."""
        tokens = self._count_tokens(key)
        if tokens < 1:
            return False
        self._buckets[key] = (tokens - 1, time.monotonic())
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most_keys:
            self._buckets.popitem(last=False)
        return True

    def is_empty(self, key: str) -> bool:
        """Return whether the key's bucket has no token."""
        return self._count_tokens(key) < 1

    def find_wait(self, key: str) -> int:
        """Return the seconds until the key's bucket has a token again, rounded up, at least 1."""
        return max(math.ceil((1 - self._count_tokens(key)) / self._rate), 1)

    def _count_tokens(self, key: str) -> float:
        tokens, counted = self._buckets.get(key, (self._capacity, 0.0))
        return min(tokens + (time.monotonic() - counted) * self._rate, self._capacity)
