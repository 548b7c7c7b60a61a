"""Whether a plan fits its table, and the SQL that mends it.

In: a Plan and what the catalog says of its table. Out: Problems. It must not know how the catalog was read, nor who
asks: readiness and `dex check --database` show the same list. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.plan import Plan
from engine.sql.identifiers import quote, quoted
from engine.sql.tenant import TENANT_POLICY, TENANT_ROLE

#: Code -> (title, what it means). The SQL that mends it comes with each Problem.
PROBLEMS: Final[Mapping[str, tuple[str, str]]] = {
    "TABLE501": ("table missing", "The spec's table is not in the database."),
    "TABLE502": ("column missing", "A field, or a column every table has, is not in the table."),
    "TABLE503": ("type differs", "The column has another type than the spec says."),
    "TABLE504": (
        "no unique index",
        "`ON CONFLICT` needs a valid, immediate, unique index on exactly the conflict columns, without a predicate and"
        " without expressions.",
    ),
    "TABLE505": (
        "nullable key",
        "NULL is never equal to NULL in a plain unique index, so a key column that may be NULL doubles rows.",
    ),
    "TABLE506": ("column nobody feeds", "A NOT NULL column has no default and no field, so every insert fails."),
    "TABLE507": ("row level security off", "Without it a tenant is kept apart by the WHERE clause alone."),
    "TABLE508": ("no tenant policy", "Row level security is on, but no policy lets the tenant reach its own rows."),
    "TABLE509": ("policy too wide", "A policy lets the tenant's role reach rows without looking at the organisation."),
    "TABLE510": ("right missing", "The tenant's role may not read or write the table."),
    "TABLE511": ("column cannot be written", "A generated column takes no value, and a field feeds it."),
    "TABLE512": ("value may be missing", "The column is NOT NULL while its field may be missing."),
    "TABLE513": ("role missing", "The role every tenant works as is not in the database, or is not bound by policies."),
    "TABLE514": ("migration pending", "A migration of the project has not been applied to the database."),
}

#: Provided columns: name -> (type, whether it must have a default).
PROVIDED: Final[Mapping[str, tuple[str, bool]]] = {
    "id": ("uuid", True),
    "org_id": ("uuid", False),
    "source_submission_id": ("uuid", False),
    "source_pipeline_run_id": ("uuid", False),
    "source_recorded_at": ("timestamp with time zone", False),
    "created_at": ("timestamp with time zone", True),
    "updated_at": ("timestamp with time zone", True),
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One way in which a table does not fit. `sql` mends it, and is empty where a person has to decide."""

    spec: str
    code: str
    message: str
    sql: str = field(default="", compare=False)

    def __str__(self) -> str:
        first = f"{self.spec}: {self.code} {self.message}"
        return f"{first}\n    hint: {self.sql}" if self.sql else first

    def as_dict(self) -> dict[str, str]:
        return {"spec": self.spec, "code": self.code, "message": self.message, "sql": self.sql}


@dataclass(frozen=True, slots=True)
class Table:
    """What the catalog says of one plan's table."""

    plan: Plan
    facts: Mapping[str, Any]
    columns: Mapping[str, Mapping[str, Any]]
    indexes: Sequence[Mapping[str, Any]]
    policies: Sequence[Mapping[str, Any]]
    types: Mapping[str, str]  # the spec's name of a type -> the catalog's

    @property
    def name(self) -> str:
        return quote(self.plan.table)

    def problem(self, code: str, message: str, sql: str = "") -> Problem:
        return Problem(self.plan.name, code, message, sql)


def problems(table: Table) -> list[Problem]:
    """Return what keeps the plan from its table, by code."""
    return sorted(problem for question in _QUESTIONS for problem in question(table))


def no_table(plan: Plan) -> Problem:
    """Return the Problem of a table that does not exist."""
    sql = f"-- dex draft-migration {plan.name}, then dex migrate"
    return Problem(plan.name, "TABLE501", f"table `{plan.table}` does not exist", sql)


def _missing_columns(table: Table) -> Iterator[Problem]:
    wanted = {name: (kind, default) for name, (kind, default) in PROVIDED.items()}
    wanted |= {item.name: (table.types[item.type.sql], False) for item in table.plan.fields}
    for name, (kind, _) in wanted.items():
        if name not in table.columns:
            sql = f"ALTER TABLE {table.name} ADD COLUMN {quote(name)} {kind}{_PROVIDED_TAIL.get(name, '')};"
            yield table.problem("TABLE502", f"column `{name}` is missing from `{table.plan.table}`", sql)


