"""The log of SQLite is moved into the file beside the writer, and stays short."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.storage import a_job, database_in, new_database_url, opened, select

from storage.db import checkpoints, migrate
from storage.db.database import Database
from storage.jobs.queue import JobStore

LONG = "x" * 100_000
"""Some 25 pages of a row."""


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In which threads the log was moved."""
    seen: list[str] = []
    really = checkpoints._checkpoint

    def noted(connection: Any) -> Any:
        seen.append(threading.current_thread().name)
        return really(connection)

    monkeypatch.setattr(checkpoints, "_checkpoint", noted)
    return seen


async def _write(database: Database, first: int, last: int) -> None:
    jobs = JobStore(database)
    for n in range(first, last):
        await jobs.insert(a_job(f"job-{n}", request=LONG))


async def test_the_log_is_moved_in_a_thread_of_its_own(tmp_path: Path, threads: list[str]) -> None:
    async with database_in(tmp_path) as database:
        await _write(database, 0, 2 * checkpoints.COMMITS)
    assert threads
    assert all(name.startswith("voxgate-checkpoints") for name in threads)


async def test_the_log_begins_anew_while_somebody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_LONG", 500)
    async with database_in(tmp_path) as database:
        await _write(database, 0, 400)  # 10,000 pages
        logged = Path(f"{database.place}-wal").stat().st_size / 4096
    assert logged < 6_000


async def test_a_reader_that_stands_still_holds_up_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_LONG", 500)
    async with database_in(tmp_path) as database:
        still = sqlite3.connect(database.place, isolation_level=None)
        still.execute("BEGIN")
        still.execute("SELECT COUNT(*) FROM jobs").fetchall()
        await _write(database, 0, 200)
        still.close()
        await _write(database, 200, 300)
        await database.calm()
        url = f"sqlite:///{database.place}"
        assert select(url, "SELECT COUNT(*) FROM jobs") == [(300,)]


async def test_two_servers_move_the_log_of_one_file_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_LONG", 500)
    url = new_database_url(tmp_path)
    async with opened(url) as one, opened(url) as two:
        await asyncio.gather(_write(one, 0, 200), _write(two, 200, 400))
        copy = migrate.backup_sqlite(Path(one.place))
    assert select(url, "SELECT COUNT(*) FROM jobs") == [(400,)]
    assert select(f"sqlite:///{copy}", "SELECT COUNT(*) FROM jobs") == [(400,)]
    assert select(url, "PRAGMA integrity_check") == [("ok",)]
    assert not Path(f"{two.place}-wal").exists(), "the last one out moves all of it"


async def test_a_log_that_cannot_be_moved_is_told_and_writes_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_connection: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(checkpoints, "_checkpoint", fail)
    with structlog.testing.capture_logs() as lines:
        async with database_in(tmp_path) as database:
            await _write(database, 0, 2 * checkpoints.COMMITS)
            url = f"sqlite:///{database.place}"
            assert select(url, "SELECT COUNT(*) FROM jobs") == [(2 * checkpoints.COMMITS,)]
    assert "disk I/O error" in {line.get("reason") for line in lines}
