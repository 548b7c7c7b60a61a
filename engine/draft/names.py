"""Names made from other names: columns from JSON keys, tables from operation ids, one from many.

In: words. Out: lower-case identifiers. It must not know samples or specs. The rules are those of plain English plurals;
what they get wrong is for the reader of a draft to mend.
"""

from __future__ import annotations

import re
from collections.abc import Container

from engine.spec.models import CORE_TABLES, GENERATED, PROVIDED, RESERVED, SYSTEM

_LONGEST = 50  # leaves room for what indexes and triggers put around a name


def snake(text: str) -> str:
    """Return `text` as a lower-case identifier: `companyName`, `Company-Name` and `company name` are `company_name`."""
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    text = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:_LONGEST].strip("_")
    return f"_{text}" if text[:1].isdigit() else text or "value"


def column(text: str, owner: str, taken: Container[str]) -> str:
    """Return a free column name for a key of `owner`: a name the engine keeps for itself gets the owner in front."""
    name = snake(text)
    if name in (*PROVIDED, *RESERVED, *SYSTEM):
        name = f"{owner}_{name}"
    return free(name, taken)


def free(name: str, taken: Container[str]) -> str:
    """Return `name`, with a number behind it where it is taken."""
    return next(one for one in (name, *(f"{name}_{count}" for count in range(2, 10_000))) if one not in taken)


def table(operation: str) -> str:
    """Return the table of an operation: `company.derive.intel_briefing` gives `company_intel_briefings`.

    What the engine uses itself gets a word behind it: `companies` gives `companies_found`.
    """
    first, *_, last = (snake(part) for part in f"{operation}.{operation}".split("."))
    name = plural(last if last.startswith(first) else f"{first}_{last}")
    return f"{name}_found" if name in (*CORE_TABLES, *GENERATED) else name


def owner(operation: str) -> str:
    """Return whom an operation is about: `company.derive.intel_briefing` gives `company`."""
    return snake(operation.split(".")[0])


def plural(word: str) -> str:
    """Return the plural, or `word` where it looks like one."""
    if word.endswith("s"):
        return word
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search(r"(x|z|ch|sh)$", word) else f"{word}s"


def singular(word: str) -> str:
    """Return the singular, or `word` where it looks like one."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(x|z|ch|sh|ss)es$", word):
        return word[:-2]
    return word[:-1] if re.search(r"[^su]s$", word) else word


def spoken(name: str) -> str:
    """Return an identifier as words: `company_domain` gives `company domain`."""
    return " ".join(name.split("_")).strip()
