"""Parse a UUID given as text: in a header, in an option of the command line, or as an argument of a typed function."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

_HYPHENATED = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_UUID = re.compile(f"{_HYPHENATED}|[0-9a-fA-F]{{32}}")


def parse_uuid(value: Any) -> str | None:
    """Return a UUID as Postgres writes it (lower case, hyphenated); None if `value` is not one.

    Accepts hyphenated text and 32 digits without hyphens. Python's `uuid.UUID` alone would also accept braces, a `urn:`
    prefix, hyphens anywhere and underscores.
    """
    if isinstance(value, UUID):
        return str(value)
    return str(UUID(value)) if isinstance(value, str) and _UUID.fullmatch(value) else None
