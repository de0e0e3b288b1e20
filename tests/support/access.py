"""Factories for tests of access: a clock that is set by hand, a database, servers on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from gateway.access import Access, Signer
from gateway.clock import Timer
from gateway.settings import DatabaseSettings, Settings
from storage.db.database import Database

NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z


class TurnedClock:
    """A clock whose time changes only when a test sets it; sleeps and timers are real, but short."""

    def __init__(self, now_ms: int = NOON_MS) -> None:
        self.wall_ms = now_ms

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.wall_ms / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(min(seconds, 0.02), call)


def settings_in(folder: Path, url: str, **fields: object) -> Settings:
    """Return settings of a server with its data in `folder` and a migrated database at `url`."""
    return Settings(data_dir=folder, database=DatabaseSettings(url=url), **fields)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """Open the database of these settings."""
    database = await Database.open(settings.database_url)
    try:
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def serving(settings: Settings, clock: TurnedClock, *, first_key: bool = False) -> AsyncIterator[Access]:
    """Start the access service of one server, with its own database connection."""
    async with opened(settings) as database:
        access = Access(database, settings, clock)
        await access.start(first_key=first_key)
        try:
            yield access
        finally:
            await access.stop()


def signed(signer: Signer, path: str, expires: int) -> str:
    """Return the path with a signature that holds until `expires` (UTC seconds)."""
    return f"{path}?expires={expires}&signature={signer.sign(path, expires)}"


async def until(holds: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait until a condition holds; fail after ten seconds."""
    async with asyncio.timeout(10):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)
