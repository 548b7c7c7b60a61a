"""List runs and read step results, each step with its outcome under each spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from engine.plan import Plan
from engine.sql.identifiers import Statement
from engine.sql.named_queries import read_named_queries
from engine.sql.step_results import build_digest_parameters
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import run_as_tenant

QUERIES: Final = read_named_queries("engine.runs", "run_list.sql", shared=("engine.runs", "runs.sql"))
#: The most runs, newest first, whose inputs a text search reads.
SEARCH_WINDOW: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSearch:
    """The filters of `list_runs_with_steps`; each field is a parameter of its SQL."""

    org_id: str
    company_id: str | None = None  # only runs of this company
    status: str | None = None
    submission_id: str | None = None
    before: str | None = None  # only runs older than the run with this id
    texts: Sequence[str] = ()  # only runs whose input contains one of these, in any letter case
    limit: int = 50
    offset: int = 0


async def list_runs_with_steps(connection: Connection, plans: Sequence[Plan], wanted: RunSearch) -> list[bytes]:
    """Return one page of an organisation's runs, newest first, each a JSON text with its steps.

    Each step has its outcome under each of `plans`.
    """
    parameters = {**_build_parameters(wanted), **build_digest_parameters(plans)}
    return await _fetch_texts(connection, "list_runs_with_steps", wanted.org_id, parameters)


async def find_last_searched(connection: Connection, wanted: RunSearch) -> str | None:
    """Return the id of the oldest run whose input a text search read; None if it read those of all runs."""
    texts = await _fetch_texts(connection, "find_window_end", wanted.org_id, _build_parameters(wanted))
    return texts[0].decode() if texts else None


async def read_step_result(
    connection: Connection, plans: Sequence[Plan], org_id: str, step_result_id: str, company_id: str | None
) -> bytes | None:
    """Return a step result with its payloads as JSON text; None if the organisation has none with that id."""
    parameters = {"org_id": org_id, "company_id": company_id, "step_result_id": step_result_id}
    texts = await _fetch_texts(connection, "read_step_result", org_id, {**parameters, **build_digest_parameters(plans)})
    return texts[0] if texts else None


async def _fetch_texts(connection: Connection, query: str, org_id: str, parameters: dict[str, Any]) -> list[bytes]:
    async with wrap_errors():
        (rows,) = await run_as_tenant(connection, org_id, [Statement(QUERIES[query], parameters)])
    return [text for (text,) in rows if text is not None]


def _build_parameters(wanted: RunSearch) -> dict[str, Any]:
    patterns = [f"%{_escape_pattern(text)}%" for text in wanted.texts] or None
    window = SEARCH_WINDOW if patterns else wanted.limit + wanted.offset
    return {**asdict(wanted), "patterns": patterns, "window": window}


def _escape_pattern(text: str) -> str:
    r"""Escape `\`, `%` and `_`, so that LIKE matches the text literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
