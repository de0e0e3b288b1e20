"""Marks: counts that move in the transaction that changes what servers hold in memory.

A server reads what it holds once more only when its mark has moved, however much else is written meanwhile.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from storage.db.database import Database
from storage.db.notices import Topic, tell

_MOVE = text(
    "INSERT INTO marks (name, value) VALUES (:name, 1) ON CONFLICT (name) DO UPDATE SET value = marks.value + 1"
)
READ = text("SELECT value FROM marks WHERE name = :name")
"""Where a mark stands."""


def move(conn: Connection, topic: Topic) -> None:
    """Rows of this topic are changed by this transaction: every server hears of it, or finds the mark moved."""
    move_silently(conn, topic)
    tell(conn, topic)


def move_silently(conn: Connection, topic: Topic) -> None:
    """As `move`, for servers that may find the mark moved at their next look."""
    conn.execute(_MOVE, {"name": topic.value})


async def read(db: Database, topic: Topic) -> int:
    """Where the mark of a topic stands. Read it before the rows: what changes in between is read again, not missed."""
    return await db.peek(lambda conn: int(conn.execute(READ, {"name": topic.value}).scalar() or 0))
