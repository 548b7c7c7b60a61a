"""The differences between a database and the plans, each with the SQL that repairs it.

`engine/tables/compare.py` and `compare_indexes.py` find them. `dex check --database` and `/readyz` show all of them;
`engine/tables/draft_migration.py` drafts a migration from those that can be repaired without losing data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Code(StrEnum):
    """The code of a difference, as users see it."""

    TABLE_MISSING = "TABLE501"
    COLUMN_MISSING = "TABLE502"
    TYPE_DIFFERS = "TABLE503"
    NO_UNIQUE_INDEX = "TABLE504"
    NULLABLE_KEY = "TABLE505"
    COLUMN_UNFILLED = "TABLE506"
    ROW_SECURITY_OFF = "TABLE507"
    NO_TENANT_POLICY = "TABLE508"
    POLICY_TOO_WIDE = "TABLE509"
    PRIVILEGE_MISSING = "TABLE510"
    COLUMN_GENERATED = "TABLE511"
    COLUMN_NOT_NULL = "TABLE512"
    ROLE_UNFIT = "TABLE513"
    MIGRATION_PENDING = "TABLE514"
    INDEX_MISSING = "TABLE520"
    CHANGES_UNRECORDED = "TABLE521"
    UNIQUE_INDEX_LEFT = "TABLE522"
    ROWS_OF_OLD_KEY = "TABLE523"
    INDEX_SUPERFLUOUS = "TABLE524"
    WORDS_NOT_STORED = "TABLE525"


#: By code: the title, and what it means, for `docs/errors.md`.
PROBLEMS: Final[Mapping[str, tuple[str, str]]] = {
    Code.TABLE_MISSING: ("table missing", "The spec's table is not in the database."),
    Code.COLUMN_MISSING: ("column missing", "A field, or a column every table has, is not in the table."),
    Code.TYPE_DIFFERS: ("type differs", "The column has another type than the spec says."),
    Code.NO_UNIQUE_INDEX: (
        "no unique index",
        "`ON CONFLICT` needs a valid, immediate, unique index on exactly the conflict columns, without a predicate and"
        " without expressions.",
    ),
    Code.NULLABLE_KEY: (
        "nullable key",
        "NULL is never equal to NULL in a plain unique index, so a key column that may be NULL doubles rows.",
    ),
    Code.COLUMN_UNFILLED: (
        "column nobody feeds",
        "A NOT NULL column has no default and no field, so every insert fails.",
    ),
    Code.ROW_SECURITY_OFF: (
        "row level security off",
        "Without it a tenant is kept apart by the WHERE clause alone.",
    ),
    Code.NO_TENANT_POLICY: (
        "no tenant policy",
        "Row level security is on, but no policy lets the tenant reach its own rows.",
    ),
    Code.POLICY_TOO_WIDE: (
        "policy too wide",
        "A policy lets the tenant's role reach rows without looking at the organisation.",
    ),
    Code.PRIVILEGE_MISSING: ("right missing", "The tenant's role may not read or write the table."),
    Code.COLUMN_GENERATED: ("column cannot be written", "A generated column takes no value, and a field feeds it."),
    Code.COLUMN_NOT_NULL: ("value may be missing", "The column is NOT NULL while its field may be missing."),
    Code.ROLE_UNFIT: (
        "role missing",
        "The role every tenant works as is not in the database, or is not bound by policies.",
    ),
    Code.MIGRATION_PENDING: (
        "migration pending",
        "A migration of the project has not been applied to the database.",
    ),
    Code.INDEX_MISSING: (
        "index missing",
        "No index serves a query of the endpoint: it is answered, by reading more rows than it needs.",
    ),
    Code.CHANGES_UNRECORDED: (
        "changes not noted",
        "The table lacks the triggers that note what is written and removed: `changes` would skip it.",
    ),
    Code.UNIQUE_INDEX_LEFT: (
        "unique index left over",
        "A unique index on other columns than the key, as a changed key leaves one: it refuses rows of other keys.",
    ),
    Code.ROWS_OF_OLD_KEY: (
        "rows of an old key",
        "Rows lack a value that the spec requires: they were written under an earlier spec, and nothing removes them.",
    ),
    Code.INDEX_SUPERFLUOUS: (
        "index serves nothing",
        "Its build failed, or another index begins with the same columns: it only costs whoever writes.",
    ),
    Code.WORDS_NOT_STORED: (
        "words not stored",
        "The table does not store the words of the columns under `search`, or those of others: a query with `q` is"
        " answered, by making them from the text of every row of the organisation.",
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One way in which the database differs from a plan. `spec` is "" if it concerns the whole database."""

    spec: str
    code: Code
    message: str
    sql: str = field(default="", compare=False)  # the SQL that repairs it; "" if SQL alone cannot
    advice: str = field(default="", compare=False)  # what a person can do instead
    column: str = field(default="", compare=False)  # the column that the message is about

    @property
    def hint(self) -> str:
        """The SQL on one line, with the advice as a comment."""
        sql = self.sql.replace("\n    ", " ").replace("\n", " ")
        return f"{sql} -- {self.advice}".strip() if self.advice else sql

    def __str__(self) -> str:
        first = f"{self.spec or 'migrations'}: {self.code} {self.message}"
        return f"{first}\n    hint: {self.hint}" if self.hint else first

    def as_dict(self) -> dict[str, str]:
        """Return the entry for `/readyz`."""
        spec = {"spec": self.spec} if self.spec else {}
        return {**spec, "code": self.code.value, "message": self.message, "sql": self.hint}


def report_missing_table(spec: str, table: str) -> Difference:
    """Return the difference of a spec whose table does not exist."""
    advice = f"dex draft-migration {spec}, then dex migrate"
    return Difference(spec, Code.TABLE_MISSING, f"table `{table}` does not exist", advice=advice)


def report_pending_migration(reason: str) -> Difference:
    """Return the difference of a database to which not all migrations are applied."""
    return Difference("", Code.MIGRATION_PENDING, reason, advice="dex migrate")
