"""The endpoints that describe the specs: their columns, the path of each column, and their YAML text."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.context import Context
from api.dependencies import AppContext, Reader
from api.http.errors import Fault
from api.http.models import Data
from api.http.openapi import describe_errors
from api.http.route import ROUTER_OPTIONS
from engine.columns import list_columns, list_query_columns
from engine.errors import suggest_name
from engine.plan import OperationMapping, Plan
from engine.provided_columns import PROVIDED_COLUMNS
from engine.research_plan import Research
from engine.rows.filters import list_operators
from engine.rows.ordering import list_order_columns

router = APIRouter(
    prefix="/api/v1/specs", tags=["specs"], responses=describe_errors(400, 401, 422, 503), **ROUTER_OPTIONS
)


class ColumnSource(BaseModel):
    """Where the value of a column comes from in one operation."""

    operation: str
    path: Annotated[str | None, Field(description="null: derived from other columns.")]
    normalizers: list[str]


class SpecColumn(BaseModel):
    """A column of a spec's table."""

    name: str
    type: str
    description: str = ""
    provided: Annotated[bool, Field(description="Every table has this column, and the engine fills it.")]
    key: bool
    required: bool
    on_missing: str | None = None
    on_invalid: str | None = None
    coalesce: list[str] = []
    operators: Annotated[list[str], Field(description="The operators a query may filter it by.")]
    sortable: bool
    sources: list[ColumnSource]


class SpecMapping(BaseModel):
    """How the results of one operation become rows."""

    operation: str
    rows: list[str]
    when: str | None


class ResearchInput(BaseModel):
    """An input of the research; its paths are in order of priority."""

    name: str
    paths: list[str]
    normalizers: list[str]
    required: bool


class SpecResearch(BaseModel):
    """How the operation's research is bought from a provider."""

    operation: str
    provider: str
    processor: str
    fresh_for_seconds: float | None
    inputs: list[ResearchInput]
    prompt: Annotated[str, Field(description="In the answer of one spec, not in the list.")] = ""


class SpecFacts(BaseModel):
    """A spec, without its YAML text."""

    name: str
    title: str
    description: str
    slug: Annotated[str, Field(description="Path segment of its endpoints.")]
    table: str
    file: str
    row_name: str
    operations: list[str]
    conflict: Annotated[list[str], Field(description="The columns that identify a row, with `org_id`.")]
    search: Annotated[list[str], Field(description="The columns that `q` searches.")]
    many: Annotated[bool, Field(description="One step result may give several rows.")]
    on_absent: str
    mappings: list[SpecMapping]
    columns: list[SpecColumn]
    research: Annotated[
        SpecResearch | None, Field(description="null where another spec or none has the `research` block.")
    ]


class WholeSpec(SpecFacts):
    """A spec with its YAML text."""

    yaml: Annotated[str, Field(description="Its text; for tenants without `backfill`, with its organisations.")]


#: The facts that are attributes of a plan with the same names.
_PLAN_FIELDS: Final = [name for name in SpecFacts.model_fields if name not in ("mappings", "columns", "research")]


@router.get(
    "",
    summary="Every spec: its columns with their paths, normalizers, and filters and orders of queries",
    response_model=Data[list[SpecFacts]],
    response_model_exclude_unset=True,
)
async def list_specs(caller: Reader, context: AppContext) -> Any:
    """Return all specs of this API, in the order of their names."""
    return {"data": [describe_spec(plan) for plan in context.plans]}


@router.get(
    "/{spec}",
    summary="One spec, with its YAML text and its prompt",
    response_model=Data[WholeSpec],
    response_model_exclude_unset=True,
    responses=describe_errors(404),
)
async def read_spec(spec: str, caller: Reader, context: AppContext) -> Any:
    """Return one spec with its YAML text; only super-admins see the ids of organisations in it."""
    plan = find_spec(context, spec)
    description = describe_spec(plan)
    if plan.research is not None:
        description["research"]["prompt"] = plan.research.prompt
    return {"data": {**description, "yaml": plan.text.shared if caller.org_id else plan.text.whole}}


def find_spec(context: Context, name: str) -> Plan:
    """Return the plan called `name`. Raises Fault 404 when there is none."""
    known = {plan.name: plan for plan in context.plans}
    if name not in known:
        raise Fault("not_found", f"there is no spec `{name[:100]}`", hint=suggest_name(name, known))
    return known[name]


def describe_spec(plan: Plan) -> dict[str, Any]:
    """Return a plan as a JSON object with its columns, operations and research, but without its YAML text."""
    return {
        **{name: getattr(plan, name) for name in _PLAN_FIELDS},
        "mappings": [_describe_mapping(mapping) for mapping in plan.mappings],
        "columns": [_describe_column(plan, name) for name in list_columns(plan)],
        "research": plan.research and _describe_research(plan.research),
    }


def _describe_mapping(mapping: OperationMapping) -> dict[str, Any]:
    when = mapping.when.text if mapping.when else None
    return {"operation": mapping.operation, "rows": mapping.rows_texts, "when": when}


def _describe_column(plan: Plan, name: str) -> dict[str, Any]:
    asked = list_query_columns(plan).get(name)
    query_facts = {
        "operators": [] if asked is None else [operator.value for operator in list_operators(asked)],
        "sortable": name in list_order_columns(plan),
    }
    if name in PROVIDED_COLUMNS:
        column = PROVIDED_COLUMNS[name]
        constraints = {"key": name in plan.conflict, "required": not column.nullable}
        return {"name": name, "type": column.type, "provided": True, **constraints, **query_facts, "sources": []}
    field = plan.field(name)
    index = plan.fields.index(field)
    return {
        "name": name,
        "type": field.type.name,
        "description": field.description,
        "provided": False,
        "key": field.key,
        "required": field.required,
        "on_missing": field.on_missing,
        "on_invalid": field.on_invalid,
        "coalesce": field.coalesce,
        **query_facts,
        "sources": [_describe_source(mapping, index) for mapping in plan.mappings],
    }


def _describe_source(mapping: OperationMapping, index: int) -> dict[str, Any]:
    path = mapping.paths[index]
    normalizers = [normalizer.name for normalizer in mapping.fields[index].normalizers]
    return {"operation": mapping.operation, "path": path and path.text, "normalizers": normalizers}


def _describe_research(research: Research) -> dict[str, Any]:
    inputs = [
        {
            "name": research_input.name,
            "paths": [path.text for path in research_input.paths],
            "normalizers": [normalizer.name for normalizer in research_input.normalizers],
            "required": research_input.required,
        }
        for research_input in research.inputs
    ]
    return {
        "operation": research.operation,
        "provider": research.provider.name,
        "processor": research.processor,
        "fresh_for_seconds": research.fresh_for_seconds,
        "inputs": inputs,
    }
