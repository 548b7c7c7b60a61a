"""Read request bodies within a size limit, and decode only as much of their JSON as is needed.

A body may contain documents of megabytes: their JSON text is sent to Postgres undecoded; other fields are decoded one
by one.
"""

from __future__ import annotations

import codecs
import re
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Raw
from starlette.requests import ClientDisconnect, Request

from api.context import get_context
from api.http.errors import Fault, InvalidBody
from engine.errors import suggest_name
from engine.values.exact_json import ExactError, Json, loads

_FIELDS: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])

#: Matches every escape sequence of a JSON text in turn, so that `\\u0000` (an escaped backslash and text) is not
#: mistaken for a NUL. A surrogate pair is one match. Only for a NUL or half of a surrogate pair, group 1 has a match.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(u0000|u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)

_JSON_TYPES: Final = {"str": "string", "int": "number", "float": "number", "bool": "boolean"}
_PYTHON_TYPE = re.compile(f"`({'|'.join(_JSON_TYPES)})`")


#: The most bytes of the body of a query or an export, and of an agent's message. The thousand values that `in` takes
#: fit if each has less than a thousand bytes. All other requests of the process wait while values become parameters: a
#: second for 30 MB, of which gzip makes 33 KB.
MAX_QUERY_BYTES: Final = 1024 * 1024


async def read_body(request: Request, most_bytes: int = sys.maxsize) -> bytes:
    """Return the request body, decompressed if it is gzip.

    It has at most as many bytes as the setting allows, or `most_bytes` where that is less, before and after
    decompression. Raises Fault 413 beyond that, 415 for another compression, 422 for invalid gzip, and ClientDisconnect
    when the client closes the connection.
    """
    allowed = get_context(request).settings.max_body_bytes
    limit = min(allowed, most_bytes)
    more = ", or raise `DATA_ENGINE_MAX_BODY_BYTES` on the server" if allowed < most_bytes else ""
    too_large = Fault("body_too_large", f"the body is larger than {limit} bytes", hint=f"send less{more}")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        hint = "send it as gzip, or without `content-encoding`"
        raise Fault("unsupported_encoding", f"the body is compressed as `{encoding[:40]}`", hint=hint)
    chunks, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
        if not message.get("more_body", False):
            break
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if encoding == "gzip":
        body = _unpack_gzip(body, limit + 1)
        if len(body) > limit:
            raise too_large
    return body


