"""Build the statements that search a database for a person or company, and those that remove what is about them.

Names are searched by regular expressions over lower-case text. In some locales `lower` does not convert letters beyond
ASCII, so those that occur in the searched names are translated. JSON may write a character as an escape.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.sql.identifiers import quote, quote_table

_SPACE = r"(\s|\\[nrt])+"
#: By the pattern of a letter: that of all letters that are equal to it when case is ignored, and that `lower` keeps.
#: ß, the sigma at the end of a Greek word, and the Turkish İ, which is an i with a second dot in lower case.
_EQUAL_LETTERS: Final = {
    "ss": "(ss|ß|\\\\u00df)",
    r"(σ|\\u03c3)": r"(σ|ς|\\u03c[23])",
    "i(\u0307|\\\\u0307)": "(i(\u0307|\\\\u0307)?|İ|\\\\u0130)",
}


@dataclass(frozen=True, slots=True)
class TextSearch:
    """A search for several texts at once: `pattern` is applied to the result of `build_match` for a value."""

    pattern: str
    capitals: str  # letters beyond ASCII that `lower` may not convert
    smalls: str

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the condition that `build_match` builds."""
        return {"pattern": self.pattern, "capitals": self.capitals, "smalls": self.smalls}


def build_text_search(texts: Iterable[str]) -> TextSearch:
    """Return the search for `texts`, given in lower case. Letter case, white space and JSON escapes are ignored."""
    spellings = {form for text in texts for form in _list_spellings(text)}
    letters = sorted({letter for text in spellings for letter in text if not letter.isascii()})
    pairs = [(letter.upper(), letter) for letter in letters if letter.upper() != letter and len(letter.upper()) == 1]
    pattern = "|".join(sorted(map(_build_pattern, spellings))) or "(?!)"
    return TextSearch(pattern, "".join(capital for capital, _ in pairs), "".join(small for _, small in pairs))


def _list_spellings(text: str) -> set[str]:
    forms = {unicodedata.normalize(form, text).lower() for form in ("NFC", "NFD", "NFKC")}
    return {text.lower(), *forms, *(_percent_encode(form) for form in forms if "/" in form)}


def _percent_encode(text: str) -> str:
    return "".join(
        letter if letter.isascii() else "".join(f"%{byte:02x}" for byte in letter.encode()) for letter in text
    )


def _build_pattern(text: str) -> str:
    words = ("".join(map(_escape_letter, word)) for word in text.split())
    pattern = _SPACE.join(words)
    for spelled, pattern_of_all in _EQUAL_LETTERS.items():
        pattern = pattern.replace(spelled, pattern_of_all)
    return pattern


def _escape_letter(letter: str) -> str:
    if letter in '"\\':
        return rf"(\\)*\{letter}"  # JSON may escape it
    if letter.isalnum() and letter.isascii():
        return letter
    if letter.isascii():
        return "\\" + letter
    return rf"({letter}|\\u{ord(letter):04x})" if ord(letter) < 0x10000 else letter


def build_match(value: str) -> str:
    """Build the condition that the text expression `value` contains a searched text (`TextSearch.parameters`)."""
    return f"translate(lower({value}), %(capitals)s, %(smalls)s) ~ %(pattern)s"


#: Step results that mention a searched text. The caller reads their documents and decides whether they are about it.
FIND_STEPS_SQL = f"""
select s.id::text, s.pipeline_run_id::text, s.submission_id::text, s.operation_id, s.order_id::text,
    s.output_payload::text, s.input_payload::text
from step_results as s
where s.org_id = %(org_id)s::uuid
    and ({build_match("s.output_payload::text")} or {build_match("s.input_payload::text")})
"""

#: Runs whose input mentions a searched text.
FIND_RUNS_SQL = f"""
select r.id::text, r.submission_id::text, (r.blueprint_snapshot #> '{{entity,input}}')::text
from pipeline_runs as r
where r.org_id = %(org_id)s::uuid and {build_match("(r.blueprint_snapshot #> '{entity,input}')::text")}
"""

FIND_SUBMISSIONS_SQL = f"""
select u.id::text, u.input_payload::text from submissions as u
where u.org_id = %(org_id)s::uuid and {build_match("u.input_payload::text")}
"""

#: Orders whose `output` (the output's keys beside the answer) mentions a searched text.
FIND_ORDERS_SQL = f"""
select o.id::text, o.operation, o.output::text, o.step_result_id::text, o.pipeline_run_id::text, o.submission_id::text
from research_orders as o
where o.org_id = %(org_id)s::uuid and {build_match("o.output::text")}
"""

