"""The enums of the spec format: the words that a key accepts, and what each of them does.

The YAML models use `Literal` instead, so that messages and the JSON Schema list the words; plans use these enums.
"""

from __future__ import annotations

from enum import StrEnum


class OnMissing(StrEnum):
    """What happens to a stored value when a newer step result lacks it (`fields.<name>.on_missing`)."""

    KEEP = "keep"  # it stays
    CLEAR = "clear"  # it is overwritten with NULL


class OnAbsent(StrEnum):
    """What happens to the row of an element that a newer step result no longer has (`on_absent`)."""

    KEEP = "keep"
    DELETE = "delete"


class OnInvalid(StrEnum):
    """What happens to a value that a normalizer or the type refuses (`fields.<name>.on_invalid`)."""

    REJECT = "reject"
    MISSING = "missing"  # it counts as missing, and the ledger records why


class NullKey(StrEnum):
    """What null means in a key column (`fields.<name>.null_key`)."""

    MATCH = "match"  # it is a key value like any other
    REJECT = "reject"  # the same as `required`
