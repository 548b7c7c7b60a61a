"""Parse the URL of the database. Error messages never repeat a part of it that may belong to a password."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from engine.errors import EngineError

_SCHEMES: Final = ("postgresql", "postgres")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_THRESHOLD: Final = "prepare_threshold"
_THRESHOLD_WORD: Final = re.compile(rf"(?:^|\s){_THRESHOLD}\s*=\s*(\S*)")
_HINT: Final = (
    "write `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; `@`, `:`, `/`, `?`, `#` and `%` in a password are written"
    " as `%40`, `%3A`, `%2F`, `%3F`, `%23` and `%25`; behind `?` only what libpq knows, such as `sslmode=require`"
)


class InvalidDatabaseUrl(EngineError):
    """The URL of the database cannot be read, or is not a URL of Postgres."""


def read_database_url(dsn: str) -> tuple[str, dict[str, Any]]:
    """Return the URL for libpq, and the arguments for psycopg (`prepare_threshold`) that were removed from it.

    Raises InvalidDatabaseUrl for another scheme than `postgresql`, and for a URL that libpq cannot read.
    """
    scheme, separator, _ = dsn.partition("://")
    if separator and scheme not in _SCHEMES:
        name = f"the scheme `{scheme}`" if _SCHEME.fullmatch(scheme) else "a scheme that is none"
        raise InvalidDatabaseUrl(f"`DATABASE_URL` has {name}; this is for `postgresql`", hint=_HINT)
    url, threshold = _take_threshold(dsn, is_url=bool(separator))
    _check_parts(url)
    return url, {} if threshold is None else {_THRESHOLD: threshold or None}


def replace_login(dsn: str, user: str, password: str) -> str:
    """Return the URL of the same database for another login. Raises InvalidDatabaseUrl as `read_database_url` does."""
    read_database_url(dsn)
    if "://" not in dsn:
        return make_conninfo(dsn, user=user, password=password)
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"))


def _check_parts(url: str) -> None:
    """Raise InvalidDatabaseUrl for a URL that libpq cannot read, or whose password runs into other parts."""
    try:
        parts = conninfo_to_dict(url)
    except (ProgrammingError, UnicodeError):
        # libpq's message is neither chained nor repeated, since it quotes the text.
        raise InvalidDatabaseUrl("`DATABASE_URL` cannot be read", hint=_HINT) from None
    for name in ("host", "port", "dbname"):
        text = str(parts.get(name) or "")
        if "@" in text or (name == "port" and not re.fullmatch(r"[0-9,]*", text)):
            raise InvalidDatabaseUrl(f"the {name} in `DATABASE_URL` is not valid", hint=_HINT)


def _take_threshold(dsn: str, *, is_url: bool) -> tuple[str, int | None]:
    """Return the text without `prepare_threshold`, which libpq does not know, and the number in it."""
    if _THRESHOLD not in dsn:
        return dsn, None
    if not is_url:
        match = _THRESHOLD_WORD.search(dsn)
        return (dsn, None) if match is None else (_THRESHOLD_WORD.sub("", dsn), _read_threshold(match[1]))
    try:
        parts = urlsplit(dsn)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise InvalidDatabaseUrl("`DATABASE_URL` cannot be read", hint=_HINT) from None
    values = [value for name, value in pairs if name == _THRESHOLD]
    if not values:
        return dsn, None
    query = urlencode([pair for pair in pairs if pair[0] != _THRESHOLD])
    return urlunsplit(parts._replace(query=query)), _read_threshold(values[-1])


def _read_threshold(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidDatabaseUrl(
            f"`{_THRESHOLD}` in `DATABASE_URL` is no whole number",
            hint=f"write `?{_THRESHOLD}=0` to prepare no statement, or leave it out",
        )
    return int(text)
