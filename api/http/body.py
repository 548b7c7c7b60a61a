"""Request bodies: bounded, split, and opened only as far as needed.

In: a request. Out: its bytes, the fields of its JSON object as raw JSON, or a typed struct. It must not know what the
fields mean. Large JSON is never decoded here: whoever needs a field decodes that field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Raw
from starlette.requests import ClientDisconnect, Request

from api.http.errors import Fault, invalid
from engine.errors import nearest

T = TypeVar("T")

_FIELDS: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])

#: Every escape of a JSON text, one after the other, so that an escaped backslash before `u0000` is not mistaken
#: for a NUL. A surrogate pair is one match; what is left of group 1 is a NUL or half a pair.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(u0000|u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")


async def read(request: Request, limit: int) -> bytes:
    """Return the body. Raises Fault 413 beyond `limit`, 415 when compressed; ClientDisconnect when cut off."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Fault(415, "unsupported_encoding", "the body is compressed", hint="send it without `content-encoding`")
    chunks, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int) -> Fault:
    """Return the 413."""
    return Fault(
        413,
        "body_too_large",
        f"the body is larger than {limit} bytes",
        hint="send less, or raise `DATA_ENGINE_MAX_BODY_BYTES` on the server",
    )


def split(body: bytes, known: Iterable[str]) -> dict[str, Raw]:
    """Return the fields of a JSON object, undecoded. Raises Fault 422 for what is no object, and for unknown fields."""
    fields = _decode(body, _FIELDS)
    known = tuple(known)
    strange = [name for name in fields if name not in known]
    if strange:
        raise unknown(strange, known)
    return fields


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Return the body as a struct. Raises Fault 422 for the first thing that does not fit, naming the known fields."""
    return _decode(body, decoder)


def _decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        if not body.isascii():
            body.decode()
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise invalid(f"byte {error.start} of the body is not UTF-8", code="not_json", hint="send UTF-8") from error
    except msgspec.ValidationError as error:
        raise _misfit(str(error), decoder) from error
    except msgspec.DecodeError as error:
        raise _not_json(body, error) from error
    except RecursionError as error:
        raise invalid("the body is nested too deeply", code="too_deep", hint="nest fewer arrays and objects") from error


def _misfit(message: str, decoder: msgspec.json.Decoder[T]) -> Fault:
    if (found := _UNKNOWN.fullmatch(message.partition(" - at ")[0])) and issubclass(decoder.type, msgspec.Struct):
        known = tuple(field.encode_name for field in msgspec.structs.fields(decoder.type))
        return unknown([found[1]], known)
    place = _PLACE.search(message)
    sentence = _PLACE.sub("", message)
    field = place[1] if place else None
    named = f"`{field}`: " if field else ""
    return invalid(named + sentence[:1].lower() + sentence[1:], field=field)


def unknown(names: list[str], known: tuple[str, ...], place: str = "") -> Fault:
    """Return the 422 for fields nobody knows, naming those that are known; `place` says where inside the body."""
    listed = ", ".join(f"`{name}`" for name in known)
    detail = [
        {"code": "unknown_field", "field": name, "message": f"unknown field `{name[:100]}`; {nearest(name, known)}"}
        for name in names[:20]
    ]
    shown = ", ".join(f"`{name[:100]}`" for name in names[:20])
    where = f" in `{place}`" if place else ""
    return Fault(422, "unknown_field", f"unknown field {shown}{where}", hint=f"known fields: {listed}", detail=detail)


def _not_json(body: bytes, error: msgspec.DecodeError) -> Fault:
    bad = unstorable(body)
    if bad and bad != "\\u0000":
        return invalid(f"the body holds a lone surrogate `{bad}`", code="unstorable_text", hint=UNSTORABLE_HINT)
    if not body.strip():
        return invalid("the body is empty", code="not_json", hint="send a JSON object")
    words = str(error).removeprefix("JSON is malformed: ")
    return invalid(f"the body is not JSON: {words[:1].lower() + words[1:]}", code="not_json", hint="send a JSON object")


UNSTORABLE_HINT = "Postgres stores neither NUL nor half a surrogate pair: remove it, or send U+FFFD instead"


def unstorable(raw: bytes) -> str | None:
    """Return the first escape in a JSON text that Postgres cannot store: NUL, or half a surrogate pair."""
    if b"\\u" not in raw:
        return None
    return next((match[0].decode() for match in _ESCAPE.finditer(raw) if match[1]), None)


def mend(raw: bytes) -> tuple[bytes, int]:
    """Return the JSON text with U+FFFD for each NUL and each half of a surrogate pair, and how many there were."""
    if b"\\u" not in raw:
        return raw, 0
    replaced = 0

    def put(match: re.Match[bytes]) -> bytes:
        nonlocal replaced
        if match[1] is None:
            return match[0]
        replaced += 1
        return b"\\ufffd"

    return _ESCAPE.sub(put, raw), replaced