def _unpack_gzip(body: bytes, most_bytes: int) -> bytes:
    """Decompress a gzip body, but not beyond `most_bytes`, which stops decompression bombs.

    Raises Fault 422 for invalid gzip.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = unpacker.decompress(body, most_bytes)
    except zlib.error as error:
        raise _build_gzip_fault("the body is no gzip") from error
    if len(text) < most_bytes and (not unpacker.eof or unpacker.unused_data):
        raise _build_gzip_fault("the gzip of the body is cut off, or something follows it")
    return text


def _build_gzip_fault(sentence: str) -> Fault:
    return InvalidBody(sentence, code="invalid_gzip", hint="compress it again, or send it without `content-encoding`")


def split_fields(body: bytes, known: Iterable[str], explain: Callable[[str], str] | None = None) -> dict[str, Raw]:
    """Split a JSON object into its fields, undecoded. Raises Fault 422 for another JSON value, and for unknown fields.

    `explain` may return why a name is not among the known ones, "" if there is no particular reason.
    """
    fields = _decode_fields(body.removeprefix(codecs.BOM_UTF8))
    known = tuple(known)
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise build_unknown_field_fault(unknown, known, explain=explain)
    return fields


def decode_value(name: str, text: bytes) -> Json:
    """Decode the value of one field, keeping the text of every number. Raises Fault 422 for invalid JSON."""
    try:
        return loads(text)
    except ExactError as error:
        raise InvalidBody(f"`{name}`: {error}", field=name, hint=UNSTORABLE_JSON_HINT) from error


def _decode_fields(body: bytes) -> dict[str, Raw]:
    """Split a JSON object into its fields. Raises Fault 422 when the body is not one."""
    try:
        if not body.isascii():
            body.decode()
        return _FIELDS.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidBody(f"byte {error.start} of the body is not UTF-8", code="not_json", hint="send UTF-8") from error
    except msgspec.ValidationError as error:
        raise InvalidBody(describe_type_error(error)) from error
    except msgspec.DecodeError as error:
        raise _build_syntax_fault(body, error) from error
    except RecursionError as error:
        raise InvalidBody(
            "the body is nested too deeply", code="too_deep", hint="nest fewer arrays and objects"
        ) from error


def describe_type_error(error: msgspec.ValidationError) -> str:
    """Return msgspec's sentence about a JSON value of the wrong type, with JSON's names for types instead of Python's.

    For example: expected `object`, got `number`.
    """
    sentence = _PYTHON_TYPE.sub(lambda match: f"`{_JSON_TYPES[match[1]]}`", str(error))
    return sentence[:1].lower() + sentence[1:]


def build_unknown_field_fault(
    names: list[str],
    known: tuple[str, ...],
    place: str = "",
    explain: Callable[[str], str] | None = None,
    hint: str = "leave it out: this endpoint takes no fields",
) -> Fault:
    """Return the Fault 422 about unknown fields, which lists the known ones.

    `place` is where in the body the fields are; `explain` is that of `split_fields`; `hint` is for where none is known.
    """
    reasons = {name: explain(name) if explain else "" for name in names[:20]}
    detail = []
    for name, reason in reasons.items():
        more = reason or (suggest_name(name, known) if known else "")
        message = "; ".join(filter(None, (f"unknown field `{name[:100]}`", more)))
        detail.append({"code": "unknown_field", "field": name, "message": message})
    unknown = ", ".join(f"`{name[:100]}`" for name in names[:20])
    where = f" in `{place}`" if place else ""
    if known:
        hint = "known fields: " + ", ".join(f"`{name}`" for name in known)
    why = "".join(f"; {reason}" for reason in reasons.values() if reason)
    return Fault("unknown_field", f"unknown field {unknown}{where}{why}", hint=hint, detail=detail)


def _build_syntax_fault(body: bytes, error: msgspec.DecodeError) -> Fault:
    escape = find_unstorable_escape(body)
    if escape and escape != "\\u0000":
        return InvalidBody(
            f"the body holds a lone surrogate `{escape}`", code="unstorable_text", hint=UNSTORABLE_TEXT_HINT
        )
    if not body.strip():
        return InvalidBody("the body is empty", code="not_json", hint="send a JSON object")
    message = str(error).removeprefix("JSON is malformed: ")
    sentence = f"the body is not JSON: {message[:1].lower() + message[1:]}"
    return InvalidBody(sentence, code="not_json", hint="send a JSON object")


UNSTORABLE_JSON_HINT = "correct the value: it has to be JSON that a `jsonb` column of Postgres can hold"
UNSTORABLE_TEXT_HINT = "Postgres stores neither NUL nor half a surrogate pair: remove it, or send U+FFFD instead"


def find_unstorable_escape(raw: bytes) -> str | None:
    """Return the first escape in a JSON text that Postgres cannot store: a NUL, or half of a surrogate pair."""
    if b"\\u" not in raw:
        return None
    return next((match[0].decode() for match in _ESCAPE.finditer(raw) if match[1]), None)


def replace_unstorable_escapes(raw: bytes) -> tuple[bytes, int]:
    """Replace each escaped NUL and half surrogate pair by U+FFFD; return the JSON text and how many there were."""
    if b"\\u" not in raw:
        return raw, 0
    replaced = 0

    def replace_escape(match: re.Match[bytes]) -> bytes:
        nonlocal replaced
        if match[1] is None:
            return match[0]
        replaced += 1
        return b"\\ufffd"

    return _ESCAPE.sub(replace_escape, raw), replaced
