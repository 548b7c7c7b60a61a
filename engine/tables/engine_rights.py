"""Which rights the engine's role has on which table: all that the API and the backfill need, but none to migrate.

The owner of the tables is not restricted by row level security; for this role, each table has a policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from engine.plan import Plan
from engine.sql.tenant import ENGINE_ROLE
from engine.tables.ddl import spell_identifier, spell_table


@dataclass(frozen=True, slots=True)
class Rights:
    """Privileges on a whole table, and the one column that may be updated if UPDATE is not among them.

    The right to update a column is what Postgres wants for locking a row.
    """

    privileges: tuple[str, ...]
    changed_column: str = ""


_READ: Final = Rights(("SELECT",))
_RECORD: Final = Rights(("SELECT", "INSERT", "UPDATE"))
_WRITE: Final = Rights(("SELECT", "INSERT", "UPDATE", "DELETE"))

#: The engine's own tables. Erasing, creating tokens and setting budgets need the login that migrates.
CORE_RIGHTS: Final[Mapping[str, Rights]] = {
    "orgs": _READ,
    "companies": _READ,
    "users": _READ,
    "super_admins": _READ,
    "api_tokens": Rights(("SELECT",), "last_used_at"),
    "submissions": _RECORD,
    "pipeline_runs": _RECORD,
    "step_results": _RECORD,
    "research_orders": _RECORD,
    "budgets": Rights(("SELECT",), "updated_at"),
    "present_versions": _READ,
    "step_persistence": _WRITE,
    "pending_results": _WRITE,
    "row_lineage": _WRITE,
    "stale_rows": _WRITE,
    "spec_versions": _RECORD,
    "row_changes": Rights(("SELECT",), "number"),
    "change_numbers": _RECORD,
    "dex_migrations": _READ,
}
#: Functions that are called directly, not by a trigger.
PLAIN_FUNCTIONS: Final = (
    "choose_recorded_at",
    "follow_changes",
    "join_words",
    "note_changes_of",
    "pin_search_path",
    "queue_rows_of_step",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAccess:
    """A table as the catalog describes it, and what the engine's role may do with it."""

    name: str
    owner: str
    mine: bool  # whether the current user may change the table
    row_security: bool
    privileges: list[str]
    changes_column: bool  # whether the role may update the column in `Rights`
    policy: bool  # whether the table has the policy that lets the role see all rows


def list_table_rights(plans: Iterable[Plan]) -> dict[str, Rights]:
    """Return the rights on every table by its name, including those of specs."""
    return {**CORE_RIGHTS, **{plan.table: _WRITE for plan in plans}}


def has_access(table: TableAccess, rights: Rights) -> bool:
    """Return whether the engine's role has exactly these rights on a table, and sees all its rows."""
    return (
        set(table.privileges) == set(rights.privileges)
        and table.changes_column == bool(rights.changed_column or "UPDATE" in rights.privileges)
        and table.policy == table.row_security
    )


def build_access_statements(table: TableAccess, rights: Rights) -> list[str]:
    """Return the statements that give the engine's role exactly these rights on a table, and let it see all rows."""
    name = spell_table(table.name)
    column = f", UPDATE ({spell_identifier(rights.changed_column)})" if rights.changed_column else ""
    statements = [
        f"REVOKE ALL ON {name} FROM {ENGINE_ROLE}",
        f"GRANT {', '.join(rights.privileges)}{column} ON {name} TO {ENGINE_ROLE}",
    ]
    if table.row_security:
        statements += [
            f"DROP POLICY IF EXISTS engine ON {name}",
            f"CREATE POLICY engine ON {name} TO {ENGINE_ROLE} USING (true) WITH CHECK (true)",
        ]
    return statements
