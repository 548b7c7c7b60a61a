"""The normalizers -> `docs/reference/normalizers.md`.

In: nothing but the table of normalizers. Out: one page. Each example is run when the page is written, so it cannot be
wrong; the full tables stand in `tests/conformance/normalizers.json`. It must not know any spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.generate.docs.markdown import code, codes, page, table
from engine.generate.json_schema import TYPE_DOCS
from engine.plan import Plan
from engine.values.column_types import shorten
from engine.values.normalizers import NORMALIZERS, NormalizeError, Normalizer

FILE: Final = "docs/reference/normalizers.md"
_KINDS: Final = ("boolean", "number", "string", "array", "object")

#: Normalizer -> values worth showing.
_EXAMPLES: Final[Mapping[str, tuple[Any, ...]]] = {
    "domain": ("https://www.Acme.com/about", "jim@acme.com", "münchen.de", "not a domain"),
    "registrable_domain": ("https://shop.acme.co.uk/x", "acme.com"),
    "linkedin_url": ("https://www.LinkedIn.com/in/Jim-Higgins/",),
    "url": ("HTTPS://www.Acme.com/About",),
    "email": ("Jim@Acme.COM", "jim at acme"),
    "phone": ("+1 (415) 555-2671", "555"),
    "trim": ("  Acme ",),
    "lower": ("ACME",),
    "text": (1.5, True, {"a": 1}),
    "json": ('{"a": 1}', '"[1, 2]"', "a report"),
    "json_or_text": ('{"a": 1}', "a report"),
    "list": ("Acme", ["Acme"]),
    "strip_think": ("<think>first I will ...</think>The answer.",),
    "blank_to_null": (" ", [], {}, "Acme"),
    "number": ("1200", "5.50", "1,200"),
    "number_or_null": ("1200", "$55.6 billion"),
    "epoch_seconds": (1766000000,),
    "epoch_milliseconds": (1766000000000,),
}


def emit(plans: Sequence[Plan] = ()) -> dict[str, str]:
    """Return the page by path. It is the same whatever the plans."""
    head = (
        "A normalizer is a small function from one JSON value to another, named in a field's `normalize` list and"
        " applied in order, to stored values and to filter values alike. Each is idempotent and leaves null alone. A"
        " value it refuses makes the row rejected, with the reason `not_normalized`."
    )
    text = page(
        "engine/values/normalizers.py",
        "# Normalizers and types",
        head,
        *(_section(item) for item in NORMALIZERS.values()),
        "## Types",
        "What a column takes, after its normalizers. A value of another kind is rejected as `wrong_type`, never guessed"
        " at.",
        table(("type", "takes"), [(code(name), doc) for name, doc in TYPE_DOCS.items()]),
        maker="written by `make generate`",
    )
    return {FILE: text}


def _section(item: Normalizer) -> str:
    takes = f"Takes {_kinds(item.accepts)}; gives {_kinds(item.returns)}."
    rows = [(code(shorten(value)), _result(item, value)) for value in _EXAMPLES[item.name]]
    return "\n\n".join(
        (f"## `{item.name}`", f"{' '.join(item.doc.split())} {takes}", table(("value", "becomes"), rows))
    )


def _kinds(kinds: frozenset[str]) -> str:
    return "any JSON" if len(kinds) == len(_KINDS) else codes(kind for kind in _KINDS if kind in kinds)


def _result(item: Normalizer, value: Any) -> str:
    try:
        return code(shorten(item.function(value)))
    except NormalizeError as error:
        return f"refused: {error}"
