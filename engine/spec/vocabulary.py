"""The closed vocabularies of the spec format: the words a key accepts, and what each of them does.

The YAML models write them as `Literal`, so that messages and the JSON Schema list the words; plans use these enums.
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
    MISSING = "missing"  # it counts as missing, and the ledger records why


class NullKey(StrEnum):
    """What null means in a conflict column (`fields.<name>.null_key`)."""

    MATCH = "match"  # it is a key value like any other
    REJECT = "reject"  # the same as `required`
