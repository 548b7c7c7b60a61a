"""Build the SQL of full-text search: the words of a row, and the column in which its table stores them.

Full text is not leakproof, so no index serves it under row level security: the words of every row of the organisation
are looked at. Making them from a text takes longer than reading them, so a drafted table stores them in a column that
Postgres computes. A table without it is searched too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from engine.plan import Plan
from engine.provided_columns import SEARCH_COLUMN
from engine.sql.identifiers import quote

#: The text search configuration: words match as they are written, without stemming, in any language.
_CONFIGURATION: Final = "simple"
#: The characters of a row that are searched: whatever they are, their `tsvector` is below its limit of a megabyte.
SEARCHED_CHARACTERS: Final = 100_000

#: The columns whose words a table stores, in alphabetical order; no row if it stores none, or in another way: by
#: another configuration, of fewer characters, or none for a row in which a column is null.
SELECT_STORED_WORDS: Final = f"""
select array(
    select source.attname::text
    from pg_depend as d
    join pg_attribute as source on source.attrelid = d.refobjid and source.attnum = d.refobjsubid
    where d.classid = 'pg_attrdef'::regclass and d.objid = definition.oid
      and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid <> a.attnum
    order by source.attname
)
from pg_attribute as a
join pg_attrdef as definition on definition.adrelid = a.attrelid and definition.adnum = a.attnum
where a.attrelid = to_regclass(%(table)s) and a.attname = '{SEARCH_COLUMN}' and a.attgenerated = 's'
  and not a.attisdropped
  and pg_get_expr(definition.adbin, a.attrelid) like
      'to_tsvector(''{_CONFIGURATION}''::regconfig, "left"(%%, {SEARCHED_CHARACTERS}))'
  and regexp_count(pg_get_expr(definition.adbin, a.attrelid), 'COALESCE\\(') = (
      select count(distinct d.refobjsubid) from pg_depend as d
      where d.classid = 'pg_attrdef'::regclass and d.objid = definition.oid
        and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid <> a.attnum
  )
"""


def build_search_condition(plan: Plan, placeholder: str, *, are_words_stored: bool) -> str:
    """Return the condition that a row has the words which the parameter `placeholder` asks for."""
    words = quote(SEARCH_COLUMN) if are_words_stored else _build_words(plan, quote, "array_to_string({}, ' ')")
    return f"{words} @@ websearch_to_tsquery('{_CONFIGURATION}', {placeholder})"


def build_stored_words(plan: Plan, spell: Callable[[str], str]) -> str:
    """Return the definition of the column that stores the words of a row; `spell` spells the names of columns."""
    # `array_to_string` is not declared immutable, as an expression that is stored has to be: see migration 064.
    return f"TSVECTOR GENERATED ALWAYS AS ({_build_words(plan, spell, 'join_words({})')}) STORED"


def _build_words(plan: Plan, spell: Callable[[str], str], join: str) -> str:
    """Return the `tsvector` of the columns under `search`; `join` makes one text of an array.

    It is made of their first SEARCHED_CHARACTERS: beyond a megabyte Postgres refuses, and with it the whole query.
    """
    texts = (
        join.format(spell(name)) if plan.field(name).type.name == "text[]" else spell(name) for name in plan.search
    )
    text = " || ' ' || ".join(f"coalesce({text}, '')" for text in texts)
    return f"to_tsvector('{_CONFIGURATION}', left({text}, {SEARCHED_CHARACTERS}))"
