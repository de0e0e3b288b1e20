"""An upgrade keeps every row, and copies none."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from support.old_database import ROWS, Rows, fill_every_table, make_old, rows_of
from support.postgres import postgres_server
from support.storage import on_sqlite, opened, select

from storage.db import migrate
from storage.jobs.counts import JobCountStore, Unfinished
from storage.jobs.queue import JobStore

_COPIES = re.compile(r"\b(DROP TABLE|DROP COLUMN|RENAME TO|TRUNCATE|DELETE FROM|_alembic_tmp_)", re.IGNORECASE)


@pytest.fixture(params=("sqlite", "postgresql"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database as the first release made it, with rows in every table."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'voxgate.db'}"
        make_old(url)
        fill_every_table(url)
        yield url
        return
    with postgres_server() as url:
        make_old(url)
        fill_every_table(url)
        yield url


def as_before(after: Rows, before: Rows) -> Rows:
    """Tables and columns that there were before."""
    return {
        table: [{name: row[name] for name in before[table][0]} for row in rows]
        for table, rows in after.items()
        if table in before
    }


def test_an_upgrade_from_the_first_release_keeps_every_row_of_every_table(database_url: str) -> None:
    before = rows_of(database_url)
    assert {len(rows) for rows in before.values()} == {ROWS}
    assert len(before) >= 20
    migrate.upgrade(database_url)
    assert migrate.check(database_url).state == "ready"
    assert as_before(rows_of(database_url), before) == before


@on_sqlite
def test_no_row_of_an_upgraded_database_refers_to_nothing(database_url: str, tmp_path: Path) -> None:
    migrate.upgrade(database_url)
    with sqlite3.connect(tmp_path / "voxgate.db") as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_an_upgraded_database_knows_its_lines_and_its_counts(database_url: str) -> None:
    migrate.upgrade(database_url)
    waiting = Counter(
        endpoint for endpoint, state in select(database_url, "SELECT endpoint_id, state FROM jobs")
        if state == "IN_QUEUE"
    )  # fmt: skip
    lanes = set(select(database_url, "SELECT low_priority, lane FROM jobs WHERE state = 'IN_QUEUE'"))
    assert {(bool(low), lane) for low, lane in lanes} <= {(False, 1), (True, 2)}
    async with opened(database_url) as database:
        counts = JobCountStore(database)
        assert (await counts.unfinished("default")).waiting == waiting["default"]
        assert await counts.unfinished("nobody's") == Unfinished(0, 0)
        assert await counts.wrong() == []
        assert await JobStore(database).waiting() == sum(waiting.values())
    strangers = "SELECT COUNT(*) FROM webhook_deliveries d JOIN jobs j ON j.id = d.job_id "
    assert select(database_url, f"{strangers} WHERE d.endpoint_id <> j.endpoint_id") == [(0,)]


def test_no_upgrade_copies_a_table_or_takes_anything_away(database_url: str) -> None:
    """A table that is made anew loses what refers to it by its foreign keys, and takes as long as it has rows."""
    ran: list[str] = []

    def keep(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        ran.append(statement)

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        migrate.upgrade(database_url)
    finally:
        event.remove(Engine, "before_cursor_execute", keep)
    assert any(statement.startswith("ALTER TABLE") for statement in ran)
    assert [statement for statement in ran if _COPIES.search(statement)] == []