_PROVIDED_TAIL: Final[Mapping[str, str]] = {
    "id": " PRIMARY KEY DEFAULT gen_random_uuid()",
    "org_id": " NOT NULL REFERENCES orgs(id) ON DELETE CASCADE",
    "source_submission_id": " REFERENCES submissions(id) ON DELETE SET NULL",
    "source_pipeline_run_id": " REFERENCES pipeline_runs(id) ON DELETE SET NULL",
    "created_at": " NOT NULL DEFAULT now()",
    "updated_at": " NOT NULL DEFAULT now()",
}


def _types(table: Table) -> Iterator[Problem]:
    fields = {item.name: table.types[item.type.sql] for item in table.plan.fields}
    spoken = {kind: name for name, kind in table.types.items()}
    for name, kind in {**{name: kind for name, (kind, _) in PROVIDED.items()}, **fields}.items():
        column = table.columns.get(name)
        if column and column["type"] != kind:
            sql = f"ALTER TABLE {table.name} ALTER COLUMN {quote(name)} TYPE {kind} USING {quote(name)}::{kind};"
            if name in fields and column["type"] in spoken:
                sql += f" -- or write `type: {spoken[column['type']]}` in the spec"
            message = f"column `{name}` of `{table.plan.table}` is `{column['type']}`, the spec says `{kind}`"
            yield table.problem("TABLE503", message, sql)


def _unique_index(table: Table) -> Iterator[Problem]:
    conflict = table.plan.conflict
    usable = [index for index in table.indexes if _unusable(index, conflict) is None]
    sql = _index_sql(table)
    if not usable:
        near = [why for index in table.indexes if (why := _near(index, conflict))]
        aside = f" ({'; '.join(near)})" if near else ""
        message = f"no unique index of `{table.plan.table}` is usable for `{', '.join(conflict)}`{aside}"
        yield table.problem("TABLE504", message, sql)
        return
    nullable = [name for name in conflict if name in table.columns and not table.columns[name]["not_null"]]
    if nullable and not all(index["nulls_equal"] for index in usable):
        strict = [index["name"] for index in usable if not index["nulls_equal"]]
        drop = " ".join(f"DROP INDEX {quote(name)};" for name in strict)
        named = ", ".join(f"`{name}`" for name in nullable)
        message = f"{named} may be NULL, and `{strict[0]}` lets rows with a NULL key repeat"
        yield table.problem("TABLE505", message, f"{drop} {sql}")


def _index_sql(table: Table) -> str:
    missing = {"not_null": False}  # as the SQL that adds a column makes it
    nullable = any(not table.columns.get(name, missing)["not_null"] for name in table.plan.conflict if name != "org_id")
    columns = quoted(table.plan.conflict)
    return f"CREATE UNIQUE INDEX ON {table.name} ({columns}){' NULLS NOT DISTINCT' if nullable else ''};"


def _unusable(index: Mapping[str, Any], conflict: Sequence[str]) -> str | None:
    """Why `ON CONFLICT` cannot take the index, None when it can. `conflict` columns may come in any order."""
    reasons = {
        "has other columns": sorted(index["columns"]) != sorted(conflict),
        "has expressions": index["expressions"],
        "is partial": index["partial"],
        "is invalid: its build failed": not index["valid"],
        "is deferrable": not index["immediate"],
    }
    return next((why for why, holds in reasons.items() if holds), None)


def _near(index: Mapping[str, Any], conflict: Sequence[str]) -> str:
    """Say why an index that looks right does not count."""
    columns = {name for name in index["columns"] if name}
    looks_right = columns == set(conflict) or (index["expressions"] and columns and columns < set(conflict))
    why = _unusable(index, conflict)
    if index["expressions"]:
        why = "has expressions"
    return f"`{index['name']}` {why}" if looks_right and why else ""


def _unfed(table: Table) -> Iterator[Problem]:
    fed = {item.name for item in table.plan.fields} | set(PROVIDED)
    needs_default = {name for name, (_, default) in PROVIDED.items() if default}
    for name, column in table.columns.items():
        open_ = column["not_null"] and not column["has_default"] and not column["generated"]
        if open_ and (name not in fed or name in needs_default):
            sql = f"ALTER TABLE {table.name} ALTER COLUMN {quote(name)} DROP NOT NULL;"
            if name in needs_default:
                default = "gen_random_uuid()" if name == "id" else "now()"
                sql = f"ALTER TABLE {table.name} ALTER COLUMN {quote(name)} SET DEFAULT {default};"
            message = f"column `{name}` of `{table.plan.table}` is NOT NULL and nothing feeds it"
            yield table.problem("TABLE506", message, sql)


