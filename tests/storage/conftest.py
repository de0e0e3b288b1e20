from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.storage import HandClock, database_url, opened

from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore

__all__ = ["database_url"]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


@pytest.fixture
def jobs(database: Database, clock: HandClock) -> JobStore:
    return JobStore(database, clock)


@pytest.fixture
def audio(tmp_path: Path) -> AudioStore:
    return AudioStore(tmp_path / "audio")
