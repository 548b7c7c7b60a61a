"""The pydantic models of the YAML format: a spec as its author writes it.

The `description` of each field is the only text about that key: the help of editors and `docs/reference/format.md` are
made from it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from engine.provided_columns import PROVIDED_COLUMNS
from engine.spec.research_models import ResearchSpec
from engine.spec.strict_model import StrictModel
from engine.values.column_types import TYPES
from engine.values.normalizers import NORMALIZERS

#: A lower-case SQL identifier of at most 63 characters, Postgres's limit.
IDENTIFIER = r"^[a-z_][a-z0-9_]{0,62}$"
#: The name of a table, with or without its schema.
TABLE = r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$"
#: The id of an operation, as `POST /api/v1/submissions` takes it too: printable ASCII without spaces.
OPERATION_ID = r"^[!-~]{1,200}$"
SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"
UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

#: Parameters that every endpoint has beside the fields, so that no field can have their names.
RESERVED_PARAMETERS = ("limit", "offset", "cursor", "fields", "rows", "source_operation_id")
#: Further parameters of the query endpoint, so that no filter can have their names.
RESERVED_FILTERS = ("order", "q", "count")
#: Limits of Postgres: the columns of a table (minus the provided ones), and those of an index.
MOST_FIELDS = 1600 - len(PROVIDED_COLUMNS)
MOST_INDEXED = 32
#: The columns that Postgres itself adds to every table.
SYSTEM_COLUMNS = ("cmax", "cmin", "ctid", "tableoid", "xmax", "xmin")
#: The engine's own tables, which no spec may fill.
CORE_TABLES = (
    "api_tokens",
    "budgets",
    "change_numbers",
    "companies",
    "dex_migrations",
    "orgs",
    "pending_results",
    "pipeline_runs",
    "present_versions",
    "research_orders",
    "row_changes",
    "row_lineage",
    "spec_versions",
    "stale_rows",
    "step_persistence",
    "step_results",
    "submissions",
    "super_admins",
    "users",
)
#: Names that generated files and functions already have.
RESERVED_SPEC_NAMES = ("format", "index", "normalizers", "readme", "step_result")

#: First path segments of endpoints that belong to no spec.
RESERVED_SLUGS = (
    *("caller", "costs", "coverage", "orders", "organisations", "pipeline-runs", "reconcile", "research-orders"),
    *("runs", "specs", "step-results", "submissions"),
)

PathText = str  # JMESPath; the checks parse it
#: The path of an array; or a list of two paths, the second of an array inside each element of the first.
RowsPath = PathText | Annotated[list[PathText], Field(min_length=1, max_length=2)]


def build_slug(table: str) -> str:
    """Return the path segment of a table's endpoints: its name without the schema, with hyphens."""
    return table.rpartition(".")[2].replace("_", "-")


class FieldSpec(StrictModel):
    """One column: where its value comes from, and how it is converted."""

    type: str = Field(
        description="The column's Postgres type. A value of another kind is rejected, never converted by guessing.",
        json_schema_extra={"enum": [*sorted(TYPES)]},
    )
    path: PathText | None = Field(
        default=None,
        description="JMESPath over `output`, `context`, `step_input`, `run`, `operation` and, under `rows`, `item` "
        "(and `parent`, if `rows` is nested); put it in quotes. Null means missing. Required unless every operation "
        "has its own path.",
        examples=["output.domain || output.target_company_domain", "context.client_name", "item.name", "'a constant'"],
    )
    normalize: list[str] = Field(
        default=[],
        description="Normalizers by name, applied in order, to stored values and to filter values alike.",
        json_schema_extra={"items": {"type": "string", "enum": [*sorted(NORMALIZERS)]}},
        examples=[["domain"], ["strip_think", "json"]],
    )
    coalesce: list[str] | None = Field(
        default=None,
        min_length=2,
        description="Instead of `path`: names of other text fields. The value is that of the first one that has any, "
        "after normalizing. The engine computes it; request bodies do not contain it.",
        examples=[["person_linkedin_url", "person_email", "person_full_name"]],
    )
    required: bool = Field(
        default=False, description="A step result (under `rows`: an element) without this value is rejected."
    )
    on_missing: Literal["keep", "clear"] = Field(
        default="keep",
        description="What happens to the stored value when a newer step result has none: `keep` leaves it, `clear` "
        "overwrites it with NULL.",
    )
    on_invalid: Literal["reject", "missing"] = Field(
        default="reject",
        description="What happens to a value that a normalizer or the type refuses: `reject` rejects the row, "
        "`missing` treats the value as missing and records why. Not for conflict columns.",
    )
    null_key: Literal["match", "reject"] | None = Field(
        default=None,
        description="For a conflict column, what null means: with `match` it is a key value like any other, with "
        "`reject` the row is rejected, as by `required`. Default: `reject` if a path uses `item`, else `match`.",
    )
    filter: bool = Field(
        default=False, description="Whether queries may filter and order by the column; not for `jsonb`."
    )
    description: str = Field(
        default="",
        description="One sentence for the reference and the API documentation.",
        examples=["The researched company's domain, without `www.`."],
    )


