"""Make names from other names: columns from JSON keys, tables from operation ids, plurals and singulars.

The rules are those of English nouns, with the exceptions that occur in names of research. They can be wrong: a
person reviews every draft.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Final

from engine.provided_columns import ENGINE_COLUMNS
from engine.spec.models import CORE_TABLES, RESERVED_FILTERS, RESERVED_PARAMETERS, RESERVED_SPEC_NAMES, SYSTEM_COLUMNS

#: The most characters of a name: Postgres allows 63, and names of indexes and triggers add some to it.
MAX_LENGTH = 50
#: Nouns without a plural of their own.
_UNCOUNTABLE: Final = frozenset(
    (
        *("analytics", "data", "earnings", "evidence", "feedback", "funding", "headquarters", "health", "hiring"),
        *("information", "intelligence", "leadership", "logistics", "media", "news", "premises", "pricing", "research"),
        *("series", "software", "species", "staff", "status", "traffic"),
    )
)
#: Singulars that end like a plural.
_SINGULARS_WITH_S: Final = frozenset(
    ("alias", "bias", "bonus", "bus", "campus", "canvas", "census", "consensus", "focus", "lens", "status", "virus")
)
_IRREGULAR: Final = {
    "alumnus": "alumni",
    "analysis": "analyses",
    "basis": "bases",
    "child": "children",
    "crisis": "crises",
    "criterion": "criteria",
    "hypothesis": "hypotheses",
    "man": "men",
    "movie": "movies",
    "person": "people",
    "thesis": "theses",
    "tie": "ties",
    "woman": "women",
}
_IRREGULAR_PLURALS: Final = {many: one for one, many in _IRREGULAR.items()}
#: Endings of column names that say how an entity is identified, not which entity it is.
_IDENTITY_WORDS: Final = ("domain", "linkedin_url", "url", "email", "full_name", "name", "id", "fingerprint", "title")


def to_snake_case(text: str) -> str:
    """Return `text` as a lower-case identifier: `companyName`, `Company-Name` and `company name` are `company_name`."""
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    text = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:MAX_LENGTH].strip("_")
    return f"_{text}" if text[:1].isdigit() else text or "value"


def join_words(*parts: str) -> str:
    """Join parts to one identifier; a word that ends one part and begins the next is written once."""
    words: list[str] = []
    for part in parts:
        following = to_snake_case(part).split("_") if part else []
        words += following[1:] if words and following[:1] == words[-1:] else following
    return to_snake_case("_".join(words))


def choose_column_name(text: str, owner: str, taken: Container[str]) -> str:
    """Return a column name that is not `taken`, for a JSON key of `owner`; a reserved name gets the owner as prefix."""
    name = to_snake_case(text)
    if name in (*ENGINE_COLUMNS, *RESERVED_PARAMETERS, *RESERVED_FILTERS, *SYSTEM_COLUMNS):
        name = f"{owner}_{name}"
    return find_free_name(name, taken)


def find_free_name(name: str, taken: Container[str]) -> str:
    """Return `name`, or `name_2`, `name_3`, ... when it is taken."""
    candidates = (name, *(f"{name}_{count}" for count in range(2, 10_000)))
    return next(candidate for candidate in candidates if candidate not in taken)


def build_table_name(operation: str) -> str:
    """Return a table name for an operation: `company.derive.intel_briefing` gives `company_intel_briefings`.

    A name that the engine uses itself gets a suffix: `companies` gives `companies_found`.
    """
    first, *_, last = (to_snake_case(part) for part in f"{operation}.{operation}".split("."))
    name = to_plural(last if last.startswith(first) else f"{first}_{last}")
    return f"{name}_found" if name in (*CORE_TABLES, *RESERVED_SPEC_NAMES) else name


def extract_owner(operation: str) -> str:
    """Return the entity an operation is about: `company.derive.intel_briefing` gives `company`."""
    return to_snake_case(operation.split(".")[0])


def to_plural(name: str) -> str:
    """Return a name with its last word in the plural; unchanged if it looks like a plural or ends in a digit."""
    before, word = _split_last_word(name)
    if word in _UNCOUNTABLE or word in _IRREGULAR_PLURALS or word[-1:].isdigit():
        return name
    if word in _IRREGULAR:
        return before + _IRREGULAR[word]
    if word in _SINGULARS_WITH_S or re.search(r"(ss|x|z|ch|sh)$", word):
        return f"{name}es"
    if word.endswith("s"):
        return name
    return f"{name[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{name}s"


def to_singular(name: str) -> str:
    """Return a name with its last word in the singular; unchanged if it looks like a singular already.

    A number after the word stays: `members_2` gives `member_2`.
    """
    before, word = _split_last_word(name)
    if word.isdigit() and before:
        return f"{to_singular(before[:-1])}_{word}"
    if word in _UNCOUNTABLE or word in _IRREGULAR or word in _SINGULARS_WITH_S:
        return name
    if word in _IRREGULAR_PLURALS:
        return before + _IRREGULAR_PLURALS[word]
    if word.endswith("ies") and len(word) > 4:
        return f"{name[:-3]}y"
    if word.removesuffix("es") in _SINGULARS_WITH_S or re.search(r"(x|z|ch|sh|ss)es$", word):
        return name[:-2]
    return name[:-1] if re.search(r"[^su]s$", word) else name


def is_plural(name: str) -> bool:
    """Return whether the last word of a name looks like an English plural; a number after it is ignored."""
    return to_singular(name) != name


def to_words(name: str) -> str:
    """Return an identifier as separate words: `company_domain` gives `company domain`."""
    return " ".join(name.split("_")).strip()


def describe_key(columns: Sequence[str]) -> str:
    """Describe what a row is from its key columns: `company_domain`, `customer_name` give `company and customer`."""
    entities = list(dict.fromkeys(map(_name_entity, columns)))
    return " and ".join(filter(None, (", ".join(entities[:-1]), entities[-1])))


def describe_fact(column: str, entity: str) -> str:
    """Describe what a column tells about an entity: `name` of a `competitor` gives `Name of the competitor`."""
    first, *rest = column.split("_")
    words, entity = to_words(column), to_words(entity)
    if first in ("is", "has"):
        return f"Whether the {entity} {first} {' '.join(rest)}"
    if participle := re.fullmatch(r"(\w+ed)(_on|_at|_in)?", column):
        return f"When the {entity} was {to_words(participle[1])}"
    for currency in ("usd", "eur", "gbp"):
        words = re.sub(rf"\b{currency}$", f"in {currency.upper()}", words)
    words = words[:1].upper() + words[1:]
    return words if first == entity or rest[-1:] in (["on"], ["at"], ["by"], ["in"]) else f"{words} of the {entity}"


def _name_entity(column: str) -> str:
    for word in _IDENTITY_WORDS:
        if column.endswith(f"_{word}"):
            return to_words(column.removesuffix(f"_{word}"))
    return to_words(column)


def _split_last_word(name: str) -> tuple[str, str]:
    before, separator, word = name.rpartition("_")
    return before + separator, word
