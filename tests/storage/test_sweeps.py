"""Sweeps that meet puts, other sweeps and kills, and sweeps that have much to do."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, bindparam, event, text
from support.storage import (
    HandClock,
    a_completion,
    a_job,
    an_entry,
    delete_job,
    on_sqlite,
    opened,
    put_audio,
    select,
    store_take,
)

from gateway.clock import SystemClock
from storage.cache_entries import CacheStore
from storage.db import batches, statements
from storage.db.database import Database
from storage.errors import BlobMissing
from storage.files import sweeper
from storage.files.audio import AudioStore
from storage.files.blob_store import BlobStore
from storage.files.spools import Spools
from storage.files.sweeper import Sweeper
from storage.jobs.queue import JobStore
from storage.records import BlobRecord, JobState, TakeRecord
from storage.takes import TakeStore

GRACE_S = 3600
GATES = ("before the sweep", "row dying", "file in the trash", "looked at again", "trash emptied", "after the sweep")
PUT = ("file", "row", "settled")
KNOWN = text("SELECT COUNT(*) FROM blobs WHERE hash = :hash")


class Killed(Exception):
    """The sweeper's process is no more."""


class Gated(BlobStore):
    """A blob store that lets a test act at every step of a sweep, and end it there.

    Args:
        act: a coroutine function, given the gate's name; what it raises kills the sweep.
    """

    def __init__(self, root: Path, act: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        super().__init__(root, Spools(root).of)
        self._act = act
        self._loop = asyncio.get_running_loop()

    def bury(self, blobs: Iterable[tuple[str, str]]) -> list[str]:
        self._gate("row dying")
        moved = super().bury(blobs)
        self._gate("file in the trash")
        return moved

    def clear(self, files: Sequence[str], rows: set[str]) -> tuple[int, int]:
        self._gate("looked at again")
        done = super().clear(files, rows)
        self._gate("trash emptied")
        return done

    def _gate(self, name: str) -> None:
        asyncio.run_coroutine_threadsafe(self._act(name), self._loop).result(30)


def gated(root: Path, act: Callable[[str], Coroutine[Any, Any, None]]) -> AudioStore:
    audio = AudioStore(root)
    audio.blobs = Gated(root, act)
    return audio


async def write_row(database: Database, blob: BlobRecord, clock: HandClock) -> None:
    row = {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": clock.now_ms()}
    await database.writer.insert(statements.PUT_BLOB, row)


async def swept_while_put(
    database: Database, root: Path, clock: HandClock, data: bytes, when: dict[str, str], killed_at: str | None
) -> str:
    """A sweep removes these bytes, and each step of a put of the same bytes is done at its gate; gives their hash.

    Args:
        when: for each step of the put its gate.
        killed_at: the gate where the sweep is killed; what is left of the put follows, then another server's sweep.
    """
    plain = AudioStore(root)
    old = await put_audio(plain, data)
    await write_row(database, old, clock)
    await plain.settle(old)
    clock.turn(2 * GRACE_S)
    left = list(PUT)
    blob = old

    async def act(gate: str) -> None:
        nonlocal blob
        while left and when[left[0]] == gate:
            step = left.pop(0)
            if step == "file":
                blob = await put_audio(plain, data)
            elif step == "row":
                await write_row(database, blob, clock)
            else:
                await plain.settle(blob)
        if gate == killed_at:
            raise Killed

    await act(GATES[0])
    with suppress(Killed):
        await Sweeper(database, gated(root, act), clock, GRACE_S, walked=0).sweep()
    for gate in GATES:
        with suppress(Killed):
            await act(gate)
    assert not left
    assert await plain.read(old.hash) == data, "also before anybody has cleared up"
    await Sweeper(database, plain, clock, GRACE_S, walked=0).recover()
    return old.hash


ORDERS = [dict(zip(PUT, gates, strict=True)) for gates in itertools.combinations_with_replacement(GATES, len(PUT))]


@pytest.mark.parametrize("killed_at", [None, *GATES[1:-1]])
async def test_no_order_of_a_sweep_and_a_put_of_the_same_bytes_and_no_kill_of_the_sweep_loses_them(
    database: Database, database_url: str, tmp_path: Path, clock: HandClock, killed_at: str | None
) -> None:
    root = tmp_path / "audio"
    for n, when in enumerate(ORDERS):
        data = f"sound {n}".encode()
        blob_hash = await swept_while_put(database, root, clock, data, when, killed_at)
        assert await AudioStore(root).read(blob_hash) == data, when

        params = {"hash": blob_hash}
        assert await database.read(lambda conn, params=params: conn.execute(KNOWN, params).scalar_one()) == 1, when
    assert select(database_url, "SELECT COUNT(*) FROM dying_blobs") == [(0,)]
    assert not [file for folder in ("trash", "tmp") for file in (root / folder).iterdir()]


@pytest.mark.parametrize("killed_at", GATES[1:-1])
async def test_what_a_killed_sweep_began_to_remove_the_next_one_of_any_server_removes(
    database: Database, database_url: str, tmp_path: Path, clock: HandClock, killed_at: str
) -> None:
    root = tmp_path / "audio"
    plain = AudioStore(root)
    for n in range(3):
        blob = await put_audio(plain, f"{n}".encode())
        await write_row(database, blob, clock)
        await plain.settle(blob)
    clock.turn(2 * GRACE_S)

    async def act(gate: str) -> None:
        if gate == killed_at:
            raise Killed

    with pytest.raises(Killed):
        await Sweeper(database, gated(root, act), clock, GRACE_S).sweep()
    await Sweeper(database, plain, clock, GRACE_S).recover()
    assert select(database_url, "SELECT COUNT(*) FROM blobs") == [(0,)]
    assert select(database_url, "SELECT COUNT(*) FROM dying_blobs") == [(0,)]
    assert not [file for file in root.rglob("*") if file.is_file() and file.parent.name != "owners"]


async def test_puts_and_the_sweeps_of_two_servers_at_the_same_time_leave_no_row_without_its_file(
    database: Database, database_url: str, audio: AudioStore
) -> None:
    jobs = JobStore(database)

    async def speak(n: int) -> None:
        await jobs.insert(a_job(f"job-{n}", created_ms=0, available_ms=0))
        [job] = await jobs.leases.claim([f"job-{n}"], "a")
        blob = await put_audio(audio, f"sound {n % 3}".encode())
        assert (await jobs.ends.complete(job.id, "a", 1, a_completion(blob, jobs._clock.now_ms()))).ok
        await audio.settle(blob)
        assert await audio.read(blob.hash) == f"sound {n % 3}".encode()
        assert await delete_job(jobs, job.id)

    async def sweep(sweeper: Sweeper) -> None:
        nonlocal swept
        while not done.is_set():
            swept += (await sweeper.sweep()).blobs

    done = asyncio.Event()
    swept, turns = 0, itertools.count()
    async with opened(database_url) as other:
        # The real clock, and no grace: everything unused is old at once.
        sweepers = [Sweeper(each, AudioStore(audio.root), grace_s=0) for each in (database, other)]
        sweeping = [asyncio.create_task(sweep(sweeper)) for sweeper in sweepers]
        try:
            # A sweep finds what is in no use for a moment only, so it takes some turns until they have met.
            while (turn := next(turns)) < 10 or swept < 3:
                await asyncio.gather(*(speak(n) for n in range(6 * turn, 6 * turn + 6)))
        finally:
            done.set()
            await asyncio.gather(*sweeping)
        assert await sweepers[0].audit() == []


async def test_a_blob_dated_by_a_clock_that_was_wrong_goes_a_grace_after_that_is_seen(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    clock.turn(10 * 365 * 86_400)
    blob = await put_audio(audio)
    await write_row(database, blob, clock)
    await audio.settle(blob)
    clock.turn(-10 * 365 * 86_400)
    sweeper = Sweeper(database, audio, clock, GRACE_S)
    assert (await sweeper.sweep()).blobs == 0
    clock.turn(GRACE_S + 1)
    assert (await sweeper.sweep()).blobs == 1


@on_sqlite
async def test_audio_that_loses_its_last_use_stays_for_a_grace_also_if_the_machines_clock_was_set_back(
    database: Database, audio: AudioStore
) -> None:
    clock = HandClock(SystemClock().now_ms() + 30 * 86_400_000)  # the machine lags behind its server by a month
    takes, sweeper = TakeStore(database, clock), Sweeper(database, audio, clock, GRACE_S, walked=0)
    blob = await put_audio(audio)
    await store_take(takes, TakeRecord("a take", blob.hash, 1, 24_000, blob.size_bytes), blob, "somebody's job")
    await audio.settle(blob)
    clock.turn(2 * GRACE_S)
    await sweeper.sweep()
    assert await takes.evict(0) == 1
    clock.turn(GRACE_S // 2)
    assert (await sweeper.sweep()).blobs == 0
    clock.turn(GRACE_S)
    assert (await sweeper.sweep()).blobs == 1


async def test_audio_in_no_use_and_on_no_list_is_told_and_found_by_the_walk_of_the_files(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    blob = await put_audio(audio)
    await write_row(database, blob, clock)
    await audio.settle(blob)
    await database.writer.run(lambda conn: conn.execute(text("UPDATE blobs SET loose_ms = NULL")).rowcount)
    sweeper = Sweeper(database, audio, clock, GRACE_S)
    found = await sweeper.unlisted()
    assert (found.blobs, found.size_bytes) == (1, blob.size_bytes)
    await sweeper.sweep()
    await sweeper.sweep()
    clock.turn(GRACE_S + 1)
    assert (await sweeper.sweep()).blobs == 1


@on_sqlite
async def test_files_without_a_row_are_found_a_part_at_each_sweep_and_all_of_them_in_one_round(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    kept = await put_audio(audio, b"kept")
    await write_row(database, kept, clock)
    await audio.settle(kept)
    for n in range(60):
        stray = await put_audio(audio, f"{n}".encode())
        await audio.settle(stray)
        os.utime(audio.blobs.locate(stray.hash), (1, 1))
    sweeper = Sweeper(database, audio, clock, walked=10)
    found = []
    while sum(found) < 60:
        found.append((await sweeper.sweep()).strays)
        assert len(found) <= 8, "a round takes so many sweeps"
    assert max(found) <= 11, "a sweep looks at so many files, and at what else is in the last folder"
    assert [file.stem for file in audio.root.glob("??/??/*")] == [kept.hash]


@contextmanager
def writes(tables: tuple[str, ...]) -> Iterator[list[int]]:
    """Rows of these tables that each transaction of this process has deleted or changed, in their order."""
    counted: list[int] = []
    now = 0

    def count(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal now
        words = statement.split()
        if words[0] in ("DELETE", "UPDATE") and any(table in words[:3] for table in tables):
            now += max(0, cursor.rowcount)

    def end(_conn: Any) -> None:
        nonlocal now
        counted.append(now)
        now = 0

    event.listen(Engine, "after_cursor_execute", count)
    event.listen(Engine, "commit", end)
    try:
        yield counted
    finally:
        event.remove(Engine, "after_cursor_execute", count)
        event.remove(Engine, "commit", end)


async def test_evictions_retention_and_sweeps_hold_the_writer_for_no_more_than_a_batch(
    database: Database, database_url: str, audio: AudioStore, clock: HandClock
) -> None:
    most = batches.PACES[database.dialect].most
    many = 3_000
    jobs, takes, cache = JobStore(database, clock), TakeStore(database, clock), CacheStore(database, clock)
    blobs = [BlobRecord(f"{n:064x}", 1_000, ".flac") for n in range(many)]
    await takes.store_many(
        [(TakeRecord(f"take-{n}", blob.hash, 1, 24_000, 1_000), blob) for n, blob in enumerate(blobs)], "gone", 1, "a"
    )
    pins = [{"key": f"take-{n}", "job_id": f"job-{n % 7}"} for n in range(many)]
    await database.writer.insert_many(text("INSERT INTO take_pins (take_key, job_id) VALUES (:key, :job_id)"), pins)
    for start in range(0, many, 500):
        entries = [an_entry(f"key-{n}", blobs[n], clock.now_ms()) for n in range(start, start + 500)]
        await database.writer.run(lambda conn, entries=entries: [statements.put_cache_entry(conn, e) for e in entries])
        finished = [
            a_job(f"job-{n}", state=JobState.COMPLETED, retain_until_ms=1, blob_hash=blobs[n].hash)
            for n in range(start, start + 500)
        ]
        await asyncio.gather(*(jobs.insert(job) for job in finished))
    sweeper = Sweeper(database, audio, clock, GRACE_S)
    with writes(("take_pins", "takes", "cache_entries", "jobs", "blobs", "dying_blobs")) as rows:
        assert await takes.evict(0) == many
        assert await cache.evict(100_000, max_age_ms=10**9) == many - 100
        assert await cache.prune(to_bytes=50_000) == 50
        assert await cache.prune() == 50
        assert await jobs.delete_retained() == many
        await sweeper.sweep()
        clock.turn(2 * GRACE_S)
        assert (await sweeper.sweep()).blobs == many
    for table in ("take_pins", "takes", "cache_entries", "jobs", "blobs", "dying_blobs"):
        assert select(database_url, f"SELECT COUNT(*) FROM {table}") == [(0,)]
    assert max(rows) <= most
    assert sum(rows) >= 6 * many, "and this has counted all of them"


BLOBS = text(
    "INSERT INTO blobs (hash, suffix, size_bytes, touched_ms, loose_ms) "
    "WITH RECURSIVE n (i) AS (SELECT 100000 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < 100000 + :many) "
    "SELECT CAST(i AS text) || :rest, '.flac', 1, 0, CAST(:loose_ms AS bigint) FROM n"
)
"""Blobs without files."""


async def put_blobs(database: Database, many: int, loose_ms: int | None) -> list[str]:
    row = {"many": many, "rest": "0" * 58, "loose_ms": loose_ms}
    await database.writer.run(lambda conn: conn.execute(BLOBS, row).rowcount)
    return [f"{100000 + i}{row['rest']}" for i in range(many)]


async def test_a_list_that_takes_many_looks_is_swept_to_its_end_and_what_is_in_use_stays(
    database: Database, database_url: str, audio: AudioStore, clock: HandClock
) -> None:
    many = 2 * sweeper._PAGE + 1_000
    hashes = await put_blobs(database, many, 0)
    take = "INSERT INTO takes (key, blob_hash, samples, sample_rate, size_bytes, gain_db, warnings, created_ms, "
    take += "last_used_ms, job_id) SELECT hash, hash, 1, 24000, 1, 0, '[]', 0, 0, 'gone' FROM blobs "
    take += "WHERE hash LIKE :kept"
    used = {"kept": "11%"}
    kept = await database.writer.run(lambda conn: conn.execute(text(take), used).rowcount)
    assert 0 < kept < many
    sweeps = Sweeper(database, audio, clock, GRACE_S, walked=0)
    assert (await sweeps.sweep()).blobs == 0
    clock.turn(2 * GRACE_S)
    assert (await sweeps.sweep()).blobs == many - kept
    left = [row[0] for row in select(database_url, "SELECT hash FROM blobs ORDER BY hash")]
    assert left == [each for each in hashes if each.startswith("11")]
    for what in ("blobs WHERE loose_ms IS NOT NULL", "dying_blobs"):
        assert select(database_url, f"SELECT COUNT(*) FROM {what}") == [(0,)]


@pytest.mark.parametrize("name", ["_DATE", "_TAKE", "_KEEP"])
async def test_a_list_that_became_long_since_rows_were_counted_is_not_read_for_each_batch(
    database: Database, name: str
) -> None:
    hashes = await put_blobs(database, 5_000, None)
    await database.writer.run(lambda conn: conn.execute(text("ANALYZE")).rowcount)
    await database.writer.run(lambda conn: conn.execute(text("UPDATE blobs SET loose_ms = 0")).rowcount)
    explain = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN"
    statement = text(f"{explain} {getattr(sweeper, name).text}").bindparams(bindparam("hashes", expanding=True))
    given = {"hashes": hashes[:64], "now": 1, "before": 1}
    given = {bind: given[bind] for bind in statement._bindparams}
    plan = await database.read(lambda conn: [str(row[-1]) for row in conn.execute(statement, given)])
    assert not [step for step in plan if "ix_blobs_loose" in step], plan


async def test_two_servers_that_evict_at_once_leave_what_the_budget_allows(
    database: Database, database_url: str, clock: HandClock
) -> None:
    blobs = [BlobRecord(f"{n:064x}", 1_000, ".flac") for n in range(400)]
    stored = [(TakeRecord(f"take-{n}", blob.hash, 1, 24_000, 1_000), blob) for n, blob in enumerate(blobs)]
    await TakeStore(database, clock).store_many(stored, "gone", 1, "a")
    async with opened(database_url) as other:
        gone = await asyncio.gather(*(TakeStore(each, clock).evict(100_000) for each in (database, other)))
    assert sum(gone) == 300
    assert select(database_url, "SELECT COUNT(*) FROM takes") == [(100,)]


async def test_a_take_that_a_job_finds_while_it_is_about_to_be_evicted_stays(
    database: Database, jobs: JobStore, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = TakeStore(database, clock)
    blob = BlobRecord("0" * 64, 1_000, ".flac")
    await store_take(takes, TakeRecord("take", blob.hash, 1, 24_000, 1_000), blob, "gone")
    await jobs.insert(a_job())
    really = database.read

    async def read(fn: Any) -> Any:
        found = await really(fn)
        if isinstance(found, list) and any("take" in row for row in found):
            clock.turn(1)
            await takes.touch(["take"], "job-1")
        return found

    monkeypatch.setattr(database, "read", read)
    assert await takes.evict(0) == 0
    monkeypatch.setattr(database, "read", really)
    assert set(await takes.get_many(["take"])) == {"take"}


async def test_a_deleted_blobs_file_is_gone_and_nothing_else(
    database: Database, audio: AudioStore, clock: HandClock
) -> None:
    blobs = [await put_audio(audio, f"{n}".encode()) for n in range(2)]
    for blob in blobs:
        await write_row(database, blob, clock)
        await audio.settle(blob)
    await JobStore(database, clock).insert(a_job(state=JobState.COMPLETED, blob_hash=blobs[0].hash))
    clock.turn(2 * GRACE_S)
    swept = await Sweeper(database, audio, clock, GRACE_S).sweep()
    assert (swept.blobs, swept.size_bytes) == (1, 1)
    assert await audio.read(blobs[0].hash) == b"0"
    with pytest.raises(BlobMissing):
        await audio.read(blobs[1].hash)
