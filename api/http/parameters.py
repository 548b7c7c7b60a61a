"""Read numbers of a query string."""

from __future__ import annotations

from collections.abc import Mapping

from api.http.errors import InvalidBody


def read_whole_number(parameters: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number of the query string, `default` where it is not sent. Raises Fault 422 beyond its range."""
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        message = f"`{name}` is a whole number from {low} to {high}"
        raise InvalidBody(message, field=name, code="out_of_range", hint=f"send `{name}` within it, or leave it out")
    return int(text)
