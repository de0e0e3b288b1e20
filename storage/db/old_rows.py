"""Finds the least recently used rows when they are many, in the order in which they are stored.

Rows in the order of their use are scattered, and each deleted row changes other pages. When a large part of a table is
deleted, deleting neighbours together changes fewer pages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from sqlalchemy import TextClause, text

from storage.db.batches import PAGE
from storage.db.database import Database

MANY = 1 / 8
"""Share of all bytes to delete above which reading the whole table is worth it."""
_FIRST: dict[str, tuple[str, int | str]] = {"sqlite": ("rowid", -1), "postgresql": ("key", "")}
"""The column of the storage order, and a value before the first."""


class OldRows:
    """Rows of a table that has columns `key`, `last_used_ms` and `size_bytes`.

    Args:
        table: the table's name, followed by the alias `t` if `where` uses it.
        where: SQL condition of rows that may be deleted.
        counted: SQL condition of rows that the budget counts.
        params: values of those conditions.
    """

    def __init__(
        self, db: Database, table: str, where: str, counted: str, params: Mapping[str, Any] | None = None
    ) -> None:
        self._db = db
        self._table = table
        self._where = where
        self._counted = counted
        self._params = dict(params or {})

    async def since(self, budget_bytes: int) -> int:
        """Return the time of last use before which rows exceed the budget; the last few of them are left out."""
        params = self._params | {"budget": budget_bytes}
        mark = time_of(self._table, self._where, self._counted)
        found = await self._db.read(lambda conn: conn.execute(mark, params).scalar())
        return 2**62 if found is None else int(found)

    async def pages(self, before_ms: int) -> AsyncIterator[tuple[list[str], int]]:
        """Yield pages of keys of rows last used before a time, in storage order.

        Each page comes with the latest use of its rows; a row used after that was used meanwhile.
        """
        order, after = _FIRST[self._db.dialect]
        rows = lying(self._table, f"{self._where} AND {self._counted}", order)
        while True:
            page = self._params | {"after": after, "mark": before_ms, "limit": PAGE}
            found = await self._db.read(lambda conn, page=page: conn.execute(rows, page).all())  # type: ignore[misc]
            if not found:
                return
            yield [row[1] for row in found], max(row[2] for row in found)
            after = found[-1][0]


def time_of(table: str, where: str, counted: str) -> TextClause:
    """Build the statement for the last use of the row up to which the oldest rows cover the excess; it reads an index.

    One statement, so that no other server deletes rows between the sum of all and the sum of the oldest.
    """
    return text(
        "SELECT last_used_ms FROM (SELECT last_used_ms, SUM(size_bytes) OVER "  # noqa: S608 - constants
        "(ORDER BY last_used_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS together "
        f"FROM {table} WHERE {where} AND {counted}) AS sums WHERE together > "
        f"(SELECT COALESCE(SUM(size_bytes), 0) - :budget FROM {table} WHERE {counted}) ORDER BY last_used_ms LIMIT 1"
    )


def lying(table: str, where: str, order: str) -> TextClause:
    """Build the statement for a page of rows by `order`; the plus prevents use of the index of last use."""
    return text(
        f"SELECT {order}, key, last_used_ms FROM {table} WHERE {order} > :after AND +last_used_ms < :mark AND {where} "  # noqa: S608
        f"ORDER BY {order} LIMIT :limit"
    )
