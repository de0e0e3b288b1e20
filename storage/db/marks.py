"""Marks: one counter per topic, raised in the transaction that changes rows which servers hold in memory.

A server reads those rows again only when their mark has changed, however much else is written.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from storage.db.database import Database
from storage.db.notices import Topic, notify

_MOVE = text(
    "INSERT INTO marks (name, value) VALUES (:name, 1) ON CONFLICT (name) DO UPDATE SET value = marks.value + 1"
)
READ = text("SELECT value FROM marks WHERE name = :name")
"""The value of a mark."""


def move(conn: Connection, topic: Topic) -> None:
    """Raise the topic's mark with this transaction, and notify the other servers."""
    move_silently(conn, topic)
    notify(conn, topic)


def move_silently(conn: Connection, topic: Topic) -> None:
    """Raise the topic's mark without a notice; other servers see it at their next poll."""
    conn.execute(_MOVE, {"name": topic.value})


async def read(db: Database, topic: Topic) -> int:
    """Return the mark of a topic. Read it before the rows, so that a change in between is read again, not missed."""
    return await db.peek(lambda conn: int(conn.execute(READ, {"name": topic.value}).scalar() or 0))
