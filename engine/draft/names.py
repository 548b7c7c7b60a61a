"""Names made from other names: columns from JSON keys, tables from operation ids, plurals and singulars.

The rules are those of plain English plurals; the reader of a draft corrects what they get wrong.
"""

from __future__ import annotations

import re
from collections.abc import Container

from engine.provided_columns import PROVIDED_COLUMNS
from engine.spec.models import CORE_TABLES, RESERVED_PARAMETERS, RESERVED_SPEC_NAMES, SYSTEM_COLUMNS

#: Characters. Postgres allows 63; the rest is for what the names of indexes and triggers add.
_MAX_LENGTH = 50


def to_snake_case(text: str) -> str:
    """Return `text` as a lower-case identifier: `companyName`, `Company-Name` and `company name` are `company_name`."""
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    text = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:_MAX_LENGTH].strip("_")
    return f"_{text}" if text[:1].isdigit() else text or "value"


def choose_column_name(text: str, owner: str, taken: Container[str]) -> str:
    """Return a column name that is not `taken`, for a JSON key of `owner`; a reserved name gets the owner as prefix."""
    name = to_snake_case(text)
    if name in (*PROVIDED_COLUMNS, *RESERVED_PARAMETERS, *SYSTEM_COLUMNS):
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


def to_plural(word: str) -> str:
    """Return the plural of a noun, or `word` itself when it looks like one."""
    if word.endswith("s"):
        return word
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search(r"(x|z|ch|sh)$", word) else f"{word}s"


def to_singular(word: str) -> str:
    """Return the singular of a noun, or `word` itself when it looks like one."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(x|z|ch|sh|ss)es$", word):
        return word[:-2]
    return word[:-1] if re.search(r"[^su]s$", word) else word


def to_words(name: str) -> str:
    """Return an identifier as separate words: `company_domain` gives `company domain`."""
    return " ".join(name.split("_")).strip()