#: The orders of step results, and the step results of orders: they share an answer, so they are about the same.
FIND_SHARED_SQL = """
select o.id::text, s.id::text, s.pipeline_run_id::text, s.submission_id::text
from research_orders as o
left join step_results as s on s.org_id = o.org_id and s.order_id = o.id
where o.org_id = %(org_id)s::uuid
    and (o.id = any(%(orders)s::uuid[]) or o.step_result_id = any(%(steps)s::uuid[])
        or o.id in (select order_id from step_results where id = any(%(steps)s::uuid[])))
"""

#: The runs and submissions of step results.
FIND_PLACES_SQL = """
select s.id::text, s.pipeline_run_id::text, s.submission_id::text from step_results as s
where s.org_id = %(org_id)s::uuid and s.id = any(%(steps)s::uuid[])
"""

#: Tables whose rows name their step result, also those of specs that are no longer in the project.
FIND_SOURCED_TABLES_SQL = """
select n.nspname, c.relname from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
    and n.nspname not in ('pg_catalog', 'information_schema')
    and 3 = (select count(*) from pg_attribute as a where a.attrelid = c.oid and not a.attisdropped
             and a.attname in ('id', 'org_id', 'source_step_result_id'))
order by 1, 2
"""

#: Every table with columns of text or JSON: (schema, table, whether it has `id`, whether it has `org_id`, the columns).
LIST_TEXT_COLUMNS_SQL = """
select n.nspname, c.relname, bool_or(a.attname = 'id'), bool_or(a.attname = 'org_id'),
    array_agg(a.attname::text order by a.attnum) filter (
        where t.typcategory = 'S' or t.typname in ('json', 'jsonb', 'xml', 'hstore') or e.typcategory = 'S'
            or e.typname in ('json', 'jsonb')
    )
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
left join pg_type as e on e.oid = t.typelem and t.typcategory = 'A'
where c.relkind in ('r', 'p', 'm') and not c.relispartition
    and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%%'
group by n.nspname, c.relname, c.oid
order by 1, 2
"""

#: Lock the runs that are still the organisation's, then their step results and those found; return their ids.
LOCK_RUNS_SQL = """
select id::text from pipeline_runs where id = any(%(runs)s::uuid[]) and org_id = %(org_id)s::uuid order by id for update
"""

LOCK_STEPS_SQL = """
select id::text from step_results
where (id = any(%(steps)s::uuid[]) or pipeline_run_id = any(%(runs)s::uuid[])) and org_id = %(org_id)s::uuid
order by id for update
"""

FIND_UNFINISHED_RUNS_SQL = """
select id::text from pipeline_runs where id = any(%(runs)s::uuid[]) and status in ('queued', 'running') order by id
"""

READ_UNITS_SQL = """
select spec, unit::text, parent::text from row_lineage
where org_id = %(org_id)s::uuid and step_result_id = any(%(steps)s::uuid[])
"""

#: How many entries each table has that are deleted together with the step results; to be counted before.
COUNT_OF_STEPS_SQL = """
select 'step_persistence', count(*) from step_persistence where step_result_id = any(%(steps)s::uuid[])
union all
select 'row_lineage', count(*) from row_lineage where step_result_id = any(%(steps)s::uuid[])
union all
select 'pending_results', count(*) from pending_results where step_result_id = any(%(steps)s::uuid[])
"""

DELETE_STEPS_SQL = "delete from step_results where id = any(%(steps)s::uuid[]) and org_id = %(org_id)s::uuid"

#: Mark the units so that their rows are deleted once nothing contributes to them, whatever happened to them before.
MARK_UNITS_SQL = """
update stale_rows set remove_when_empty = true
where org_id = %(org_id)s::uuid and unit = any(%(units)s::uuid[])
"""

#: Delete the queued entries of tables that the caller does not fill: of removed specs, and of rebuilds.
DELETE_FOREIGN_STALE_SQL = """
delete from stale_rows
where org_id = %(org_id)s::uuid and unit = any(%(units)s::uuid[]) and spec <> all(%(specs)s::text[])
"""

#: Make the step results that contribute to the units pending again in a table that is being rebuilt.
FORGET_REBUILT_SQL = """
delete from step_persistence as ledger using row_lineage as entry
where entry.org_id = %(org_id)s::uuid and entry.spec = %(rebuilt)s and entry.unit = any(%(units)s::uuid[])
    and ledger.step_result_id = entry.step_result_id and ledger.spec = entry.spec
"""

READ_RUNS_SQL = """
select id::text, submission_id::text, blueprint_snapshot::text, error_message, error_details::text
from pipeline_runs where id = any(%(runs)s::uuid[])
"""

READ_RUN_STEPS_SQL = """
select id::text, pipeline_run_id::text, input_payload::text, output_payload::text, error_message, error_details::text
from step_results where pipeline_run_id = any(%(runs)s::uuid[]) and not id = any(%(steps)s::uuid[])
"""

READ_OUTPUTS_SQL = """
select pipeline_run_id::text, (output_payload #> '{operation_result,output}')::text
from step_results where id = any(%(steps)s::uuid[]) and output_payload is not null
"""

