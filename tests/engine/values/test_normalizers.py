"""Normalizers against their table in `tests/conformance/normalizers.json`, and against their laws."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.values.column_types import TYPES
from engine.values.exact_json import Json, dumps, json_kind, loads
from engine.values.normalizers import NORMALIZERS, NormalizeError
from tests.conftest import count_examples

TABLE = loads((Path(__file__).parents[2] / "conformance" / "normalizers.json").read_bytes())
ROWS = [(name, row) for name, rows in TABLE.items() for row in rows]  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{row['in']!a}" for name, row in ROWS])
def test_table(name: str, row: dict[str, Json]) -> None:
    normalize = NORMALIZERS[name].function
    if "error" in row:
        with pytest.raises(NormalizeError) as caught:
            normalize(row["in"])
        assert str(row["error"]) in str(caught.value)
    else:
        # Written out, so that 1 is not true, and 1.10 is not 1.1.
        assert dumps(normalize(row["in"])) == dumps(row["out"])


def test_every_normalizer_has_its_rows() -> None:
    counts = {name: len(TABLE[name]) for name in TABLE}  # type: ignore[arg-type, call-overload, index, union-attr]
    assert counts.keys() == NORMALIZERS.keys()
    assert min(counts.values()) >= 8


# What providers write, and what breaks parsers, oftener than chance would have it.
_AWKWARD = (
    "https:// http:// // www. . : / \\ ? # @ [ ] %20 %41 :80 :443 com ::1 co.uk acme xn-- ü ß İ ❤ 。 ． ∕ \n \0 \ud800 "
    'linkedin.com uk.linkedin.com /in/jim /de <think> </think> { } [1] +1 0049 4155552671 \u00ad \u200b " '
    "1e400 -0 1,200 2024-06-10T23:01:40Z"
)
_PIECES = st.sampled_from([" ", *_AWKWARD.split(" ")])
_STRINGS = st.lists(_PIECES | st.text(max_size=4), max_size=8).map("".join)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _STRINGS
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_STRINGS, inner, max_size=3)
)
_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True).map(loads)


@pytest.mark.law
@pytest.mark.parametrize("name", NORMALIZERS)
@settings(deadline=None, max_examples=count_examples(30, 1000))
@given(value=_STRINGS | _NUMBERS | _VALUES)
@example(value=[0, {"a": ""}])
def test_laws(name: str, value: Json) -> None:
    """Null stays null; only NormalizeError is raised; the kinds are those declared; what came out stays as it is."""
    normalizer = NORMALIZERS[name]
    before = repr(value)
    assert normalizer.function(None) is None
    try:
        once = normalizer.function(value)
    except NormalizeError:
        return
    finally:
        assert repr(value) == before
    assert value is None or json_kind(value) in normalizer.accepts
    assert once is None or json_kind(once) in normalizer.returns
    assert repr(normalizer.function(once)) == repr(once)


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(value=_STRINGS)
def test_a_domain_is_a_host_name_and_nothing_else(value: str) -> None:
    try:
        found = NORMALIZERS["domain"].function(value)
    except NormalizeError:
        return
    assert found is None or (isinstance(found, str) and found.isascii() and not set(found) & set("/@?#%[] \\"))


_LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda label: label != "www")


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(host=st.lists(_LABEL, min_size=2, max_size=4).map(".".join), data=st.data())
def test_however_a_domain_is_written_it_is_the_same(host: str, data: st.DataObject) -> None:
    scheme = data.draw(st.sampled_from(["", "http://", "HTTPS://", "//", "ftp://"]))
    user = data.draw(st.sampled_from(["", "jim@", "jim:secret@"]))
    www = data.draw(st.sampled_from(["", "www.", "WWW."]))
    tail = data.draw(st.sampled_from(["", ".", ":8080", "/", "/a/b", "?q=a.b/c", "#top", ":80/x?y#z", "/@handle"]))
    written = host.upper() if data.draw(st.booleans()) else host
    assert NORMALIZERS["domain"].function(scheme + user + www + written + tail) == host


@pytest.mark.law
@settings(deadline=None, max_examples=count_examples(40, 1000))
@given(path=st.from_regex(r"(in|company)/[a-zA-Z0-9_%-]{1,30}", fullmatch=True), slashes=st.integers(0, 3))
def test_the_plain_linkedin_rule_holds_for_plain_urls(path: str, slashes: int) -> None:
    written = "https://www.LinkedIn.com/" + path + "/" * slashes
    assert NORMALIZERS["linkedin_url"].function(written) == written.lower().rstrip("/")


@pytest.mark.parametrize(
    ("name", "column", "fits"),
    [
        ("domain", "text", True),
        ("domain", "jsonb", False),
        ("domain", "integer", False),
        ("list", "text", False),
        ("list", "text[]", True),
        ("list", "jsonb", True),
        ("number", "numeric", True),
        ("number", "text", False),
        ("json", "jsonb", True),
        ("json", "text", False),
        ("json_or_text", "jsonb", True),
        ("strip_think", "jsonb", True),
        ("epoch_seconds", "timestamptz", True),
        ("epoch_seconds", "bigint", False),
        ("trim", "uuid", True),
    ],
)
def test_which_columns_a_normalizer_fits(name: str, column: str, fits: bool) -> None:
    assert column in TYPES
    assert NORMALIZERS[name].fits_column(column) is fits


@pytest.mark.parametrize(
    ("before", "after", "feeds"),
    [
        ("trim", "domain", True),
        ("strip_think", "json", True),
        ("number", "epoch_seconds", True),
        ("list", "domain", False),
        ("json", "domain", False),
        ("text", "number", True),
        ("epoch_seconds", "number", True),
        ("number", "domain", False),
    ],
)
def test_which_normalizers_follow_each_other(before: str, after: str, feeds: bool) -> None:
    assert NORMALIZERS[before].can_feed(NORMALIZERS[after]) is feeds


def test_every_normalizer_says_what_it_does_in_one_sentence() -> None:
    for name, normalizer in NORMALIZERS.items():
        assert normalizer.name == name
        assert normalizer.doc.endswith(".") and "\n" not in normalizer.doc
