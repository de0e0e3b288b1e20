from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.storage import HandClock, database_in

from storage.audio import AudioStore
from storage.database import Database
from storage.jobs import JobStore


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with database_in(tmp_path) as database:
        yield database


@pytest.fixture
def jobs(database: Database, clock: HandClock) -> JobStore:
    return JobStore(database, clock)


@pytest.fixture
def audio(tmp_path: Path) -> AudioStore:
    return AudioStore(tmp_path / "audio")
