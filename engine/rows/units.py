"""Units: sets of rows that are computed together, the row of a key or, with `on_absent: delete`, those of a parent key.

The id of a unit is a hash of spec, organisation and key. It is computed only here, and stored in `row_lineage` and
`stale_rows`. Keys that Postgres regards as equal have the same id, such as 1.10 and 1.1 of `numeric`, or one moment in
two time zones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from zlib import crc32

from engine.plan import Field, Plan
from engine.rows.extract import Extraction, trim_decimal
from engine.rows.outcomes import ExtractionOutcome
from engine.spec.enums import OnAbsent
from engine.values import exact_json

#: A spec has ORGANISATION_SLOTS * UNIT_SLOTS advisory locks. A unit's lock is chosen by hashes of its organisation and
#: of its id. So a transaction never takes more locks than these, however many units it folds: Postgres can hold some
#: thousand in all. And an upsert rarely waits for the batch of another organisation.
ORGANISATION_SLOTS: Final = 64
UNIT_SLOTS: Final = 8


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that are computed together: of one key, or with `on_absent: delete` of one parent key, of one tenant."""

    org_id: str
    id: str  # the hash, written as a UUID
    #: With `on_absent: delete`, the parent key: a JSON object with a text or null per column. Two equal units may write
    #: it differently.
    parent: str | None = field(default=None, compare=False)

    @property
    def slot(self) -> int:
        """The number of its lock among those of the spec, from 0 to ORGANISATION_SLOTS * UNIT_SLOTS - 1."""
        organisation = crc32(self.org_id.encode()) % ORGANISATION_SLOTS
        return organisation * UNIT_SLOTS + int(self.id[-2:], 16) % UNIT_SLOTS


def build_unit(plan: Plan, org_id: str, row: Mapping[str, Any]) -> Unit:
    """Return the unit to which a row belongs, given at least the values of its key columns.

    A plan that fills a new table for a spec has the spec's ids in reverse: they differ from those of the present table,
    and become the spec's own by `CARRY_RECORD_SQL` of engine/sql/rebuild.py.
    """
    fields = get_unit_fields(plan)
    values: list[Any] = [_make_canonical(row[column.name]) for column in fields]
    kind = "parent" if plan.on_absent is OnAbsent.DELETE else "key"
    spec = plan.rebuilds or plan.name
    digest = hashlib.blake2b(exact_json.dumps([spec, org_id, kind, values]), digest_size=16).hexdigest()
    if plan.rebuilds:
        digest = digest[::-1]
    unit_id = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
    names = (column.name for column in fields)
    parent = exact_json.dumps(dict(zip(names, values, strict=True))).decode() if kind == "parent" else None
    return Unit(org_id, unit_id, parent)


def get_unit_fields(plan: Plan) -> tuple[Field, ...]:
    """Return the fields that identify a unit: those of the key or, with `on_absent: delete`, of the parent key."""
    return plan.parent_key if plan.on_absent is OnAbsent.DELETE else plan.key_fields


def group_rows_by_unit(plan: Plan, org_id: str, extraction: Extraction) -> dict[Unit, list[int]]:
    """Return the units to which the rows of one step result belong, each with the indices of its rows."""
    if extraction.outcome is not ExtractionOutcome.ROW:
        return {}
    if extraction.parent is not None:
        return {build_unit(plan, org_id, extraction.parent): list(range(len(extraction.rows)))}
    units: dict[Unit, list[int]] = {}
    for number, row in enumerate(extraction.rows):
        units.setdefault(build_unit(plan, org_id, row), []).append(number)
    return units


def list_locks(spec: str, units: Iterable[Unit]) -> list[int]:
    """Return the keys of the advisory locks for `units`, in the order in which every transaction takes them."""
    return sorted({_hash_lock(spec, unit.slot) for unit in units})


def list_all_locks(spec: str) -> list[int]:
    """Return the keys of all advisory locks for units of `spec`, in the order in which every transaction takes them."""
    return sorted(_hash_lock(spec, slot) for slot in range(ORGANISATION_SLOTS * UNIT_SLOTS))


def _hash_lock(spec: str, slot: int) -> int:
    digest = hashlib.blake2b(f"rows\0{spec}\0{slot}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _make_canonical(value: Any) -> str | None:
    """Return one text for all values that Postgres regards as equal keys; Postgres can cast it back to the value."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(trim_decimal(value), "f")
        case float():
            return repr(value + 0.0)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
    return str(value)
