"""The sweeper finds unneeded audio after any kind of reference to it is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from support.storage import (
    START_MS,
    HandClock,
    a_completion,
    a_job,
    an_entry,
    delete_job,
    put_audio,
    select,
    store_take,
)

from storage.cache_entries import CacheStore
from storage.db import statements
from storage.db.database import Database
from storage.errors import BlobMissing
from storage.files.audio import AudioStore
from storage.files.sweeper import Sweeper
from storage.jobs.queue import JobStore
from storage.records import BlobRecord, JobState, TakeRecord
from storage.takes import TakeStore
from storage.voices import VoiceRecord, VoiceStore

GRACE_S = 3600


class World:
    """A database, its audio, and everything that refers to audio."""

    def __init__(self, database: Database, audio: AudioStore, clock: HandClock) -> None:
        self.db = database
        self.audio = audio
        self.clock = clock
        self.jobs = JobStore(database, clock)
        self.takes = TakeStore(database, clock)
        self.cache = CacheStore(database, clock)
        self.voices = VoiceStore(database, clock)

    async def put(self, data: bytes) -> BlobRecord:
        blob = await put_audio(self.audio, data)
        row = {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": self.clock.now_ms()}
        await self.db.writer.insert(statements.PUT_BLOB, row)
        await self.audio.settle(blob)
        return blob

    async def finish_job(self, blob: BlobRecord, **fields: Any) -> None:
        await self.jobs.insert(a_job(state=JobState.COMPLETED, blob_hash=blob.hash, **fields))

    async def store_take(self, blob: BlobRecord, **fields: Any) -> None:
        spooled = msgspec.structs.replace(blob, spool="")
        await store_take(self.takes, TakeRecord("take", blob.hash, 1, 24_000, 10, **fields), spooled, "nobody")

    async def put_entry(self, blob: BlobRecord, **fields: Any) -> None:
        entry = an_entry("key", blob, self.clock.now_ms(), **fields)
        await self.db.writer.run(lambda conn: statements.put_cache_entry(conn, entry))

    async def add_voice(self, blob: BlobRecord, content_hash: str = "") -> None:
        content = content_hash or blob.hash
        voice = VoiceRecord("a/v", "a", "v", None, content, blob.hash, "{}", self.clock.now_ms())
        await self.voices.add(voice, blob, 10)

    async def add_sample(self, blob: BlobRecord) -> None:
        await self.execute(
            "INSERT INTO comparisons (id, tenant, endpoint_id, state, created_ms, request) "
            "VALUES ('c', 'a', 'default', 'DONE', 0, '{}')"
        )
        await self.execute(
            "INSERT INTO samples (id, comparison_id, backend, voice, state, blob_hash, created_ms, measures) "
            f"VALUES ('s', 'c', 'hibari', 'default', 'DONE', '{blob.hash}', 0, '{{}}')"
        )

    async def finish_job_with(self, words: BlobRecord) -> None:
        """Finish a job whose audio has these word times."""
        await self.jobs.insert(a_job())
        await self.jobs.leases.claim(["job-1"], "a")
        blob = await put_audio(self.audio, b"audio of these words")
        completion = a_completion(blob, self.clock.now_ms(), words=words)
        assert (await self.jobs.ends.complete("job-1", "a", 1, completion)).ok
        await self.audio.settle(blob)

    async def sweep_jobs(self) -> None:
        """Delete the job, and sweep its audio."""
        assert await delete_job(self.jobs, "job-1")
        await Sweeper(self.db, self.audio, self.clock, GRACE_S).sweep()
        self.clock.turn(2 * GRACE_S)
        assert (await Sweeper(self.db, self.audio, self.clock, GRACE_S).sweep()).blobs == 1

    async def execute(self, sql: str) -> None:
        await self.db.writer.run(lambda conn: conn.execute(text(sql)).rowcount)


Step = Callable[[World, BlobRecord], Awaitable[Any]]


WAYS: dict[str, tuple[Step, Step]] = {
    "a job has outlived its time": (
        lambda w, b: w.finish_job(b, retain_until_ms=START_MS + 1),
        lambda w, b: w.jobs.delete_retained(),
    ),
    "a job is retried": (
        lambda w, b: w.jobs.insert(a_job(state=JobState.FAILED, blob_hash=b.hash)),
        lambda w, b: w.jobs.ends.retry("job-1"),
    ),
    "a take is spoken again": (
        lambda w, b: w.store_take(b),
        lambda w, b: a_new(w, w.store_take),
    ),
    "a take is evicted": (lambda w, b: w.store_take(b), lambda w, b: w.takes.evict(0)),
    "an entry is spoken again": (lambda w, b: w.put_entry(b), lambda w, b: a_new(w, w.put_entry)),
    "an entry is evicted": (lambda w, b: w.put_entry(b), lambda w, b: w.cache.evict(0)),
    "an entry is too old": (lambda w, b: w.put_entry(b), lambda w, b: w.cache.evict(10**9, max_age_ms=1)),
    "the cache is pruned": (lambda w, b: w.put_entry(b), lambda w, b: w.cache.prune()),
    "the cache is pruned to a size": (lambda w, b: w.put_entry(b), lambda w, b: w.cache.prune(to_bytes=0)),
    "a voice is deleted": (lambda w, b: w.add_voice(b), lambda w, b: w.voices.remove("a", "v")),
    "the voice of a take is deleted": (
        lambda w, b: w.store_take(b, tenant="a", voice_hash="gone"),
        lambda w, b: w.voices.delete_orphans(),
    ),
    "the voice of an entry is deleted": (
        lambda w, b: w.put_entry(b, tenant="a", voice_hash="gone"),
        lambda w, b: w.voices.delete_orphans(),
    ),
    "a comparison is deleted with its samples": (
        lambda w, b: w.add_sample(b),
        lambda w, b: w.execute("DELETE FROM comparisons"),
    ),
    "a sample is deleted": (lambda w, b: w.add_sample(b), lambda w, b: w.execute("DELETE FROM samples")),
    "the words of a job go with its audio": (
        lambda w, b: w.finish_job_with(b),
        lambda w, b: w.sweep_jobs(),
    ),
    "a sample has other audio": (
        lambda w, b: w.add_sample(b),
        lambda w, b: w.execute("UPDATE samples SET blob_hash = NULL"),
    ),
}


async def a_new(world: World, keep: Callable[[BlobRecord], Awaitable[Any]]) -> None:
    await keep(await world.put(b"spoken again"))


@pytest.fixture
def world(database: Database, audio: AudioStore, clock: HandClock) -> World:
    return World(database, audio, clock)


@pytest.mark.parametrize("way", WAYS)
async def test_audio_is_swept_a_grace_after_its_last_reference_was_dropped(
    world: World, database_url: str, way: str
) -> None:
    keep, drop = WAYS[way]
    sweeper = Sweeper(world.db, world.audio, world.clock, GRACE_S)
    blob = await world.put(b"needed once")
    await keep(world, blob)
    world.clock.turn(2 * GRACE_S)
    assert (await sweeper.sweep()).blobs == 0
    listed = f"SELECT COUNT(*) FROM blobs WHERE hash = '{blob.hash}' AND loose_ms IS NOT NULL"
    assert select(database_url, listed) == [(0,)], "audio in use is looked at once"
    world.clock.turn(2 * GRACE_S)
    await drop(world, blob)
    assert select(database_url, listed) == [(1,)]
    await sweeper.sweep()
    assert await world.audio.read(blob.hash) == b"needed once", "a hit in flight may be about to refer to it"
    world.clock.turn(GRACE_S + 1)
    await sweeper.sweep()
    with pytest.raises(BlobMissing):
        await world.audio.read(blob.hash)
    assert select(database_url, f"SELECT COUNT(*) FROM blobs WHERE hash = '{blob.hash}'") == [(0,)]
    assert (await sweeper.unlisted()).blobs == 0


async def test_every_table_that_refers_to_audio_is_in_this_test(database_url: str) -> None:
    kinds = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%REFERENCES blobs%'",
        "postgresql": "SELECT conrelid::regclass::text FROM pg_constraint WHERE confrelid = 'blobs'::regclass",
    }
    found = {name for (name,) in select(database_url, kinds[database_url.partition(":")[0]])}
    assert found == {"cache_entries", "jobs", "samples", "takes", "voices", "word_times"}


async def test_a_drop_between_the_look_and_the_note_of_a_reference_is_not_lost(
    world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await world.put(b"needed once")
    await world.finish_job(blob, retain_until_ms=START_MS + 1)
    world.clock.turn(2 * GRACE_S)
    really, looks = world.db.read, 0

    async def read(fn: Any) -> Any:
        nonlocal looks
        found = await really(fn)
        if isinstance(found, list) and any(blob.hash in row for row in found):
            looks += 1
            assert await world.jobs.delete_retained() == 1
        return found

    monkeypatch.setattr(world.db, "read", read)
    sweeper = Sweeper(world.db, world.audio, world.clock, GRACE_S)
    await sweeper.sweep()
    assert looks
    monkeypatch.setattr(world.db, "read", really)
    await sweeper.sweep()
    world.clock.turn(GRACE_S + 1)
    assert (await sweeper.sweep()).blobs == 1


async def test_nothing_can_begin_to_refer_to_audio_that_is_dying(world: World) -> None:
    blob = await world.put(b"dying")
    sweeper = Sweeper(world.db, world.audio, world.clock, GRACE_S)
    world.clock.turn(2 * GRACE_S)
    died: list[str] = []

    async def refer() -> None:
        for job_id, fields in (("hit", {}), ("hit with a webhook", {"webhook": "https://hooks.example.com/done"})):
            with pytest.raises(BlobMissing):
                await world.finish_job(blob, job_id=job_id, **fields)
        late = a_job("late", state=JobState.COMPLETED, blob_hash=blob.hash)
        assert await world.jobs.insert_many_finished([late]) == ["late"]
        await world.jobs.insert(a_job("follower"))
        await world.jobs.leases.claim(["follower"], "a")
        with pytest.raises(BlobMissing):
            await world.jobs.ends.complete("follower", "a", 1, a_completion(msgspec.structs.replace(blob, spool="")))
        died.append(blob.hash)

    world.audio.blobs.bury = _before(world.audio.blobs.bury, refer)  # type: ignore[method-assign]
    assert (await sweeper.sweep()).blobs == 1
    assert died
    assert await world.jobs.peek("hit") is None


def _before(really: Callable[..., Any], step: Callable[[], Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """The same function for a thread, after a step on the event loop."""
    loop = asyncio.get_running_loop()

    def first(*arguments: Any) -> Any:
        asyncio.run_coroutine_threadsafe(step(), loop).result(30)
        return really(*arguments)

    return first
