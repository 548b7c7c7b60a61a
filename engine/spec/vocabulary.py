"""The closed vocabularies of the spec format: the words a key takes, and what each of them does.

The YAML models spell them as `Literal`, whose messages and JSON Schema name the words; plans carry these enums.
"""

from __future__ import annotations

from enum import StrEnum


class OnMissing(StrEnum):
    """What a missing value does to a stored one (`fields.<name>.on_missing`)."""

    KEEP = "keep"  # leaves it
    CLEAR = "clear"  # overwrites it with NULL


class OnAbsent(StrEnum):
    """What happens to the row of an element that is gone from a newer result (`on_absent`)."""

    KEEP = "keep"
    DELETE = "delete"


class OnInvalid(StrEnum):
    """What is done with a value that a normalizer or the type refuses (`fields.<name>.on_invalid`)."""

    REJECT = "reject"
    MISSING = "missing"  # it counts as missing, with a note on record


class NullKey(StrEnum):
    """What null means in a conflict column (`fields.<name>.null_key`)."""

    MATCH = "match"  # a key like any other
    REJECT = "reject"  # the same as `required`
