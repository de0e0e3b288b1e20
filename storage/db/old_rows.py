"""Rows that were not used for longest, where they are many: in the order in which they lie, not of their use.

Rows in the order of their use lie anywhere, and every one that is deleted changes pages of its own. Where a good part
of a table goes, neighbours go together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from sqlalchemy import TextClause, text

from storage.db.batches import PAGE
from storage.db.database import Database

MANY = 1 / 8
"""Of all bytes: where more go, reading the whole table is worth it."""
_FIRST: dict[str, tuple[str, int | str]] = {"sqlite": ("rowid", -1), "postgresql": ("key", "")}
"""The order in which rows lie, and what is before the first."""


class OldRows:
    """Rows of a table that has columns `key`, `last_used_ms` and `size_bytes`.

    Args:
        table: its name, and `t` after it if `where` says so.
        where: which of its rows may go, a condition in SQL.
        counted: which of its rows the budget is for.
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
        """The time before which those rows were used last that are too many, but for the last few of these."""
        params = self._params | {"budget": budget_bytes}
        mark = time_of(self._table, self._where, self._counted)
        found = await self._db.read(lambda conn: conn.execute(mark, params).scalar())
        return 2**62 if found is None else int(found)

    async def pages(self, before_ms: int) -> AsyncIterator[tuple[list[str], int]]:
        """The keys of rows that were used last before a time, a page at a time, in the order in which they lie.

        With each page comes the latest use of its rows: whatever is used after that has been used meanwhile.
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
    """The last use of the row with which the oldest have more bytes than are too many, by index.

    One statement, so that no other server deletes rows between the sum of all and that of the oldest.
    """
    return text(
        "SELECT last_used_ms FROM (SELECT last_used_ms, SUM(size_bytes) OVER "  # noqa: S608 - constants
        "(ORDER BY last_used_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS together "
        f"FROM {table} WHERE {where} AND {counted}) AS sums WHERE together > "
        f"(SELECT COALESCE(SUM(size_bytes), 0) - :budget FROM {table} WHERE {counted}) ORDER BY last_used_ms LIMIT 1"
    )


def lying(table: str, where: str, order: str) -> TextClause:
    """A page of rows by `order`; the plus keeps the index of last use out of it."""
    return text(
        f"SELECT {order}, key, last_used_ms FROM {table} WHERE {order} > :after AND +last_used_ms < :mark AND {where} "  # noqa: S608
        f"ORDER BY {order} LIMIT :limit"
    )
