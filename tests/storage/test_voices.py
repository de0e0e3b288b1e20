"""Deleting a voice deletes its takes and cache entries; a dictionary is written only over the version that was read."""

from __future__ import annotations

import asyncio

import pytest
from support.storage import START_MS, HandClock, an_entry, select, store_take

from gateway.errors import Conflict
from storage.db import statements
from storage.db.database import Database
from storage.pronunciations import DictionaryRecord, PronunciationStore
from storage.records import BlobRecord, TakeRecord
from storage.takes import TakeStore
from storage.voices import VoiceRecord, VoiceStore

MINE, THEIRS = "a-recording", "another-recording"


def voice(tenant: str, name: str, content: str = MINE) -> VoiceRecord:
    return VoiceRecord(f"{tenant}/{name}", tenant, name, "en", content, content, "{}", START_MS)


async def spoke(database: Database, clock: HandClock, tenant: str, content: str | None) -> None:
    """A take and a cache entry, of a tenant's own voice or (None) of a backend's."""
    blob = BlobRecord(f"audio-{tenant}-{content}", 10, ".flac")
    take = TakeRecord(blob.hash, blob.hash, 1, 24_000, 10, tenant=tenant if content else None, voice_hash=content)
    await store_take(TakeStore(database, clock), take, blob, "somebody's job")
    entry = an_entry(blob.hash, blob, tenant=tenant, voice_hash=content)
    await database.writer.run(lambda conn: statements.put_cache_entry(conn, entry))


def kept(url: str) -> list[str]:
    keys = select(url, "SELECT key FROM takes UNION ALL SELECT key FROM cache_entries ORDER BY 1")
    return [key for (key,) in keys]


async def test_takes_and_entries_go_with_the_last_voice_of_their_recording(
    database: Database, database_url: str, clock: HandClock
) -> None:
    voices = VoiceStore(database)
    for record in (voice("a", "one"), voice("a", "two"), voice("b", "one")):
        await voices.add(record, BlobRecord(MINE, 10, ".wav"), 10)
    for tenant, content in (("a", MINE), ("b", MINE), ("a", None)):
        await spoke(database, clock, tenant, content)
    everything = kept(database_url)
    assert not await voices.remove("a", "nobody")
    assert await voices.remove("a", "one")
    assert kept(database_url) == everything
    assert await voices.remove("a", "two")
    assert kept(database_url) == [key for key in everything if key != f"audio-a-{MINE}"]
    assert [record.tenant for record in await voices.all()] == ["b"]


async def test_what_came_after_its_voice_had_gone_is_found(
    database: Database, database_url: str, clock: HandClock
) -> None:
    voices = VoiceStore(database)
    await voices.add(voice("a", "one"), BlobRecord(MINE, 10, ".wav"), 10)
    for content in (MINE, THEIRS, None):
        await spoke(database, clock, "a", content)
    assert await voices.delete_orphans() == 2
    assert await voices.delete_orphans() == 0
    assert kept(database_url) == sorted([f"audio-a-{MINE}", "audio-a-None"] * 2)


async def test_a_tenant_has_no_two_voices_of_a_name_and_no_more_than_it_may(database: Database) -> None:
    voices = VoiceStore(database)
    blob = BlobRecord(MINE, 10, ".wav")
    await voices.add(voice("a", "one"), blob, 2)
    with pytest.raises(Conflict, match="'one' exists"):
        await voices.add(voice("a", "one"), blob, 2)
    await voices.add(voice("a", "two"), blob, 2)
    with pytest.raises(Conflict, match="2 voices already"):
        await voices.add(voice("a", "three"), blob, 2)
    await voices.add(voice("b", "three"), blob, 2)


async def test_a_dictionary_is_written_only_over_the_version_that_was_read(database: Database) -> None:
    store = PronunciationStore(database)
    assert await store.get_many(["a"]) == []
    first = await asyncio.gather(*(store.put("a", 0, f"[{n}]", START_MS) for n in range(3)))
    assert sorted(first) == [False, False, True]
    assert not await store.put("a", 7, "[9]", START_MS)
    assert await store.put("a", 1, "[2]", START_MS + 5)
    assert await store.put("b", 0, "[]", START_MS)
    assert await store.versions() == {"a": 2, "b": 1}
    assert await store.get_many(["a", "nobody"]) == [DictionaryRecord("a", 2, START_MS + 5, "[2]")]
