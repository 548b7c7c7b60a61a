"""Choose names for the columns of a draft from the keys that lead to their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.draft import names
from engine.draft.places import KeyPath

#: Keys too general for a column of their own name; they get the name of their owner or element as a prefix.
_KEYS_NEEDING_OWNER: Final = ("domain", "name", "full_name", "email", "linkedin_url", "linkedin", "website")
_KEYS_NEEDING_ELEMENT: Final = (*_KEYS_NEEDING_OWNER, "id", "title", "url", "description", "type", "status", "label")
#: Keys of objects that add nothing to a column's name: their values are those of the owner or element.
_CONTAINERS: Final = (
    "company",
    "organization",
    "organisation",
    "person",
    "profile",
    "details",
    "info",
    "data",
    "target",
)
_CONTAINERS_OF_ALL: Final = ("result", "results", "content", "answer", "output", "response", "metadata", "parsed")
_SITE_KEYS: Final = ("website", "homepage", "site", "website_url", "company_website", "web_site", "company_url")


def is_site_key(keys: KeyPath) -> bool:
    """Return whether the last key names the address of a web site."""
    return names.to_snake_case(keys[-1]) in _SITE_KEYS


def choose_owner_name(owner: str, keys: Sequence[KeyPath]) -> str:
    """Return a column name for a value about the owner (the entity of the operation, such as `company`).

    `keys` are all key paths that lead to the value, shortest first. A nested value is named after its path. Any other
    is named by the key that begins with the owner (`company_name`) if there is one; else by the shortest key, prefixed
    with the owner if that key is too general (`name`); else by the longest.
    """
    last = [names.to_snake_case(path[-1]) for path in keys]
    if len(keys[0]) > 1:
        return _join_keys(owner, keys[0])
    prefixed = [name for name in last if name.startswith(f"{owner}_")]
    if prefixed:
        return prefixed[0]
    return f"{owner}_{last[0]}" if last[0] in _KEYS_NEEDING_OWNER else last[-1]


def _join_keys(entity: str, keys: KeyPath) -> str:
    """Return a name for a nested value: its key, with that of the object around it or of the entity as prefix."""
    words = [names.to_snake_case(key) for key in keys]
    around = [word for word in words[:-1] if word not in _CONTAINERS_OF_ALL]
    if not around:
        return f"{entity}_{words[-1]}" if words[-1] in _KEYS_NEEDING_OWNER else words[-1]
    nearest = around[-1]
    if nearest in _CONTAINERS or nearest.removeprefix("target_") == entity or nearest == entity:
        nearest = entity if words[-1] in _KEYS_NEEDING_ELEMENT or words[-1] in _SITE_KEYS else ""
    joined = names.join_words(nearest, words[-1])
    return joined if len(joined) < names.MAX_LENGTH else words[-1]


def choose_element_name(element: str, keys: KeyPath) -> str:
    """Return a column name for a value inside a list element, from the element's name and the keys to the value."""
    if len(keys) > 1:
        return _join_keys(element, keys)
    last = names.to_snake_case(keys[-1])
    return f"{element}_{last}" if last in _KEYS_NEEDING_ELEMENT else last
