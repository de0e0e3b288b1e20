from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
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
from storage.records import BlobRecord, TakeRecord
from storage.takes import TakeStore

HOUR_S = 3600


def spools(audio: AudioStore) -> list[Path]:
    return list(audio.spools.folder.iterdir())


def write_row(connection: Connection, blob: BlobRecord, now: int) -> None:
    params = {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": now}
    connection.execute(statements.PUT_BLOB, params)


async def test_audio_is_found_by_the_hash_of_its_bytes_and_leaves_no_spool(audio: AudioStore) -> None:
    data = b"speech" * 10_000
    spool = audio.spools.new()
    spool.write_bytes(data)
    blob = await audio.put_file(spool, ".mp3")
    await audio.settle(blob)
    assert blob.hash == hashlib.sha256(data).hexdigest()
    assert await audio.read(blob.hash) == data
    assert await audio.size(blob.hash) == blob.size_bytes == len(data)
    assert b"".join([piece async for piece in audio.read_range(blob.hash, 7, 12)]) == b"peechs"
    async with audio.local(blob.hash) as path:
        assert path == audio.root / blob.hash[:2] / blob.hash[2:4] / f"{blob.hash}.mp3"
    assert spools(audio) == []


async def test_no_file_ever_has_two_names_so_that_disks_without_hard_links_do_as_well(
    audio: AudioStore, database: Database, clock: HandClock
) -> None:
    def links() -> set[int]:
        return {file.stat().st_nlink for file in audio.root.rglob("*") if file.is_file()}

    blob = await put_audio(audio)
    assert links() == {1}
    await database.writer.run(lambda connection: write_row(connection, blob, clock.now_ms()))
    await audio.settle(blob)
    assert links() == {1}
    audio.blobs.bury([(blob.hash, blob.suffix)])
    assert await Sweeper(database, audio, clock).recover() == 1
    assert links() == {1}


async def test_a_file_on_its_way_is_local_under_a_path_that_stays(audio: AudioStore) -> None:
    blob = await put_audio(audio, b"speech")
    async with audio.local(blob.hash) as path:
        await audio.settle(blob)
        assert path.read_bytes() == b"speech"
    async with audio.local(blob.hash) as path:
        assert path == audio.blobs.locate(blob.hash)


async def test_files_wait_for_no_other_work_that_threads_do(audio: AudioStore) -> None:
    over = threading.Event()
    busy = [asyncio.ensure_future(asyncio.to_thread(over.wait)) for _ in range(64)]
    try:
        async with asyncio.timeout(30):
            blob = await put_audio(audio, b"speech")
            assert await audio.read(blob.hash) == b"speech"
            await audio.ensure()
    finally:
        over.set()
        await asyncio.gather(*busy)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks /proc which file was synced")
async def test_a_row_waits_for_a_spool_on_the_disk_and_a_spool_moves_when_its_folders_are(
    audio: AudioStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[Path, int]] = []
    really = os.fsync

    def fsync(handle: int) -> None:
        really(handle)
        synced.append((Path(f"/proc/self/fd/{handle}").readlink(), len(spools(audio))))

    monkeypatch.setattr(os, "fsync", fsync)
    for known in (False, True):
        blob = await put_audio(audio)
        assert {path for path, _ in synced} == {audio.spools.folder, Path(blob.spool)}
        assert Path(blob.spool).name.startswith(blob.hash), "who misses the file finds it by its hash"
        synced.clear()
        await audio.settle(blob)
        folder = audio.blobs.locate(blob.hash).parent
        assert synced == [*(() if known else ((folder.parent, 1), (audio.root, 1))), (folder, 0)]
        assert spools(audio) == []
        synced.clear()
        audio.blobs.locate(blob.hash).unlink()


@pytest.mark.parametrize("name", ["0" * 64, "../../../etc/passwd", "", "0" * 62 + "..", "x" * 10_000])
async def test_audio_that_is_not_there_is_a_blob_missing(audio: AudioStore, name: str) -> None:
    with pytest.raises(BlobMissing):
        await audio.read(name)
    with pytest.raises(BlobMissing):
        await audio.size(name)


async def test_audio_that_a_sweeper_takes_while_it_is_opened_is_a_blob_missing(
    audio: AudioStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await put_audio(audio, b"sound")
    await audio.settle(blob)
    found = audio.blobs.locate(blob.hash)
    found.unlink()
    monkeypatch.setattr(audio.blobs, "_copies", lambda _: iter([found]))  # it was there a moment ago
    for reading in (audio.read(blob.hash), audio.size(blob.hash), anext(audio.read_range(blob.hash, 0, 1))):
        with pytest.raises(BlobMissing):
            await reading


async def test_what_others_keep_in_the_folder_is_neither_swept_nor_in_the_way(
    audio: AudioStore, database: Database
) -> None:
    theirs = [audio.root / name for name in ("en/us/greeting.mp3", "ab/notes.txt", "cafe.mp3")]
    for file in theirs:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"theirs")
        os.utime(file, (0, 0))
    await Sweeper(database, audio, grace_s=1.0).sweep()
    assert all(file.exists() for file in theirs)


async def test_a_file_cut_short_by_a_bad_disk_is_replaced_when_its_audio_comes_again(audio: AudioStore) -> None:
    blob = await put_audio(audio, b"whole")
    await audio.settle(blob)
    audio.blobs.locate(blob.hash).write_bytes(b"who")
    await audio.settle(await put_audio(audio, b"whole"))
    assert await audio.read(blob.hash) == b"whole"


@pytest.mark.parametrize("when", ["before the row", "after the row"])
async def test_a_sweep_that_meets_a_put_of_the_same_bytes_never_takes_them(
    database: Database, audio: AudioStore, clock: HandClock, when: str
) -> None:
    sweeper = Sweeper(database, audio, clock, grace_s=HOUR_S)
    old = await put_audio(audio)
    await database.writer.run(lambda connection: write_row(connection, old, clock.now_ms()))
    await audio.settle(old)
    clock.turn(2 * HOUR_S)
    blob = await put_audio(audio)
    if when == "before the row":
        assert (await sweeper.sweep()).blobs == 1
    await database.writer.run(lambda connection: write_row(connection, blob, clock.now_ms()))
    if when == "after the row":
        assert (await sweeper.sweep()).blobs == 0
    await audio.settle(blob)
    assert await sweeper.audit() == []
    assert await audio.read(blob.hash) == b"a short sound"


async def test_puts_and_sweeps_at_the_same_time_leave_no_row_without_its_file(
    database: Database, audio: AudioStore
) -> None:
    sweeper = Sweeper(database, audio, grace_s=0)  # the real clock: everything unused is old at once
    jobs = JobStore(database)

    async def speak(n: int) -> None:
        await jobs.insert(a_job(f"job-{n}", created_ms=0, available_ms=0))
        [job] = await jobs.leases.claim([f"job-{n}"], "a")
        blob = await put_audio(audio, f"sound {n % 3}".encode())
        assert (await jobs.ends.complete(job.id, "a", 1, a_completion(blob, int(time.time() * 1000)))).ok
        await audio.settle(blob)
        assert await audio.read(blob.hash) == f"sound {n % 3}".encode()
        assert await delete_job(jobs, job.id)

    async def sweep() -> None:
        while not done.is_set():
            await sweeper.sweep()

    done = asyncio.Event()
    sweeping = asyncio.create_task(sweep())
    try:
        for start in range(0, 60, 6):
            await asyncio.gather(*(speak(n) for n in range(start, start + 6)))
    finally:
        done.set()
        await sweeping
    assert await sweeper.audit() == []


async def test_a_kill_between_row_and_settle_leaves_the_bytes_to_be_found(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    blob = await put_audio(audio)
    await database.writer.run(lambda connection: write_row(connection, blob, clock.now_ms()))
    for spool in spools(audio):
        os.utime(spool, (1, 1))
    assert (await Sweeper(database, audio, clock).sweep()).spools == 1
    assert await audio.read(blob.hash) == b"a short sound"


async def test_old_spools_and_files_without_a_row_go_and_young_ones_stay(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    stray, young = await put_audio(audio, b"stray"), await put_audio(audio, b"young")
    kept = await put_audio(audio, b"kept")
    await database.writer.run(lambda connection: write_row(connection, kept, clock.now_ms()))
    await audio.settle(stray, young, kept)
    audio.spools.new().write_bytes(b"half of a sound")
    for file in (audio.blobs.locate(stray.hash), *spools(audio)):
        os.utime(file, (1, 1))
    swept = await Sweeper(database, audio, clock).sweep()
    assert (swept.strays, swept.spools) == (1, 1)
    with pytest.raises(BlobMissing):
        await audio.read(stray.hash)
    assert await audio.read(young.hash) == b"young"
    assert await audio.read(kept.hash) == b"kept"


async def test_audio_goes_a_grace_after_the_last_row_that_refers_to_it(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    jobs, cache = JobStore(database, clock), CacheStore(database, clock)
    sweeper = Sweeper(database, audio, clock, grace_s=HOUR_S)
    await jobs.insert(a_job())
    await jobs.leases.claim(["job-1"], "a")
    blob = await put_audio(audio)
    await jobs.ends.complete("job-1", "a", 1, a_completion(blob, START_MS, cache_entry=an_entry("key", blob)))
    await audio.settle(blob)
    clock.turn(5 * HOUR_S)
    assert await delete_job(jobs, "job-1")
    assert (await sweeper.sweep()).blobs == 0
    assert await cache.prune() == 1
    assert (await sweeper.sweep()).blobs == 0  # a hit in flight may be about to refer to it
    clock.turn(2 * HOUR_S)
    swept = await sweeper.sweep()
    assert (swept.blobs, swept.size_bytes) == (1, blob.size_bytes)
    with pytest.raises(BlobMissing):
        await audio.size(blob.hash)


async def test_an_audit_names_rows_whose_file_somebody_deleted(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    blob = await put_audio(audio)
    await database.writer.run(lambda connection: write_row(connection, blob, clock.now_ms()))
    await audio.settle(blob)
    audio.blobs.locate(blob.hash).unlink()
    assert await Sweeper(database, audio, clock).audit() == [blob.hash]


async def a_take(takes: TakeStore, audio: AudioStore, key: str, job_id: str = "nobody") -> bool:
    blob = await put_audio(audio, key.encode() * 10)
    take = TakeRecord(key, blob.hash, 100, 24_000, 1000, -1.5, ("clipped",))
    mine = await store_take(takes, take, blob, job_id)
    await audio.settle(blob)
    return mine


async def test_a_stored_take_comes_back_and_forgives_the_job_its_failures(
    database: Database, audio: AudioStore, jobs: JobStore, clock: HandClock
) -> None:
    takes = TakeStore(database, clock)
    await jobs.insert(a_job(failures=2))
    await jobs.leases.claim(["job-1"], "a")
    assert await a_take(takes, audio, "k1", "job-1")
    assert not await a_take(takes, audio, "k2", "somebody else's")
    job = await jobs.peek("job-1")
    assert job is not None
    assert (job.failures, job.chunks_done) == (0, 1)
    found = await takes.get_many(["k1", "k2", "k3"])
    assert set(found) == {"k1", "k2"}
    assert (found["k1"].samples, found["k1"].gain_db, found["k1"].warnings) == (100, -1.5, ("clipped",))
    assert await audio.read(found["k1"].blob_hash) == b"k1" * 10


async def test_takes_go_by_last_use_but_never_those_an_unfinished_job_uses(
    database: Database, audio: AudioStore, jobs: JobStore, clock: HandClock
) -> None:
    takes = TakeStore(database, clock)
    for n in range(4):
        await a_take(takes, audio, f"k{n}")
        clock.turn(10)
    await takes.touch(["k0"])
    assert await takes.evict(4000) == 0
    assert await takes.evict(2500) == 2
    assert set(await takes.get_many(["k0", "k1", "k2", "k3"])) == {"k0", "k3"}
    clock.turn(10)
    await jobs.insert(a_job(created_ms=clock.now_ms()))
    await takes.touch(["k3"], "job-1")
    assert await takes.evict(0) == 1
    assert set(await takes.get_many(["k0", "k3"])) == {"k3"}
    await jobs.ends.cancel("job-1")
    assert await takes.evict(0) == 1
    assert await takes.stats() == (0, 0)


async def test_no_clock_unpins_what_an_unfinished_job_has_spoken_or_found(
    database: Database, audio: AudioStore, jobs: JobStore, clock: HandClock
) -> None:
    takes = TakeStore(database, clock)
    await a_take(takes, audio, "found")
    await a_take(takes, audio, "nobody's")
    for job_id in ("job-1", "job-2"):
        await jobs.insert(a_job(job_id, created_ms=clock.now_ms()))
        await jobs.leases.claim([job_id], "a")
    clock.turn(-5 * HOUR_S)  # or it is another server's, which was always behind
    await takes.touch(["found"], "job-1")
    await takes.touch(["found"], "job-2")
    await a_take(takes, audio, "spoken", "job-1")
    await takes.evict(0)
    assert set(await takes.get_many(["found", "nobody's", "spoken"])) == {"found", "spoken"}
    await jobs.ends.requeue("job-1", "a", 1, "the server stopped", count_failure=False)
    assert await takes.evict(0) == 0, "it will come back for them"
    await jobs.ends.cancel("job-1")
    await takes.evict(0)
    assert set(await takes.get_many(["found", "nobody's", "spoken"])) == {"found"}
    await jobs.ends.cancel("job-2")
    await takes.evict(0)
    assert await takes.stats() == (0, 0)
    assert await database.read(lambda conn: conn.execute(text("SELECT * FROM take_pins")).all()) == []


async def speak_into_the_cache(entries: int, jobs: JobStore, audio: AudioStore, clock: HandClock) -> None:
    """`key-0`, `key-1` and so on, of 100 bytes each, ten seconds apart, by the backends a and b in turn."""
    for n in range(entries):
        await jobs.insert(a_job(f"job-{n}"))
        await jobs.leases.claim([f"job-{n}"], "a")
        blob = await put_audio(audio, bytes([n]) * 100)
        entry = an_entry(f"key-{n}", blob, clock.now_ms(), backend="ab"[n % 2])
        await jobs.ends.complete(f"job-{n}", "a", 1, a_completion(blob, cache_entry=entry))
        await audio.settle(blob)
        clock.turn(10)


async def test_cache_entries_are_counted_aged_and_evicted_by_last_use(
    database: Database, database_url: str, audio: AudioStore, jobs: JobStore, clock: HandClock
) -> None:
    cache = CacheStore(database, clock)
    await speak_into_the_cache(4, jobs, audio, clock)
    await cache.touch_many({"key-0": 50})
    await cache.touch_many({"key-0": 1, "key-3": 2})
    entry = await cache.get("key-0")
    assert entry is not None
    assert (entry.hits, entry.last_used_ms) == (51, clock.now_ms())
    assert await cache.get("nothing") is None
    stats = await cache.stats()
    assert (stats.entries, stats.size_bytes, stats.hits) == (4, 400, 53)
    assert [(share.backend, share.entries) for share in stats.backends] == [("a", 2), ("b", 2)]
    assert await cache.evict(400, max_age_ms=1_000_000) == 0
    assert await cache.evict(250) == 2
    assert entries(database_url) == ["key-0", "key-3"]
    clock.turn(10)
    await cache.touch_many({"key-3": 1})
    clock.turn(15)
    assert await cache.evict(250, max_age_ms=25_000) == 0, "however old, it was used"
    assert await cache.evict(250, max_age_ms=20_000) == 1
    assert await cache.prune(backend="a") == 0
    assert await cache.prune(tenant="nobody", unused_since_ms=clock.now_ms()) == 0
    assert entries(database_url) == ["key-3"]
    assert await cache.prune(backend="b", unused_since_ms=clock.now_ms()) == 1


def entries(url: str) -> list[str]:
    return [key for (key,) in select(url, "SELECT key FROM cache_entries ORDER BY key")]


async def test_the_cache_is_pruned_to_a_size_by_last_use(
    database: Database, database_url: str, audio: AudioStore, jobs: JobStore, clock: HandClock
) -> None:
    cache = CacheStore(database, clock)
    await speak_into_the_cache(6, jobs, audio, clock)
    await cache.touch_many({"key-0": 1})
    assert await cache.prune(to_bytes=600) == 0
    assert await cache.prune(to_bytes=599) == 1
    assert entries(database_url) == ["key-0", "key-2", "key-3", "key-4", "key-5"]
    assert await cache.prune(backend="a", to_bytes=250) == 1
    assert entries(database_url) == ["key-0", "key-3", "key-4", "key-5"]
    assert await cache.prune(tenant="nobody", to_bytes=0) == 0
    middle = (await cache.get("key-4")).last_used_ms  # type: ignore[union-attr]
    assert await cache.prune(unused_since_ms=middle, to_bytes=0) == 1
    assert entries(database_url) == ["key-0", "key-4", "key-5"]
    assert await cache.prune(to_bytes=0) == 3


async def test_servers_can_see_that_an_entry_has_gone_or_has_other_audio(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    cache = CacheStore(database, clock)
    blobs = {f"key-{n}": await put_audio(audio, bytes([n]) * 100) for n in range(3)}

    async def put(key: str, blob: BlobRecord) -> None:
        def both(conn: Connection) -> None:
            write_row(conn, blob, clock.now_ms())
            statements.put_cache_entry(conn, an_entry(key, blob, clock.now_ms(), backend=key))

        await database.writer.run(both)

    for key, blob in blobs.items():
        await put(key, blob)
    held = {key: blob.hash for key, blob in blobs.items()}
    mark = await cache.mark()
    await put("key-0", blobs["key-0"])
    await cache.touch_many(dict.fromkeys(held, 1))
    assert await cache.evict(10**9) == 0
    assert (await cache.mark(), await cache.stale(held)) == (mark, [])
    await cache.prune(backend="key-1")
    assert await cache.mark() > mark
    assert await cache.stale(held) == ["key-1"]
    mark = await cache.mark()
    clock.turn(60)
    await put("key-2", await put_audio(audio, b"spoken anew"))
    assert await cache.mark() > mark
    assert await cache.stale(held) == ["key-1", "key-2"]
    entry = await cache.get("key-2")
    assert entry is not None
    assert entry.hits == 1
