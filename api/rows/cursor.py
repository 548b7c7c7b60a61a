"""Where the next page starts, as a caller carries it.

In: the position of the last row, and what the page was about. Out: an opaque text, and back. It must not know SQL.
A cursor is good for the spec, organisation and filters it was made for and for nothing else: its signature covers them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from api.http.errors import Fault

Position = tuple[str, str]  # created_at and id of the last row seen
_POSITION: msgspec.json.Decoder[Position] = msgspec.json.Decoder(Position)
_SIGNATURE = 16  # bytes of it that travel


@dataclass(frozen=True, slots=True)
class Cursors:
    """Signs and reads cursors with a key of its own, derived from the server's secret."""

    key: bytes

    @classmethod
    def of(cls, secret: str) -> Cursors:
        return cls(hmac.digest(secret.encode(), b"data-engine-x cursor", "sha256"))

    def write(self, spec: str, org_id: str, filters: Mapping[str, Any], position: Position) -> str:
        """Return the cursor of a page's last row."""
        place = msgspec.json.encode(position)
        signature = self._sign(spec, org_id, filters, place)
        return base64.urlsafe_b64encode(signature + place).rstrip(b"=").decode()

    def read(self, spec: str, org_id: str, filters: Mapping[str, Any], text: str) -> Position:
        """Return the position. Raises Fault 400 when the cursor was not made here, for this question."""
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            signature, place = raw[:_SIGNATURE], raw[_SIGNATURE:]
            if not hmac.compare_digest(signature, self._sign(spec, org_id, filters, place)):
                raise _foreign()
            return _POSITION.decode(place)
        except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError) as error:
            raise _foreign() from error

    def _sign(self, spec: str, org_id: str, filters: Mapping[str, Any], place: bytes) -> bytes:
        asked = msgspec.json.encode([spec, org_id, sorted(filters.items())], enc_hook=str)
        return hmac.digest(self.key, hashlib.sha256(asked).digest() + place, "sha256")[:_SIGNATURE]


def _foreign() -> Fault:
    return Fault(
        400,
        "invalid_cursor",
        "`cursor` does not belong to this query",
        hint="send `meta.next_cursor` of the page before, with the same filters and organisation; or leave it out",
    )
