"""Bound how often something may happen for one key, such as an address: token buckets in memory."""

from __future__ import annotations

import math
import time
from collections import OrderedDict


class TokenBuckets:
    """A bucket of `capacity` tokens per key, which fills by `rate` tokens a second.

    It remembers the keys used last, so that a flood of addresses takes no memory; a forgotten bucket is full.
    """

    def __init__(self, rate: float, capacity: float, most_keys: int = 10_000) -> None:
        self._rate = rate
        self._capacity = capacity
        self._most_keys = most_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (tokens, when they were counted)

    def take(self, key: str) -> bool:
        """Take a token of the key's bucket; return False, and take none, where it is empty."""
        tokens = self._count(key)
        if tokens < 1:
            return False
        self._buckets[key] = (tokens - 1, time.monotonic())
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most_keys:
            self._buckets.popitem(last=False)
        return True

    def is_empty(self, key: str) -> bool:
        """Return whether the key's bucket holds no token."""
        return self._count(key) < 1

    def find_wait(self, key: str) -> int:
        """Return the whole seconds until the bucket holds a token again, at least one."""
        return max(math.ceil((1 - self._count(key)) / self._rate), 1)

    def _count(self, key: str) -> float:
        tokens, counted = self._buckets.get(key, (self._capacity, 0.0))
        return min(tokens + (time.monotonic() - counted) * self._rate, self._capacity)
