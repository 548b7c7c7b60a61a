"""Check that a body is one JSON-RPC message for a server, so that a mistake in it is answered in our words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

_PARSE_ERROR: Final = -32700
_INVALID_REQUEST: Final = -32600
_HINT: Final = 'send one message, such as {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a message: JSON-RPC's code, our sentence, and the message's id if that is valid."""

    code: int
    message: str
    request_id: Any = None

    def encode_answer(self) -> bytes:
        """Return the JSON-RPC answer to the message."""
        error = {"code": self.code, "message": self.message, "data": {"hint": _HINT}}
        return msgspec.json.encode({"jsonrpc": "2.0", "id": self.request_id, "error": error})


class _Message(msgspec.Struct):
    """The members of a message; `params`, which may be large, is not decoded."""

    jsonrpc: Any = None
    id: Any = UNSET
    method: Any = None
    params: Raw = Raw(b"{}")


def find_mistake(body: bytes) -> Mistake | None:
    """Return what is wrong with a body, None if it is a request or a notification.

    Responses are refused too: this server sends its clients no requests.
    """
    try:
        message = msgspec.json.decode(body, type=_Message)
    except msgspec.ValidationError:
        return Mistake(_INVALID_REQUEST, "the body is no JSON object")
    except (msgspec.DecodeError, RecursionError):
        return Mistake(_PARSE_ERROR, "the body is not JSON")
    request_id = message.id if _is_id(message.id) else None
    for is_wrong, sentence in _RULES:
        if is_wrong(message):
            return Mistake(_INVALID_REQUEST, sentence, request_id)
    return None


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


_RULES: Final[tuple[tuple[Callable[[_Message], bool], str], ...]] = (
    (lambda message: message.jsonrpc != "2.0", '`jsonrpc` is not "2.0"'),
    (
        lambda message: message.id is not UNSET and not _is_id(message.id),
        "`id` is neither a string nor a whole number; a message without `id` gets no answer",
    ),
    (lambda message: not isinstance(message.method, str), "`method` is not a string"),
    (lambda message: not bytes(message.params).startswith((b"{", b"null")), "`params` is no JSON object"),
)
