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
from dataclasses import dataclass
from typing import Any

import msgspec

from api.http.errors import Fault

Position = tuple[str | None, ...]  # of the last row seen: the values of the order's columns, then the id
_POSITION: msgspec.json.Decoder[Position] = msgspec.json.Decoder(Position)
_SIGNATURE_LENGTH = 16  # bytes of the digest that a cursor carries


@dataclass(frozen=True, slots=True)
class CursorSigner:
    """Encodes and decodes cursors, signed with keys derived from the server's secrets, of which the first signs."""

    keys: tuple[bytes, ...]

    @classmethod
    def from_secrets(cls, secrets: Sequence[str]) -> CursorSigner:
        return cls(tuple(hmac.digest(secret.encode(), b"data-engine-x cursor", "sha256") for secret in secrets))

    def encode_cursor(self, spec: str, org_id: str, question: Sequence[Any], position: Position) -> str:
        """Return the cursor of the last row of a page."""
        place = msgspec.json.encode(position)
        signature = _sign(self.keys[0], spec, org_id, question, place)
        return base64.urlsafe_b64encode(signature + place).rstrip(b"=").decode()

    def decode_cursor(self, spec: str, org_id: str, question: Sequence[Any], text: str) -> Position:
        """Return the position. Raises Fault 400 when the cursor was not made for this query by this server."""
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            signature, place = raw[:_SIGNATURE_LENGTH], raw[_SIGNATURE_LENGTH:]
            signatures = [_sign(key, spec, org_id, question, place) for key in self.keys]
            if not any(hmac.compare_digest(signature, one) for one in signatures):
                raise _build_cursor_fault()
            return _POSITION.decode(place)
        except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError) as error:
            raise _build_cursor_fault() from error


def _sign(key: bytes, spec: str, org_id: str, question: Sequence[Any], place: bytes) -> bytes:
    query = msgspec.json.encode([spec, org_id, question], enc_hook=str)
    return hmac.digest(key, hashlib.sha256(query).digest() + place, "sha256")[:_SIGNATURE_LENGTH]


def _build_cursor_fault() -> Fault:
    return Fault(
        "invalid_cursor",
        "`cursor` does not belong to this query",
        hint="send `meta.next_cursor` of the page before, with the same filters, `q`, `order` and organisation;"
        " or leave it out",
    )
