"""Compare the indexes of a table with those that its plan needs; without access to a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.plan import Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.tables.catalog import IndexRow, Table
from engine.tables.ddl import build_drop_index, build_unique_index
from engine.tables.differences import Code, Difference
from engine.tables.query_indexes import list_missing_indexes


def compare_indexes(plan: Plan, table: Table) -> list[Difference]:
    """Return the indexes for queries that the table lacks."""
    return [
        Difference(
            plan.name,
            Code.INDEX_MISSING,
            f"no index of `{plan.table}` serves {wanted.purpose}: {wanted.columns}",
            wanted.build_sql(plan.table),
            column=wanted.keys[min(1, len(wanted.keys) - 1)].name,
        )
        for wanted in list_missing_indexes(plan, table)
    ]


def compare_key_index(plan: Plan, table: Table) -> Iterator[Difference]:
    """Yield a difference if no unique index serves the key, or one that does lets rows with a null key repeat."""
    unique = [index for index in table.indexes if index.unique]
    usable = list_key_indexes(plan, table)
    nullable = [name for name in plan.conflict if name in table.columns and not table.columns[name].not_null]
    sql = build_unique_index(plan.table, plan.conflict, nulls_equal=is_key_nullable(plan, table))
    if not usable:
        near = [f"`{index.name}` {why}" for index in unique if (why := _explain_near_miss(index, plan.conflict))]
        aside = f" ({'; '.join(near)})" if near else ""
        message = f"no unique index of `{plan.table}` is usable for `{', '.join(plan.conflict)}`{aside}"
        yield Difference(plan.name, Code.NO_UNIQUE_INDEX, message, sql)
    elif nullable and not all(index.nulls_equal for index in usable):
        strict = [index.name for index in usable if not index.nulls_equal]
        drops = "".join("\n" + build_drop_index(plan.table, name, is_constraint=False) for name in strict)
        names = ", ".join(f"`{name}`" for name in nullable)
        message = f"{names} may be NULL, and `{strict[0]}` lets rows with a NULL key repeat"
        yield Difference(plan.name, Code.NULLABLE_KEY, message, sql + drops)


def list_key_indexes(plan: Plan, table: Table) -> list[IndexRow]:
    """Return the unique indexes that `ON CONFLICT` over the key of the plan can use."""
    return [index for index in table.indexes if index.unique and _explain_unusable(index, plan.conflict) is None]


def is_key_nullable(plan: Plan, table: Table) -> bool:
    """Return whether a key column of the table is nullable; a missing one counts, since it is added as nullable."""
    names = [name for name in plan.conflict if name != "org_id"]
    return any(name not in table.columns or not table.columns[name].not_null for name in names)


def _explain_unusable(index: IndexRow, conflict: Sequence[str]) -> str | None:
    """Return why `ON CONFLICT` cannot use a unique index; None if it can. The order of columns does not matter."""
    reasons = {
        "has other columns": sorted(index.columns) != sorted(conflict),
        "has expressions": index.has_expressions,
        "is partial": index.partial,
        "is invalid: its build failed": not index.valid,
        "is deferrable": not index.immediate,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _explain_near_miss(index: IndexRow, conflict: Sequence[str]) -> str | None:
    """Return why a unique index on the key columns cannot be used; None if it can, and for other indexes."""
    columns = {name for name in index.columns if name}
    if index.has_expressions:
        return "has expressions" if columns and columns <= set(conflict) else None
    return _explain_unusable(index, conflict) if columns == set(conflict) else None


def compare_old_key(plan: Plan, table: Table) -> list[Difference]:
    """Return the unique indexes that remain of a former key: they refuse rows that have different keys now."""
    return [
        Difference(
            plan.name,
            Code.UNIQUE_INDEX_LEFT,
            f"unique index `{index.name}` of `{plan.table}` is on {', '.join(index.columns)}, which is not the key:"
            " it refuses rows that the key tells apart",
            build_drop_index(plan.table, index.name, is_constraint=index.constraint),
        )
        for index in list_left_indexes(plan, table)
    ]


def list_left_indexes(plan: Plan, table: Table) -> list[IndexRow]:
    """Return the unique indexes that refuse rows which have different keys in the plan."""
    unique = [index for index in table.indexes if index.unique and index.valid and not index.primary]
    return [index for index in unique if _refuses_other_keys(plan, table, index)]


def compare_superfluous(plan: Plan, table: Table) -> list[Difference]:
    """Return the indexes that are of no use: their build failed, or another index does all that they do."""
    return [
        Difference(
            plan.name,
            Code.INDEX_SUPERFLUOUS,
            f"index `{index.name}` of `{plan.table}` serves nothing: {reason}",
            build_drop_index(plan.table, index.name, is_constraint=False),
        )
        for index, reason in list_superfluous_indexes(table)
    ]


def list_superfluous_indexes(table: Table) -> list[tuple[IndexRow, str]]:
    """Return the indexes that are of no use, each with the reason. Of two equal ones, one with a constraint is kept."""
    superfluous: list[tuple[IndexRow, str]] = []
    kept = sorted(table.indexes, key=lambda index: (not index.primary, not index.constraint, index.name))
    for index in kept[::-1]:
        if index.constraint or index.primary:
            continue
        gone = {other.name for other, _ in superfluous}
        if not index.valid:
            superfluous.append((index, "its build failed"))
        elif other := next(
            (candidate for candidate in kept if candidate.name not in gone and _can_replace(candidate, index)), None
        ):
            superfluous.append((index, f"`{other.name}` serves the same and more"))
    return superfluous[::-1]


def _can_replace(replacement: IndexRow, index: IndexRow) -> bool:
    """Return whether the index `replacement` serves every query of `index`, and refuses all rows that it refuses."""
    if (
        replacement.name == index.name
        or not replacement.valid
        or any(either.partial or either.has_expressions or either.method != "btree" for either in (replacement, index))
    ):
        return False
    length = len(index.columns)
    replacement_keys, keys = (
        list(zip(either.columns, either.collations, either.kinds, strict=True)) for either in (replacement, index)
    )
    if replacement_keys[:length] != keys or not set(index.included) <= {*replacement.columns, *replacement.included}:
        return False
    is_same_key = (
        length == len(replacement.columns) and replacement.nulls_equal == index.nulls_equal and replacement.immediate
    )
    return not index.unique or (replacement.unique and is_same_key)


def _refuses_other_keys(plan: Plan, table: Table, index: IndexRow) -> bool:
    """Return whether a unique index can refuse two rows that have different keys.

    An index with a predicate or an expression is regarded as wanted. A column that nothing writes is null in every row,
    or has its default, which is regarded as unique.
    """
    if index.partial or index.has_expressions or set(plan.conflict).issubset(index.columns):
        return False
    written = {"org_id", *(column.name for column in plan.fields), *SOURCE_COLUMNS}
    unwritten = [name for name in index.columns if name not in written]
    return not unwritten or (index.nulls_equal and not any(table.columns[name].has_default for name in unwritten))
