"""Name what is folded as one: the row of a key, or under `on_absent: delete` all rows of a parent key.

Its name is a hash of spec, organisation and key, computed here alone and kept in `row_lineage` and `stale_rows`. Equal
keys to Postgres have one name: 1.10 and 1.1 of `numeric`, one moment in two time zones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import MAX_PREC, Context, Decimal
from typing import Any, Final
from uuid import UUID
from zlib import crc32

import orjson

from engine.plan import Field, Plan
from engine.rows.extract import Extraction
from engine.rows.outcomes import ExtractionOutcome
from engine.spec.vocabulary import OnAbsent

#: Locks per spec: that of a unit is chosen by its organisation and by itself. Postgres has room for some thousand locks
#: in all, so one transaction never takes more than ORGANISATION_SLOTS * UNIT_SLOTS of a spec, however many units it
#: folds. An upsert rarely waits for the batch of another organisation.
ORGANISATION_SLOTS: Final = 64
UNIT_SLOTS: Final = 8
_EXACT: Final = Context(prec=MAX_PREC)


@dataclass(frozen=True, slots=True)
class Unit:
    """A row, or the rows of a parent, of one organisation."""

    org_id: str
    id: str  # the hash, as the text of a uuid
    #: Under `on_absent: delete`: the parent key, a JSON object of column -> text or null. Its spelling may differ.
    parent: str | None = field(default=None, compare=False)

    @property
    def slot(self) -> int:
        """The number of its lock among those of the spec, from 0 to ORGANISATION_SLOTS * UNIT_SLOTS - 1."""
        organisation = crc32(self.org_id.encode()) % ORGANISATION_SLOTS
        return organisation * UNIT_SLOTS + int(self.id[-2:], 16) % UNIT_SLOTS


def build_unit(plan: Plan, org_id: str, row: Mapping[str, Any]) -> Unit:
    """Return the unit of a row, given the values of its conflict columns."""
    fields = get_unit_fields(plan)
    values = [_make_canonical(row[column.name]) for column in fields]
    kind = "parent" if plan.on_absent is OnAbsent.DELETE else "key"
    digest = hashlib.blake2b(orjson.dumps([plan.name, org_id, kind, values]), digest_size=16)
    names = (column.name for column in fields)
    parent = orjson.dumps(dict(zip(names, values, strict=True))).decode() if kind == "parent" else None
    return Unit(org_id, str(UUID(bytes=digest.digest())), parent)


def get_unit_fields(plan: Plan) -> tuple[Field, ...]:
    """Return the fields that tell units apart: the conflict key, or under `on_absent: delete` the parent key."""
    return plan.parent_key if plan.on_absent is OnAbsent.DELETE else plan.key_fields


def group_rows_by_unit(plan: Plan, org_id: str, extraction: Extraction) -> dict[Unit, list[int]]:
    """Return the units a step result contributes to, with the numbers of its rows in each."""
    if extraction.outcome is not ExtractionOutcome.ROW:
        return {}
    if extraction.parent is not None:
        return {build_unit(plan, org_id, extraction.parent): list(range(len(extraction.rows)))}
    units: dict[Unit, list[int]] = {}
    for number, row in enumerate(extraction.rows):
        units.setdefault(build_unit(plan, org_id, row), []).append(number)
    return units


def list_locks(spec: str, units: Iterable[Unit]) -> list[int]:
    """Return the keys of the advisory locks that guard `units`, in the order in which every writer takes them."""
    return sorted({_hash_lock(spec, unit.slot) for unit in units})


def _hash_lock(spec: str, slot: int) -> int:
    digest = hashlib.blake2b(f"rows\0{spec}\0{slot}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _make_canonical(value: Any) -> str | None:
    """Return one text for all values that are equal as keys to Postgres, which can cast it back."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return "0" if value == 0 else format(value.normalize(_EXACT), "f")
        case float():
            return repr(value + 0.0)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
    return str(value)
