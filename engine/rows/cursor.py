"""Encode the position after which the next page starts as an opaque cursor, and decode it again.

A cursor is valid only for the spec, organisation and question (filters, search, order) it was made for: its signature
covers them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from engine.errors import EngineError
from engine.plan import Plan
from engine.rows.query import Query

Position = tuple[str | None, ...]  # of the last row seen: the values of the order's columns, then the id
_POSITION: msgspec.json.Decoder[Position] = msgspec.json.Decoder(Position)
_SIGNATURE_LENGTH: Final = 16  # bytes of the digest that a cursor carries


class CursorRejected(EngineError):
    """A cursor was made for another query, or by another server."""

    def __init__(self) -> None:
        super().__init__(
            "`cursor` does not belong to this query",
            hint="send `next_cursor` of the page before, with the same filters, `q`, `order` and organisation;"
            " or leave it out",
        )


@dataclass(frozen=True, slots=True)
class CursorSigner:
    """Encodes and decodes cursors, signed with keys derived from secrets, of which the first signs.

    Without a secret the signature is a digest: it keeps a cursor from being used for another question by mistake, and
    whoever has the database may forge one.
    """

    keys: tuple[bytes, ...]

    @classmethod
    def from_secrets(cls, secrets: Sequence[str]) -> CursorSigner:
        return cls(tuple(hmac.digest(secret.encode(), b"data-engine-x cursor", "sha256") for secret in secrets))

    def encode_cursor(self, plan: Plan, query: Query, position: Position | None) -> str | None:
        """Return the cursor behind the last row of a page; None where no page follows."""
        if position is None:
            return None
        place = msgspec.json.encode(position)
        signature = _sign(self.keys[0], plan, query, place)
        return base64.urlsafe_b64encode(signature + place).rstrip(b"=").decode()

    def apply_cursor(self, plan: Plan, query: Query, text: str | None) -> Query:
        """Return the query of the page behind a cursor. Raises CursorRejected when it was not made for this query."""
        return query if text is None else replace(query, after=self._decode_cursor(plan, query, text))

    def _decode_cursor(self, plan: Plan, query: Query, text: str) -> Position:
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            signature, place = raw[:_SIGNATURE_LENGTH], raw[_SIGNATURE_LENGTH:]
            signatures = [_sign(key, plan, query, place) for key in self.keys]
            if not any(hmac.compare_digest(signature, one) for one in signatures):
                raise CursorRejected
            return _POSITION.decode(place)
        except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError) as error:
            raise CursorRejected from error


#: For those who have the database: typed functions and the command line.
UNSIGNED_CURSORS: Final = CursorSigner.from_secrets([""])


def _sign(key: bytes, plan: Plan, query: Query, place: bytes) -> bytes:
    question = msgspec.json.encode([plan.name, query.org_id, query.question], enc_hook=str)
    return hmac.digest(key, hashlib.sha256(question).digest() + place, "sha256")[:_SIGNATURE_LENGTH]
