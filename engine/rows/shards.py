"""A shard: one of N shares of the organisations."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from engine.errors import EngineError


class InvalidShard(EngineError):
    """The text is not a shard such as `0/4`."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `index`, counting from 0, of `count` shards."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that is written as I/N. Raises InvalidShard for any other text, or if I is not below N."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not match or int(match[1]) >= int(match[2]):
            hint = "write I/N, such as `0/4`: shard I of N, and I counts from 0"
            raise InvalidShard(f"`{text}` is no shard", hint=hint)
        return cls(int(match[1]), int(match[2]))

    def holds_organisation(self, org_id: str) -> bool:
        """Return whether an organisation belongs to this shard, by a checksum that every process computes alike."""
        return zlib.crc32(org_id.encode()) % self.count == self.index
