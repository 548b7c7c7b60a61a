"""Find which documents of an organisation mention somebody, in every table of the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.sql import erase
from engine.store.connection import Connection

#: The most rows listed per table; there may be more.
_MOST_NAMED: Final = 1000


@dataclass(frozen=True, slots=True)
class Mention:
    """A row that mentions the person or company to erase, and the columns in which it does."""

    table: str
    id: str
    columns: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that `dex erase` prints."""
        return {"table": self.table, "id": self.id, "columns": list(self.columns)}


async def find_mentions(connection: Connection, org_id: str, texts: Iterable[str]) -> list[Mention]:
    """Return the rows that contain one of `texts`: those of the organisation, and of tables without an `org_id`.

    The tables are taken from the database's catalog, so tables of removed specs and of other systems are searched too.
    """
    search = erase.build_text_search(text.lower() for text in texts)
    parameters = {"org_id": org_id, "limit": _MOST_NAMED, **search.parameters}
    tables = await (await connection.execute(erase.LIST_TEXT_COLUMNS_SQL, parameters)).fetchall()
    mentions = []
    for schema, table, has_id, has_org, columns in tables:
        if columns:
            sql = erase.build_mentions_sql(schema, table, columns, has_id=has_id, has_org=has_org)
            for row_id, where in await (await connection.execute(sql, parameters)).fetchall():
                mentions.append(Mention(table, row_id, where))
    return mentions
