"""Plan -> the next migration: its table, or the columns and indexes its table lacks.

In: a plan, the names of the migrations there are, and what the table has if it is there. Out: file name and SQL in the
pattern of migrations 015 to 024. It must not know a database. It never drops and never narrows: what could lose data
stands as a comment, for a person to decide.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from engine.errors import EngineError
from engine.plan import Field, Plan
from engine.sql.identifiers import quote
from engine.sql.tenant import TENANT_POLICY, TENANT_ROLE
from engine.tables.catalog import Existing

#: Provided columns: those before the fields, and those behind.
_BEFORE: Final[dict[str, str]] = {
    "id": "UUID PRIMARY KEY DEFAULT gen_random_uuid()",
    "org_id": "UUID NOT NULL REFERENCES orgs(id) ON DELETE CASCADE",
}
_BEHIND: Final[dict[str, str]] = {
    "source_submission_id": "UUID REFERENCES submissions(id) ON DELETE SET NULL",
    "source_pipeline_run_id": "UUID REFERENCES pipeline_runs(id) ON DELETE SET NULL",
    "source_recorded_at": "TIMESTAMPTZ",
    "created_at": "TIMESTAMPTZ NOT NULL DEFAULT NOW()",
    "updated_at": "TIMESTAMPTZ NOT NULL DEFAULT NOW()",
}
#: Type names of the catalog -> the spec's, where they differ.
_CATALOG: Final[Mapping[str, str]] = {"timestamp with time zone": "timestamptz"}
_NEWEST: Final = ("created_at DESC", "id DESC")
_LONGEST: Final = 63  # bytes of an identifier; Postgres cuts what is longer, and two names may then be one
#: What Postgres takes for itself, so that it has to be quoted (`pg_get_keywords`, reserved, of version 18).
_RESERVED: Final = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
returning right select session_user similar some symmetric system_user table tablesample then to trailing true union
unique user using variadic verbose when where window with
"""


class NothingToDraft(EngineError):
    """The table has every column and index of the spec, or a migration that is not applied yet makes it."""


def emit(plan: Plan, migrations: Iterable[str], table: Existing | None) -> tuple[str, str]:
    """Return file name and text of the next migration.

    `migrations` are the names of the files there are; `table` is None when it does not exist. Raises NothingToDraft
    when there is nothing to add.
    """
    names = list(migrations)
    number = 1 + max((int(found[0]) for name in names if (found := re.match(r"\d+", name))), default=0)
    if table is None:
        _must_be_new(plan, names)
        return f"{number:03d}_{plan.table}.sql", create(plan)
    provided = [name for name in (*_BEFORE, *_BEHIND) if name not in table.columns]
    added = [*provided, *(item.name for item in plan.fields if item.name not in table.columns)]
    if not added and not list(_lacking(plan, table)):
        hint = "`dex check --database` says whether types, keys and policies fit too"
        raise NothingToDraft(f"table `{plan.table}` has every column and index of `{plan.name}`", hint=hint)
    what = added[0] if len(added) == 1 else "columns" if added else "indexes"
    return f"{number:03d}_{plan.table}_{what}.sql", alter(plan, table)


def _must_be_new(plan: Plan, names: Iterable[str]) -> None:
    for name in names:
        if re.fullmatch(rf"\d+_{plan.table}\.sql", name):
            message = f"table `{plan.table}` does not exist, but `{name}` is there to make it"
            raise NothingToDraft(message, hint="apply it with `dex migrate`, or remove it to draft it anew")


def create(plan: Plan) -> str:
    """Return the SQL of a new table with all that belongs to it."""
    blocks = (
        _comment(
            f"{plan.title}. {plan.description}", f"Drafted by `dex draft-migration {plan.name}` from {plan.file}."
        ),
        _table(plan),
        "\n".join(_indexes(plan)),
        _trigger(plan),
        _security(plan),
        _compression(plan, plan.fields),
    )
    return "\n\n".join(filter(None, blocks)) + "\n"


def alter(plan: Plan, table: Existing) -> str:
    """Return the SQL that adds to `table` what the plan has more."""
    added = [item for item in plan.fields if item.name not in table.columns]
    blocks = (
        _comment(f"{plan.title}: what {plan.file} has more.", f"Drafted by `dex draft-migration {plan.name}`."),
        "\n".join(_additions(plan, table.columns)),
        "\n".join(_lacking(plan, table)),
        _compression(plan, added),
        "\n".join(_wider_key(plan, added)),
        "\n".join(_not_touched(plan, table.columns)),
    )
    return "\n\n".join(filter(None, blocks)) + "\n"


# --- a new table ----------------------------------------------------------------------------------------------------


def _table(plan: Plan) -> str:
    fields = {item.name: f"{_type(item)}{' NOT NULL' if item.required else ''}" for item in plan.fields}
    lines = (f"    {_name(name)} {kind}" for name, kind in (_BEFORE | fields | _BEHIND).items())
    return f"CREATE TABLE IF NOT EXISTS {_name(plan.table)} (\n" + ",\n".join(lines) + "\n);"


def _indexes(plan: Plan) -> Iterator[str]:
    yield _dedup_index(plan, "dedup")
    yield _index(plan, "org", ("org_id", *_NEWEST))
    yield from (_index(plan, suffix, columns) for suffix, columns in _asked(plan))
    yield _index(plan, "source_submission", ("source_submission_id",))
    yield _index(plan, "source_run", ("source_pipeline_run_id",))