class FieldOverride(StrictModel):
    """What one operation has instead of a field's own settings."""

    path: PathText | None = Field(
        default=None, description="The field's path in this operation's output.", examples=["output.customer_name"]
    )
    normalize: list[str] | None = Field(
        default=None,
        description="The field's normalizers in this operation, instead of those of the field.",
        json_schema_extra={"items": {"type": "string", "enum": [*sorted(NORMALIZERS)]}},
        examples=[["strip_think", "json"]],
    )


class Override(StrictModel):
    """What is different for one operation: its rows, guard, paths and normalizers, but never the table."""

    rows: RowsPath | None = Field(
        default=None, description="This operation's array of rows.", examples=["output.results"]
    )
    when: PathText | None = Field(
        default=None, description="This operation's guard.", examples=["output.response.status == 'completed'"]
    )
    fields: dict[str, FieldOverride] = Field(
        default={}, description="This operation's paths and normalizers, by field name."
    )


class TargetSpec(StrictModel):
    """An organisation, and its submissions that the spec's backfill script processes by default."""

    org_id: str = Field(
        pattern=UUID, description="The organisation, a UUID.", examples=["b0293785-aa7a-4234-8201-cc47305295f8"]
    )
    submissions: list[Annotated[str, Field(pattern=UUID)]] = Field(
        min_length=1, description="Submissions to fill from, UUIDs."
    )


def _expand_operations(value: Any) -> Any:
    """Convert a list of ids, or a mapping with empty values, to a mapping from id to override."""
    if isinstance(value, list) and all(isinstance(operation, str) for operation in value):
        return dict.fromkeys(value, Override())
    if isinstance(value, dict):
        return {name: Override() if override is None else override for name, override in value.items()}
    return value


def _spell_boolean(value: Any) -> Any:
    """Return a boolean as text, which is no version: to Python `true` equals 1."""
    return str(value) if isinstance(value, bool) else value


class Spec(StrictModel):
    """One operation (or several of one kind) and the table its results become rows of."""

    spec: Annotated[Literal[1], BeforeValidator(_spell_boolean)] = Field(description="Version of the format.")
    name: str = Field(
        pattern=IDENTIFIER,
        description="Equals the file's stem. Names the query function, and the spec on the command line.",
        examples=["company_intel_briefings"],
    )
    title: str = Field(
        min_length=1, description="For log lines, documentation and the console.", examples=["Company intel briefing"]
    )
    description: str = Field(
        default="", description="One sentence: what a row is.", examples=["One row per company and client lens."]
    )
    operations: Annotated[dict[str, Override], BeforeValidator(_expand_operations)] = Field(
        min_length=1,
        description="Operation ids (no spaces, at most 200 characters), as a list; or a mapping from id to what is "
        "different for that operation (`rows`, `when`, `fields.<name>.path` and `.normalize`), which may be empty.",
        examples=[["company.derive.intel_briefing"]],
    )
    research: ResearchSpec | None = Field(
        default=None,
        description="How the research of the operation is bought. A spec with `research` names one operation, and "
        "each operation has one such spec; other specs may read the same answers.",
    )
    table: str = Field(
        pattern=TABLE,
        description="The target table; a name with a dot is schema and table.",
        examples=["company_intel_briefings", "research.company_intel_briefings"],
    )
    slug: str | None = Field(
        default=None,
        pattern=SLUG,
        description="Path segment of the endpoints. Default: the table with hyphens.",
        examples=["company-intel-briefings"],
    )
    row_name: str = Field(
        pattern=IDENTIFIER,
        description="Singular; names the typed upsert function.",
        examples=["company_intel_briefing"],
    )
    conflict: list[str] = Field(
        min_length=1,
        max_length=MOST_INDEXED,
        description="The key: two rows with equal values in these columns are the same row. They must contain `org_id` "
        "and match a unique index. Numbers are stored without zeros at their end: 1.10 and 1.1 are one key.",
        examples=[["org_id", "company_domain", "client_company_name"]],
    )
    rows: RowsPath | None = Field(
        default=None,
        description="Path to an array: one row per element, which paths see as `item`. A list of two paths nests: the "
        "second goes into each element of the first; paths see the inner element as `item`, the outer as `parent`.",
        examples=["output.results", ["output.competitors", "item.sources"]],
    )
    on_absent: Literal["keep", "delete"] = Field(
        default="keep",
        description="With `rows`: what happens to the rows of elements that a newer step result no longer has: `keep` "
        "leaves them, `delete` removes them.",
    )
    when: PathText | None = Field(
        default=None,
        description="Guard: if it is falsy, the step result gives no row, and its outcome is `filtered`.",
        examples=["output.response.status == 'completed'"],
    )
    fields: dict[str, FieldSpec] = Field(
        min_length=1, max_length=MOST_FIELDS, description="The columns, in the order of the table."
    )
    indexes: list[Annotated[list[str], Field(min_length=1, max_length=MOST_INDEXED)]] = Field(
        default=[],
        description="More indexes for `dex draft-migration`, each a list of columns.",
        examples=[[["org_id", "customer_name"]]],
    )
    search: list[str] = Field(
        default=[],
        description="Columns of type `text` or `text[]` whose words the query's `q` searches;"
        " a drafted table stores them.",
        examples=[["round_name"]],
    )
    backfill: list[TargetSpec] = Field(default=[], description="Default targets of the backfill script.")

    @property
    def endpoint(self) -> str:
        """The path segment of the spec's endpoints."""
        return self.slug or build_slug(self.table)
