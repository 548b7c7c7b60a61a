"""Encode the position after which the next page starts as an opaque cursor, and decode it again.

A cursor is valid only for the spec, organisation, filters, search and order that it was made for: they are part of
its signature.
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

Position = tuple[str | None, ...]  # of the last row of a page: its values in the columns of the order, then its id
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
    """Encodes and decodes cursors. `keys` are derived from secrets: the first one signs, each of them verifies.

    Without a secret the signature is only a checksum: it prevents the use of a cursor with another query by mistake,
    but anyone can forge it.
    """

    keys: tuple[bytes, ...]

    @classmethod
    def from_secrets(cls, secrets: Sequence[str]) -> CursorSigner:
        return cls(tuple(hmac.digest(secret.encode(), b"data-engine-x cursor", "sha256") for secret in secrets))

    def encode_cursor(self, plan: Plan, query: Query, position: Position | None) -> str | None:
        """Return the cursor of the page that starts after `position`; None if it is None, since no page follows."""
        if position is None:
            return None
        place = msgspec.json.encode(position)
        signature = _compute_signature(self.keys[0], plan, query, place)
        return base64.urlsafe_b64encode(signature + place).rstrip(b"=").decode()

    def apply_cursor(self, plan: Plan, query: Query, text: str | None) -> Query:
        """Return `query` continued at the position that the cursor `text` encodes.

        Raises CursorRejected for a cursor of another query.
        """
        return query if text is None else replace(query, after=self._decode_cursor(plan, query, text))

    def _decode_cursor(self, plan: Plan, query: Query, text: str) -> Position:
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            signature, place = raw[:_SIGNATURE_LENGTH], raw[_SIGNATURE_LENGTH:]
            signatures = [_compute_signature(key, plan, query, place) for key in self.keys]
            if not any(hmac.compare_digest(signature, expected) for expected in signatures):
                raise CursorRejected
            return _POSITION.decode(place)
        except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError) as error:
            raise CursorRejected from error


#: Without a secret: for typed functions and the command line, whose callers have access to the database anyway.
UNSIGNED_CURSORS: Final = CursorSigner.from_secrets([""])


def _compute_signature(key: bytes, plan: Plan, query: Query, place: bytes) -> bytes:
    signed = msgspec.json.encode([plan.name, query.org_id, query.signed_parts], enc_hook=str)
    return hmac.digest(key, hashlib.sha256(signed).digest() + place, "sha256")[:_SIGNATURE_LENGTH]
