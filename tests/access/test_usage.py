from __future__ import annotations

from pathlib import Path

import pytest
from support.access import TurnedClock, opened, serving, settings_in
from support.storage import locked_by_another

from gateway.access import Principal
from gateway.access.usage import UsageRecorder
from storage.database import Database
from storage.errors import StorageLocked
from storage.records import UsageDelta
from storage.usage import UsageStore

ACME = Principal("k1", "acme", frozenset())
OTHER = Principal("k2", "other", frozenset())
DAY_MS = 86_400_000


async def test_usage_adds_up_per_key_endpoint_backend_and_day(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as access:
        for _ in range(3):
            access.note_usage(ACME, "default", "hibari", UsageDelta(10, 1500, 1, 1, 0))
        access.note_usage(OTHER, "default", "hibari", UsageDelta(1, 100, 1, 0, 0))
        clock.wall_ms += DAY_MS
        access.note_usage(ACME, "default", "google", UsageDelta(100, 9000, 1, 0, 1600))
    async with serving(settings, clock) as access:
        access.note_usage(ACME, "default", "google", UsageDelta(100, 9000, 1, 0, 1600))
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
    recorder = UsageRecorder(UsageStore(database), TurnedClock())
    with locked_by_another(database_url):
        recorder.note(ACME, "default", "hibari", UsageDelta(10, 1500))
        with pytest.raises(StorageLocked):
            await recorder.flush()
        recorder.note(ACME, "default", "hibari", UsageDelta(10, 1500))
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
    recorder = UsageRecorder(store, TurnedClock())
    recorder.note(ACME, "default", "hibari", UsageDelta(10, 1500))
    with monkeypatch.context() as broken:
        broken.setattr(UsageStore, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await recorder.flush()
    await recorder.flush()
    (row,) = await store.report(by=())
    assert row.characters == 10
    await database.close()
