"""Much is evicted in the order in which it lies, and what goes is still what was not used for longest."""

from __future__ import annotations

from typing import Any

import pytest
from support.storage import START_MS, HandClock, an_entry, select, store_take

from storage.cache_entries import CacheStore
from storage.db import statements
from storage.db.database import Database
from storage.records import BlobRecord, TakeRecord
from storage.takes import TakeStore

SCATTERED = (3, 0, 7, 4, 1, 9, 5, 2, 8, 6)
"""In what order rows were used last, of those that were written one after the other."""


async def _entries(database: Database, tenants: tuple[str, ...] = ("one",)) -> None:
    def put(conn: Any) -> None:
        for n in SCATTERED:
            blob = BlobRecord(f"{n:064x}", 1_000, ".mp3")
            conn.execute(
                statements.PUT_BLOB, {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": 1_000, "now": START_MS}
            )
            tenant = tenants[n % len(tenants)]
            used = START_MS + 1_000 * n
            statements.put_cache_entry(conn, an_entry(f"entry-{n}", blob, used, tenant=tenant, size_bytes=1_000))

    await database.writer.run(put)


def _left(url: str, table: str) -> list[str]:
    return [row[0] for row in select(url, f"SELECT key FROM {table} ORDER BY key")]


async def test_of_takes_those_used_last_stay_wherever_they_lie(
    database: Database, database_url: str, clock: HandClock
) -> None:
    takes = TakeStore(database, clock)
    for n in SCATTERED:
        blob = BlobRecord(f"{n:064x}", 1_000, ".flac")
        used = TakeStore(database, HandClock(START_MS + 1_000 * n))
        await store_take(used, TakeRecord(f"take-{n}", blob.hash, 1, 24_000, 1_000), blob, "gone")
    assert await takes.evict(3_500) == 7
    assert _left(database_url, "takes") == ["take-7", "take-8", "take-9"]


async def test_of_entries_those_used_last_stay_wherever_they_lie(
    database: Database, database_url: str, clock: HandClock
) -> None:
    await _entries(database)
    assert await CacheStore(database, clock).evict(4_000) == 6
    assert _left(database_url, "cache_entries") == ["entry-6", "entry-7", "entry-8", "entry-9"]


async def test_a_tenants_budget_takes_nothing_from_other_tenants(
    database: Database, database_url: str, clock: HandClock
) -> None:
    await _entries(database, ("one", "two"))
    assert await CacheStore(database, clock).prune(tenant="one", to_bytes=1_000) == 4
    assert _left(database_url, "cache_entries") == ["entry-1", "entry-3", "entry-5", "entry-7", "entry-8", "entry-9"]


async def test_an_entry_that_is_used_while_the_cache_is_emptied_stays(
    database: Database, database_url: str, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _entries(database)
    cache = CacheStore(database, HandClock(START_MS + 60_000))
    really = database.read

    async def read(fn: Any) -> Any:
        found = await really(fn)
        if isinstance(found, list) and any("entry-0" in row for row in found):
            monkeypatch.setattr(database, "read", really)
            await cache.touch_many({"entry-0": 1})
        return found

    monkeypatch.setattr(database, "read", read)
    assert await cache.evict(1_000) == 9
    assert _left(database_url, "cache_entries") == ["entry-0"]