READ_SUBMISSIONS_SQL = """
select id::text, input_payload::text, source, metadata::text, idempotency_key
from submissions where id = any(%(submissions)s::uuid[])
"""

UPDATE_RUN_SQL = """
update pipeline_runs set blueprint_snapshot = %(blueprint)s::jsonb, error_message = %(message)s,
    error_details = %(details)s::jsonb
where id = %(id)s::uuid
"""

UPDATE_STEP_SQL = """
update step_results set input_payload = %(given)s::jsonb, output_payload = %(output)s::jsonb,
    error_message = %(message)s, error_details = %(details)s::jsonb
where id = %(id)s::uuid
"""

UPDATE_SUBMISSION_SQL = """
update submissions set input_payload = %(given)s::jsonb, source = %(source)s, metadata = %(metadata)s::jsonb,
    idempotency_key = %(key)s
where id = %(id)s::uuid
"""

#: An order is kept for its cost. Its question is blanked, so an equal question of a later step is bought again.
BLANK_ORDERS_SQL = """
update research_orders set question = 'erased ' || id, output = null, answer = null, error_message = null,
    erased_at = now()
where org_id = %(org_id)s::uuid and id = any(%(orders)s::uuid[]) and erased_at is null
"""

#: Of the tables of specs, those that have been created.
FIND_TABLES_SQL = "select spelled from unnest(%(tables)s::text[]) as spelled where to_regclass(spelled) is not null"


def build_find_rows_sql(table: str, columns: Sequence[str]) -> str:
    """Build the query for rows whose step result was deleted and whose `columns` mention a searched text.

    Returns the id and the values of the columns. Other rows are found by their step results.
    """
    match = " or ".join(build_match(f"stored.{quote(column)}") for column in columns)
    values = "".join(f", stored.{quote(column)}" for column in columns)
    return f"""
select stored.id::text{values} from {quote_table(table)} as stored
where stored.org_id = %(org_id)s::uuid and ({match})
    and not exists (select from step_results as source where source.id = stored.source_step_result_id)
"""


def build_sourced_rows_sql(schema: str, table: str) -> str:
    """Build the query for the ids of rows whose step result is one of `steps`, and of those among `rows`."""
    return f"""
select id::text from {quote(schema)}.{quote(table)}
where org_id = %(org_id)s::uuid and (source_step_result_id = any(%(steps)s::uuid[]) or id = any(%(rows)s::uuid[]))
"""


def build_delete_rows_sql(schema: str, table: str) -> str:
    """Build the statement that deletes those of `rows` to which nothing contributes any more, and all in `named`."""
    return f"""
delete from {quote(schema)}.{quote(table)}
where org_id = %(org_id)s::uuid and (id = any(%(named)s::uuid[]) or (
    id = any(%(rows)s::uuid[]) and (source_step_result_id is null or source_step_result_id = any(%(steps)s::uuid[]))
))
"""


def build_delete_rebuilt_sql(table: str) -> str:
    """Build the statement that deletes, from the new table of a rebuild, the rows of `steps` and those of the units.

    A row of a unit comes from a step result that contributes to it.
    """
    return f"""
delete from {quote_table(table)}
where org_id = %(org_id)s::uuid and (source_step_result_id = any(%(steps)s::uuid[]) or source_step_result_id in (
    select step_result_id from row_lineage
    where org_id = %(org_id)s::uuid and spec = %(rebuilt)s and unit = any(%(units)s::uuid[])
))
"""


def build_left_rows_sql(schema: str, table: str) -> str:
    """Build the query for the ids of those of `rows` that still exist."""
    return f"select id from {quote(schema)}.{quote(table)} where id = any(%(rows)s::uuid[])"


#: A digest in hexadecimal: letters such as "ada" in it are nobody's name.
_DIGEST: Final = "^[0-9a-f]{32,}$"


def build_mentions_sql(schema: str, table: str, columns: Sequence[str], *, has_id: bool, has_org: bool) -> str:
    """Build the query for the rows of a table that mention a searched text: (id or physical place, the columns)."""
    places = "id::text" if has_id else "ctid::text"
    texts = {column: f"{quote(column)}::text" for column in columns}
    matches = {column: f"({build_match(text)} and {text} !~ '{_DIGEST}')" for column, text in texts.items()}
    names = ", ".join(f"case when {match} then {_quote_text(column)} end" for column, match in matches.items())
    scope = "org_id::text = %(org_id)s and " if has_org else "id::text = %(org_id)s and " if table == "orgs" else ""
    return f"""
select {places}, array_remove(array[{names}]::text[], null) from {quote(schema)}.{quote(table)}
where {scope}({" or ".join(matches.values())})
order by 1 limit %(limit)s
"""


def _quote_text(text: str) -> str:
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"
