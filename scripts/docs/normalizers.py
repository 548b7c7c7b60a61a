"""Build `docs/reference/normalizers.md` from the table of normalizers.

The result of each example is computed when the page is generated; `tests/conformance/normalizers.json` has more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.generate.docs.markdown import build_page, build_table, format_code, format_codes
from engine.generate.spec_json_schema import TYPE_DOCS
from engine.values.column_types import shorten_json
from engine.values.normalizers import NORMALIZERS, NormalizeError, Normalizer

NORMALIZERS_PAGE: Final = "docs/reference/normalizers.md"
_KINDS: Final = ("boolean", "number", "string", "array", "object")

#: By normalizer: the input values of its examples.
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
    "boolean_word": ("Active", "no", 1, "maybe"),
    "fingerprint": ({"name": "Acme", "score": 1.10}, {"score": 1.1, "name": "Acme"}),
    "epoch_seconds": (1766000000,),
    "epoch_milliseconds": (1766000000000,),
}


def build_normalizers_page() -> str:
    """Return the text of the page."""
    head = (
        "A normalizer is a small function from one JSON value to another, named in a field's `normalize` list and"
        " applied in order, to stored values and to filter values alike. Each is idempotent and leaves null alone. A"
        " value it refuses makes the row rejected, with the reason `not_normalized`, unless the field says"
        " `on_invalid: missing`."
    )
    return build_page(
        "engine/values/normalizers.py",
        "# Normalizers and types",
        head,
        *(_build_section(normalizer) for normalizer in NORMALIZERS.values()),
        "## Types",
        "What a column takes, after its normalizers. A value of another kind is rejected as `wrong_type`, never guessed"
        " at.",
        build_table(("type", "takes"), [(format_code(name), doc) for name, doc in TYPE_DOCS.items()]),
        maker="written by `make generate`",
    )


def _build_section(normalizer: Normalizer) -> str:
    takes = f"Takes {_format_kinds(normalizer.accepts)}; gives {_format_kinds(normalizer.returns)}."
    examples = _EXAMPLES[normalizer.name]
    rows = [(format_code(shorten_json(value)), _format_result(normalizer, value)) for value in examples]
    text = f"{' '.join(normalizer.doc.split())} {takes}"
    return "\n\n".join((f"## `{normalizer.name}`", text, build_table(("value", "becomes"), rows)))


def _format_kinds(kinds: frozenset[str]) -> str:
    return "any JSON" if len(kinds) == len(_KINDS) else format_codes(kind for kind in _KINDS if kind in kinds)


def _format_result(normalizer: Normalizer, value: Any) -> str:
    try:
        return format_code(shorten_json(normalizer.function(value)))
    except NormalizeError as error:
        return f"refused: {error}"
