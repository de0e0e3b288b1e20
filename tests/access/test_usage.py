from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.access import TurnedClock, opened, serving, settings_in
from support.storage import START_MS, a_job, locked_by_another, select

from gateway.access.usage import UsageRecorder
from gateway.clock import SystemClock
from gateway.jobs.answer.write_behind import AT_MOST, WriteBehind
from storage.db.database import Database
from storage.errors import StorageLocked
from storage.jobs.queue import JobStore
from storage.records import JobState, UsageDelta
from storage.usage import UsageStore

ACME = a_job(tenant="acme", key_id="k1", finished_ms=START_MS)
OTHER = a_job(tenant="other", key_id="k2", finished_ms=START_MS)
LATER = a_job(tenant="acme", key_id="k1", backend="google", finished_ms=START_MS + 86_400_000)


async def test_usage_adds_up_per_key_endpoint_backend_and_day(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as access:
        for _ in range(3):
            access.note_usage(ACME, UsageDelta(10, 1500, 1, 1, 0))
        access.note_usage(OTHER, UsageDelta(1, 100, 1, 0, 0))
        access.note_usage(LATER, UsageDelta(100, 9000, 1, 0, 1600))
    async with serving(settings, clock) as access:
        access.note_usage(LATER, UsageDelta(100, 9000, 1, 0, 1600))
    async with opened(settings) as database:
        store = UsageStore(database)
        first, second = await store.report(tenant="acme")
        assert (first.day, first.backend, first.jobs, first.cache_hits) == ("2026-01-01", "hibari", 3, 3)
        assert (first.characters, first.audio_ms, first.cost_usd) == (30, 4500, 0)
        assert (second.day, second.backend, second.jobs, second.cost_usd) == ("2026-01-02", "google", 2, 0.0032)
        tenants = await store.report(by=("tenant",))
        assert [(row.tenant, row.characters) for row in tenants] == [("acme", 230), ("other", 1)]
        (since,) = await store.report(tenant="acme", since="2026-01-02", by=())
        assert since.characters == 200
        (until,) = await store.report(tenant="acme", until="2026-01-01", by=())
        assert until.characters == 30
        assert await store.report(tenant="nobody", by=()) == []


async def test_usage_that_could_not_be_written_is_written_later(tmp_path: Path, database_url: str) -> None:
    settings = settings_in(tmp_path, database_url)
    database = await Database.open(settings.database_url, busy_timeout_ms=10)
    recorder = UsageRecorder(UsageStore(database))
    with locked_by_another(database_url):
        recorder.note(ACME, UsageDelta(10, 1500))
        with pytest.raises(StorageLocked):
            await recorder.flush()
        recorder.note(ACME, UsageDelta(10, 1500))
    await recorder.flush()
    await recorder.flush()
    (row,) = await UsageStore(database).report(by=())
    assert (row.characters, row.jobs) == (20, 2)
    await database.close()


async def test_usage_that_a_defect_kept_from_being_written_is_written_later(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await Database.open(settings_in(tmp_path, database_url).database_url)
    store = UsageStore(database)
    recorder = UsageRecorder(store)
    recorder.note(ACME, UsageDelta(10, 1500))
    with monkeypatch.context() as broken:
        broken.setattr(UsageStore, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await recorder.flush()
    await recorder.flush()
    (row,) = await store.report(by=())
    assert row.characters == 10
    await database.close()


async def test_hits_whose_rows_are_given_up_are_counted_all_the_same(tmp_path: Path, database_url: str) -> None:
    settings = settings_in(tmp_path, database_url)
    database = await Database.open(settings.database_url, busy_timeout_ms=10)
    recorder = UsageRecorder(UsageStore(database))
    write_behind = WriteBehind(JobStore(database), recorder.note, SystemClock())
    hits = [msgspec.structs.replace(ACME, id=f"hit-{n}", state=JobState.COMPLETED) for n in range(AT_MOST + 3)]
    with locked_by_another(database_url):
        for hit in hits:
            write_behind.add(hit)
        await write_behind.flush()
    await write_behind.flush()
    await recorder.flush()
    (row,) = await UsageStore(database).report(by=())
    assert (row.jobs, row.cache_hits, row.characters) == (len(hits), len(hits), len(hits) * ACME.chars)
    await database.close()
    assert select(database_url, "SELECT COUNT(*) FROM jobs") == [(AT_MOST,)]