def _dedup_index(plan: Plan, suffix: str) -> str:
    nullable = any(not item.required for item in plan.key_fields)
    return _index(plan, suffix, plan.conflict, unique=True, tail=" NULLS NOT DISTINCT" if nullable else "")


def _asked(plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the spec asks an index for: a filter's ends in the order of the answer."""
    yield from ((f"{item.name}_newest", ("org_id", item.name, *_NEWEST)) for item in plan.filters)
    yield from ((f"by_{'_'.join(columns)}", columns) for columns in plan.indexes)


def _index(plan: Plan, suffix: str, columns: Sequence[str], *, unique: bool = False, tail: str = "") -> str:
    kind = "UNIQUE INDEX" if unique else "INDEX"
    listed = ", ".join(_column(column) for column in columns)
    name = _short(f"idx_{plan.table}_{suffix}")
    return f"CREATE {kind} IF NOT EXISTS {_name(name)}\n    ON {_name(plan.table)} ({listed}){tail};"


def _trigger(plan: Plan) -> str:
    name, table = _name(_short(f"update_{plan.table}_updated_at")), _name(plan.table)
    return (
        f"DROP TRIGGER IF EXISTS {name} ON {table};\n"
        f"CREATE TRIGGER {name}\n    BEFORE UPDATE ON {table}\n"
        "    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();"
    )


def _security(plan: Plan) -> str:
    table = _name(plan.table)
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;\n"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {TENANT_ROLE};\n"
        f"DROP POLICY IF EXISTS tenant ON {table};\n"
        f"CREATE POLICY tenant ON {table} TO {TENANT_ROLE}\n"
        f"    USING ({TENANT_POLICY})\n    WITH CHECK ({TENANT_POLICY});"
    )


def _compression(plan: Plan, fields: Iterable[Field]) -> str:
    """lz4 for the documents, where the server is built with it."""
    documents = [item.name for item in fields if item.type.name == "jsonb"]
    if not documents:
        return ""
    table = _name(plan.table)
    lines = (f"    ALTER TABLE {table} ALTER COLUMN {_name(name)} SET COMPRESSION lz4;" for name in documents)
    return (
        "DO $$\nBEGIN\n" + "\n".join(lines) + "\nEXCEPTION WHEN feature_not_supported THEN\n"
        "    RAISE NOTICE 'this server is built without lz4; the columns keep its default compression';\nEND;\n$$;"
    )


# --- an existing one ------------------------------------------------------------------------------------------------


def _additions(plan: Plan, columns: Mapping[str, str]) -> Iterator[str]:
    table = _name(plan.table)
    for name, kind in (_BEFORE | _BEHIND).items():
        if name not in columns:
            yield f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {_name(name)} {kind};"
    for item in plan.fields:
        if item.name not in columns:
            yield from _reason_to_be_nullable(plan, item)
            yield f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {_name(item.name)} {_type(item)};"


def _lacking(plan: Plan, table: Existing) -> Iterator[str]:
    """The indexes the spec asks for and the table has not, under whatever name; a longer one serves as well."""
    for suffix, columns in _asked(plan):
        bare = tuple(column.partition(" ")[0] for column in columns)
        if not any(known[: len(bare)] == bare for known in table.indexes):
            yield _index(plan, suffix, columns)


def _reason_to_be_nullable(plan: Plan, item: Field) -> Iterator[str]:
    if item.required:
        yield f"-- `{item.name}` is required, but the rows stored already have no value for it. Once"
        yield f"-- `dex backfill {plan.name} --all` has filled them:"
        yield f"--     ALTER TABLE {_name(plan.table)} ALTER COLUMN {_name(item.name)} SET NOT NULL;"


def _wider_key(plan: Plan, added: Sequence[Field]) -> Iterator[str]:
    """A key with a new column needs its index at once; the old one stays until a person drops it."""
    keys = [item.name for item in added if item.key]
    if keys:
        yield f"-- The key has grown by {', '.join(keys)}. The old unique index still refuses rows that differ in"
        yield "-- nothing else; once no older release writes:"
        yield f"--     DROP INDEX {_name(_short(f'idx_{plan.table}_dedup'))};"
        yield _dedup_index(plan, f"dedup_{'_'.join(keys)}")


def _not_touched(plan: Plan, columns: Mapping[str, str]) -> Iterator[str]:
    """What differs and is left to a person."""
    for item in plan.fields:
        found = _CATALOG.get(columns.get(item.name, ""), columns.get(item.name, ""))
        if found and found != item.type.sql:
            yield f"-- `{item.name}` is {found} here and {item.type.sql} in the spec; changing a type may lose values:"
            yield (
                f"--     ALTER TABLE {_name(plan.table)} ALTER COLUMN {_name(item.name)} TYPE {_type(item)}"
                f" USING {_name(item.name)}::{_type(item)};"
            )
    yield "-- `dex check --database` names whatever else does not fit, with the SQL that mends it"


# --- spelling -------------------------------------------------------------------------------------------------------


def _type(item: Field) -> str:
    return item.type.sql.upper()


def _column(text: str) -> str:
    name, _, order = text.partition(" ")
    return f"{_name(name)} {order}".strip()


def _name(identifier: str) -> str:
    """The identifier as a person would write it: quoted only where it must be."""
    return quote(identifier) if identifier in _RESERVED.split() else identifier


def _short(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _comment(*paragraphs: str) -> str:
    """Comment lines; no paragraph can break out of them."""
    wrapped = (textwrap.wrap(" ".join(text.split()), 117) for text in paragraphs)
    return "\n--\n".join("\n".join(f"-- {line}" for line in lines) for lines in wrapped)
