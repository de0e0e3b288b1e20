"""Factories for tests of storage: a migrated database, a clock that is set by hand, jobs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from support.postgres import migrated_database

from storage.db import migrate
from storage.db.database import Database, make_engine, parse_url
from storage.db.models import Base
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore
from storage.records import BlobRecord, CacheEntryRecord, Completion, JobRecord, JobState, TakeRecord, UsageDelta
from storage.takes import TakeStore

START_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z
HOUR_MS = 3_600_000


class HandClock:
    """A clock whose times change only when a test calls `turn`."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.wall_ms = now_ms
        self.mono = 0.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.mono

    async def sleep(self, seconds: float) -> None:
        self.turn(seconds)
        await asyncio.sleep(0)

    def turn(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000)
        self.mono += max(0.0, seconds)


@functools.cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """Return the folder of a migrated database to copy; it is removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="voxgate-test-")
    migrate.upgrade(f"sqlite:///{folder.name}/template.db")
    return folder


def new_database_url(folder: Path) -> str:
    """Return the URL of a new migrated SQLite database."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "voxgate.db"
    shutil.copyfile(Path(_template().name) / "template.db", path)
    return f"sqlite:///{path}"


@pytest.fixture(params=("sqlite", "postgresql"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a new migrated database. Every test with this fixture runs on both kinds."""
    if request.param == "sqlite":
        yield new_database_url(tmp_path)
    else:
        with migrated_database() as url:
            yield url


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""Mark of tests that need SQLite: its file, its locks, its settings."""
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """Open the database at `url`."""
    database = await Database.open(url, **options)
    try:
        yield database
    finally:
        await database.close()


def select(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a new connection."""
    engine = make_engine(parse_url(url), write=False)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]
    finally:
        engine.dispose()


@contextlib.contextmanager
def locked_by_another(url: str) -> Iterator[None]:
    """Lock the database for other writers until the end of the `with`."""
    engine = make_engine(parse_url(url), write=True)
    try:
        with engine.connect() as holder, holder.begin() as transaction:
            if engine.dialect.name == "postgresql":
                tables = ", ".join(Base.metadata.tables)
                holder.execute(text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))
            yield
            transaction.rollback()
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def database_in(folder: Path, **options: Any) -> AsyncIterator[Database]:
    """Open a database in `folder`."""
    database = await Database.open(new_database_url(folder), **options)
    try:
        yield database
    finally:
        await database.close()


def a_job(job_id: str = "job-1", **fields: Any) -> JobRecord:
    """Return a queued job of the default tenant."""
    values: dict[str, Any] = {
        "id": job_id, "tenant": "default", "endpoint_id": "default", "key_id": "k1", "kind": "run",
        "state": JobState.IN_QUEUE, "backend": "hibari", "chars": 40, "created_ms": START_MS,
        "available_ms": START_MS, "request": '{"text":"Good evening."}',
    }  # fmt: skip
    return JobRecord(**(values | fields))


def a_completion(blob: BlobRecord, now: int = START_MS, **fields: Any) -> Completion:
    """Return a completion with this audio and no cache entry."""
    values: dict[str, Any] = {
        "output": '{"cache_hit":false}', "follower_output": '{"cache_hit":true}', "blob": blob, "cache_entry": None,
        "cache_key": None, "delay_ms": 5, "execution_ms": 70, "backend": "hibari", "worker_id": "w1",
        "usage": UsageDelta(characters=40, audio_ms=900, cost_micro_usd=7), "now": now,
    }  # fmt: skip
    return Completion(**(values | fields))


def an_entry(key: str, blob: BlobRecord, now: int = START_MS, **fields: Any) -> CacheEntryRecord:
    """Return a cache entry for this audio."""
    values: dict[str, Any] = {
        "key": key, "scope": "tenant", "tenant": "default", "backend": "hibari", "revision": "1", "voice": "default",
        "format": "mp3", "blob_hash": blob.hash, "size_bytes": blob.size_bytes, "output": "{}", "created_ms": now,
        "last_used_ms": now,
    }  # fmt: skip
    return CacheEntryRecord(**(values | fields))


async def put_audio(audio: AudioStore, data: bytes = b"a short sound") -> BlobRecord:
    """Put audio into the store without writing its row."""
    [blob] = await audio.put_many([data], ".mp3")
    return blob


async def store_take(takes: TakeStore, take: TakeRecord, blob: BlobRecord, job_id: str, owner: str = "a") -> bool:
    """Store one take of a job's first attempt."""
    return await takes.store_many([(take, blob)], job_id, 1, owner)


async def jobs_of(database: Database, tenant: str = "default") -> list[JobRecord]:
    """Return a tenant's jobs without their requests, newest first."""
    ids = text("SELECT id FROM jobs WHERE tenant = :tenant ORDER BY id DESC")
    names = await database.read(lambda conn: conn.execute(ids, {"tenant": tenant}).scalars().all())
    found = [await JobStore(database).peek(name) for name in names]
    return [job for job in found if job is not None]


async def events_of(database: Database, job_id: str) -> list[str]:
    """Return the names of a job's events, oldest first."""
    events = text("SELECT event FROM job_events WHERE job_id = :id ORDER BY id")
    return list(await database.read(lambda conn: conn.execute(events, {"id": job_id}).scalars().all()))


async def delete_job(jobs: JobStore, job_id: str) -> bool:
    """Delete a job as the sweep does once its retention is over, if it has ended; return whether it is gone."""
    await jobs.shorten_retention(job_id, 0)
    await jobs.delete_retained(now=1)
    return await jobs.get(job_id) is None


async def offered(jobs: JobStore, per_line: int = 16) -> list[str]:
    """Jobs that wait for hibari and could be claimed now, in their order."""
    return [candidate.id for candidate in (await jobs.leases.candidates(["hibari"], per_line)).candidates]


async def claim(jobs: JobStore, job_id: str = "job-1", owner: str = "a") -> JobRecord:
    [job] = await jobs.leases.claim([job_id], owner)
    return job
