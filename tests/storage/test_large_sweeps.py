"""Submits go on while a store with a million rows is cleared up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import TextClause, text
from support.large_store import ROWS, large_copy, large_url, shared_folder
from support.storage import START_MS, HandClock, a_job, opened, select

from storage import cache_entries, takes, voices
from storage.cache_entries import CacheStore
from storage.db.database import Database
from storage.db.lists import with_list
from storage.files import sweeper
from storage.files.audio import AudioStore
from storage.files.sweeper import Sweeper
from storage.jobs import sql as job_sql
from storage.jobs.queue import JobStore
from storage.takes import TakeStore

__all__ = ["large_copy", "large_url", "shared_folder"]

pytestmark = pytest.mark.slow
EVICTED = 3_000
"""Of each kind; the time of a million is a benchmark's matter."""


@pytest.fixture
async def large(large_copy: str) -> AsyncIterator[Database]:
    async with opened(large_copy) as database:
        yield database


async def test_a_submit_waits_for_two_batches_at_most_while_budgets_are_kept_and_files_swept(
    large: Database, large_copy: str, tmp_path: Path
) -> None:
    clock = HandClock(START_MS + 1)
    jobs, takes, cache = JobStore(large, clock), TakeStore(large, clock), CacheStore(large, clock)
    sweeps = Sweeper(large, AudioStore(tmp_path / "audio"), clock, grace_s=3600, walked=0)
    written: list[str] = []
    really = large.writer.run

    async def run(fn: Any, **options: Any) -> Any:
        def noted(conn: Any) -> Any:
            written.append("batch")
            return fn(conn)

        return await really(noted, **options)

    large.writer.run = run  # type: ignore[method-assign]
    waited: list[int] = []

    async def submit() -> None:
        for n in range(10**6):
            before = len(written)
            await jobs.insert(a_job(f"submitted-{n}"))
            waited.append(len(written) - before)
            await asyncio.sleep(0)

    submits = asyncio.create_task(submit())
    try:
        size = 20_488  # of each of them, about
        assert EVICTED * 0.9 < await takes.evict((ROWS - EVICTED) * size) < EVICTED * 1.1
        assert EVICTED * 0.9 < await cache.evict((ROWS - EVICTED) * size) < EVICTED * 1.1
        retained_ms = START_MS + 7 * 86_400_000 - (ROWS - EVICTED) * 500
        assert await jobs.delete_retained(retained_ms) == pytest.approx(EVICTED, 0.1)
        await sweeps.sweep()
        clock.turn(3601)
        await sweeps.sweep()
    finally:
        submits.cancel()
    assert len(waited) > 100
    assert max(waited) <= 2
    assert select(large_copy, "SELECT COUNT(*) FROM blobs WHERE loose_ms IS NOT NULL") == [(0,)]
    assert select(large_copy, "SELECT COUNT(*) FROM dying_blobs") == [(0,)]


HASHES, KEYS = ["0" * 64, "1" * 64], {"keys": ["0" * 64, "1" * 64]}
LONG = {
    "loose blobs": (sweeper._LOOSE, {"ms": 0, "hash": "", "last": START_MS, "limit": 2_000}),
    "keep blobs": (sweeper._KEEP, {"hashes": HASHES}),
    "date blobs": (sweeper._DATE, {"hashes": HASHES, "now": 1}),
    "take blobs": (sweeper._TAKE, {"hashes": HASHES, "before": 1}),
    "known blobs": (sweeper._KNOWN, {"hashes": HASHES}),
    "unlisted blobs of a folder": (sweeper._UNLISTED_OF, {"hashes": HASHES}),
    "buried blobs": (sweeper._BURIED, {"hashes": HASHES}),
    "oldest takes": (takes._OLDEST, {"limit": 10}),
    "evict takes": (takes._EVICT, {**KEYS, "seen": 1}),
    "finished jobs with pins": (takes._FINISHED, {"after": "", "limit": 10}),
    "drop pins": (takes._UNPIN, {"key": "x", "job_id": "x"}),
    "oldest entries": (cache_entries._oldest(frozenset()), {"limit": 10}),
    "old entries": (cache_entries._oldest(frozenset({"before"})), {"before": 1, "limit": 10}),
    "forget entries": (cache_entries._FORGET_UNUSED, {**KEYS, "seen": 1}),
    "entries of a voice": (voices._SPOKEN["cache_entries"], {"tenant": "a", "voice_hash": "b", "limit": 10}),
    "forget takes of a voice": (voices._FORGET["takes"], KEYS),
    "retained jobs": (job_sql.RETAINED, {"now": 1, "limit": 10}),
    "delete retained jobs": (job_sql.DELETE_RETAINED, {"ids": HASHES, "now": 1}),
}


@pytest.mark.parametrize("name", LONG)
async def test_no_step_of_clearing_up_reads_a_whole_table(large_url: str, name: str) -> None:
    statement, params = LONG[name]
    async with opened(large_url) as database:
        plan = await database.read(lambda conn: _plan(conn, statement, params))
    whole = [
        step
        for step in plan
        if "SCAN" in step and "USING" not in step and "pinning" not in step and "CONSTANT" not in step
    ]
    whole += [step for step in plan if "Seq Scan" in step and any(f" on {table} " in step for table in BIG)]
    assert not whole, plan


BIG = ("jobs", "takes", "cache_entries", "blobs")


def _plan(conn: Any, statement: TextClause, params: dict[str, Any]) -> list[str]:
    explain = "EXPLAIN QUERY PLAN" if conn.dialect.name == "sqlite" else "EXPLAIN"
    explained = text(f"{explain} {statement.text}")
    for name, value in params.items():
        if isinstance(value, list):
            explained = with_list(explained.text, name)
    return [str(row[-1]) for row in conn.execute(explained, params)]