def _unwritable(table: Table) -> Iterator[Problem]:
    for item in table.plan.fields:
        column = table.columns.get(item.name)
        if column is None:
            continue
        if column["generated"]:
            sql = f"ALTER TABLE {table.name} ALTER COLUMN {quote(item.name)} DROP EXPRESSION;"
            message = f"column `{item.name}` of `{table.plan.table}` is generated"
            yield table.problem("TABLE511", message, sql)
        elif column["not_null"] and not item.required:
            sql = f"ALTER TABLE {table.name} ALTER COLUMN {quote(item.name)} DROP NOT NULL;"
            message = f"column `{item.name}` is NOT NULL, and its field is not `required`"
            yield table.problem("TABLE512", message, f"{sql} -- or write `required: true` in the spec")


def _security(table: Table) -> Iterator[Problem]:
    if not table.facts["role_exists"] or table.facts["role_unbound"]:
        what = "is a superuser or bypasses row level security" if table.facts["role_unbound"] else "does not exist"
        sql = (
            f"ALTER ROLE {quote(TENANT_ROLE)} NOSUPERUSER NOBYPASSRLS;"
            if table.facts["role_exists"]
            else "-- dex migrate"
        )
        yield table.problem("TABLE513", f"role `{TENANT_ROLE}` {what}", sql)
    if not table.facts["secured"]:
        sql = f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY;"
        yield table.problem("TABLE507", f"row level security is off on `{table.plan.table}`", sql)
    needed = {"SELECT", "INSERT", "UPDATE"} | ({"DELETE"} if table.plan.on_absent == "delete" else set())
    if denied := needed.intersection(table.facts["denied"]):
        words = ", ".join(sorted(denied))
        sql = f"GRANT {words} ON {table.name} TO {quote(TENANT_ROLE)};"
        yield table.problem("TABLE510", f"role `{TENANT_ROLE}` lacks {words} on `{table.plan.table}`", sql)


_WORDS: Final = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}  # as pg_policy spells commands
_COMMANDS: Final = frozenset(_WORDS)


def _tenant_policies(table: Table) -> Iterator[Problem]:
    create = (
        f"DROP POLICY IF EXISTS tenant ON {table.name};"
        f" CREATE POLICY tenant ON {table.name} TO {quote(TENANT_ROLE)}"
        f" USING ({TENANT_POLICY}) WITH CHECK ({TENANT_POLICY});"
    )
    needed = _COMMANDS if table.plan.on_absent == "delete" else _COMMANDS - {"d"}
    wide = [policy for policy in table.policies if _is_wide(policy)]
    covered = _covered(policy for policy in table.policies if policy not in wide)
    for policy in wide:
        drop = f"DROP POLICY {quote(policy['name'])} ON {table.name};"
        message = f"policy `{policy['name']}` of `{table.plan.table}` does not ask for the organisation"
        yield table.problem("TABLE509", message, drop if needed <= covered else f"{drop} {create}")
    if lacking := needed - covered - _covered(wide):
        words = ", ".join(sorted(_WORDS[letter] for letter in lacking))
        message = f"`{table.plan.table}` has no policy that lets `{TENANT_ROLE}` {words}"
        yield table.problem("TABLE508", message, create)


def _is_wide(policy: Mapping[str, Any]) -> bool:
    """Whether a policy lets rows be read or written without looking at the organisation."""
    sides = {"r": ("reads",), "a": ("writes",), "d": ("reads",)}.get(policy["command"], ("reads", "writes"))
    return any("app.org_id" not in policy[side] for side in sides)


def _covered(policies: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    commands = [_COMMANDS if policy["command"] == "*" else {policy["command"]} for policy in policies]
    return frozenset().union(*commands)


#: The questions, in the order a person would mend them.
_QUESTIONS: Final[tuple[Callable[[Table], Iterable[Problem]], ...]] = (
    _missing_columns,
    _types,
    _unique_index,
    _unfed,
    _unwritable,
    _security,
    _tenant_policies,
)
