"""Stores takes: the PCM of chunks, so that a finished chunk is never spoken again."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, text

from gateway.clock import Clock, SystemClock
from storage.db import statements
from storage.db.batches import PAGE, Batches, until
from storage.db.database import Database
from storage.db.lists import with_list
from storage.db.notices import Topic, notify
from storage.db.old_rows import MANY, OldRows
from storage.jobs import sql as job_sql
from storage.records import BlobRecord, JobState, TakeRecord

_GET = text(
    "SELECT key, blob_hash, samples, sample_rate, size_bytes, gain_db, warnings, job_id, tenant, voice_hash, words "
    "FROM takes WHERE key IN :keys"
).bindparams(bindparam("keys", expanding=True))
_PUT = text(
    "INSERT INTO takes (key, blob_hash, samples, sample_rate, size_bytes, gain_db, warnings, created_ms, last_used_ms, "
    "job_id, tenant, voice_hash, words) VALUES (:key, :blob_hash, :samples, :sample_rate, :size_bytes, :gain_db, "
    ":warnings, :now, :now, :job_id, :tenant, :voice_hash, :words) "
    "ON CONFLICT (key) DO UPDATE SET blob_hash = excluded.blob_hash, samples = excluded.samples, "
    "sample_rate = excluded.sample_rate, size_bytes = excluded.size_bytes, gain_db = excluded.gain_db, "
    "warnings = excluded.warnings, created_ms = excluded.created_ms, last_used_ms = excluded.last_used_ms, "
    "job_id = excluded.job_id, words = excluded.words"
)
_TOUCH = text("UPDATE takes SET last_used_ms = :now WHERE key = :key")
_TOTAL = text("SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM takes")
_UNPINNED = "NOT EXISTS (SELECT 1 FROM take_pins p WHERE p.take_key = t.key)"
_OLDEST = text(
    "SELECT key, size_bytes, last_used_ms FROM takes t "  # noqa: S608 - constants
    f"WHERE {_UNPINNED} ORDER BY last_used_ms LIMIT :limit"
)
_EVICT = with_list(
    f"DELETE FROM takes AS t WHERE t.key IN :keys AND t.last_used_ms <= :seen AND {_UNPINNED}",  # noqa: S608 - constants
    "keys",
)
# A pin depends only on the state of its job, not on time: clocks may jump, and servers' clocks differ.
_PIN = text(
    "INSERT INTO take_pins (take_key, job_id) SELECT CAST(:key AS text), j.id FROM jobs j WHERE j.id = :job_id "
    "AND j.state IN ('IN_QUEUE', 'IN_PROGRESS') ON CONFLICT (take_key, job_id) DO NOTHING"
)
_UNFINISHED = "state IN ('IN_QUEUE', 'IN_PROGRESS')"
# Jumps from job to job in the index of pins, however many pins each has.
_FINISHED = text(
    "WITH RECURSIVE pinning (id) AS (SELECT MIN(job_id) FROM take_pins WHERE job_id > :after UNION ALL "  # noqa: S608
    "SELECT (SELECT MIN(p.job_id) FROM take_pins p WHERE p.job_id > pinning.id) FROM pinning "
    "WHERE pinning.id IS NOT NULL) SELECT id FROM pinning WHERE id IS NOT NULL "
    f"AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = pinning.id AND j.{_UNFINISHED}) LIMIT :limit"
)
_PINS = text("SELECT take_key, job_id FROM take_pins WHERE job_id IN :ids LIMIT :limit").bindparams(
    bindparam("ids", expanding=True)
)
# On PostgreSQL a retry of one of these jobs waits until its pins are deleted, and then pins again.
_STATES = {
    "sqlite": text("SELECT id, state FROM jobs WHERE id IN :ids").bindparams(bindparam("ids", expanding=True)),
    "postgresql": text("SELECT id, state FROM jobs WHERE id IN :ids ORDER BY id FOR SHARE").bindparams(
        bindparam("ids", expanding=True)
    ),
}
_UNPIN = text("DELETE FROM take_pins WHERE take_key = :key AND job_id = :job_id")
_JOBS_AT_ONCE = 500

_FEW = 8
"""Up to this number, takes are read in the calling thread: a sentence should not wait for another one."""


class TakeStore:
    """Takes by key, with their own byte budget."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def get_many(self, keys: Collection[str]) -> dict[str, TakeRecord]:
        """Return the takes found under these keys; some hundreds at a time."""
        if not keys:
            return {}
        wanted = {"keys": list(keys)}
        read = self._db.peek if len(keys) <= _FEW else self._db.read
        return await read(
            lambda conn: {row[0]: _take(row) for row in conn.execute(_GET, wanted)},
        )

    async def touch(self, keys: Iterable[str], job_id: str | None = None) -> None:
        """Note that takes are used now; the job pins them while it is unfinished."""
        now = self._clock.now_ms()
        used = [{"key": key, "now": now} for key in keys]
        if job_id is None:
            await self._db.writer.insert_many(_TOUCH, used)
            return
        pins = [{"key": row["key"], "job_id": job_id} for row in used]

        def use(conn: Connection) -> None:
            conn.execute(_TOUCH, used)
            conn.execute(_PIN, pins)

        if used:
            await self._db.writer.run(use)

    async def store_many(
        self,
        takes: Sequence[tuple[TakeRecord, BlobRecord]],
        job_id: str,
        attempt: int,
        owner: str,
        progress: tuple[int, int] | None = None,
    ) -> bool:
        """Store takes of an attempt: blobs, rows and pins; resets the job's failures to 0.

        Args:
            progress: the job's chunks done, including these, and its chunks in total; None: these are its chunks.

        Returns:
            False if the attempt has lost its lease. The takes are stored anyway, since a take depends only on its key.
        """
        now = self._clock.now_ms()
        blobs = [_blob_params(blob, now) for _, blob in takes]
        rows = [_take_params(take, now) | {"job_id": job_id} for take, _ in takes]
        pins = [{"key": row["key"], "job_id": job_id} for row in rows]
        done, total = (len(rows), None) if progress is None else progress
        job = {"id": job_id, "owner": owner, "attempt": attempt, "done": done, "total": total}

        def put(conn: Connection) -> bool:
            conn.execute(statements.PUT_BLOB, blobs)
            conn.execute(_PUT, rows)
            mine = conn.execute(job_sql.STORED_TAKES, job).rowcount == 1
            if mine:
                conn.execute(_PIN, pins)
            notify(conn, Topic.TAKES, [job_id])
            return mine

        return await self._db.writer.run(put)

    async def stats(self) -> tuple[int, int]:
        """Return the number of takes, and their bytes."""
        return await self._db.read(lambda conn: _pair(conn.execute(_TOTAL).one()))

    async def evict(self, budget_bytes: int) -> int:
        """Delete the least recently used takes above the budget, but none that an unfinished job uses.

        Returns:
            The number of deleted takes; the sweeper removes their files.
        """
        await self._unpin()
        batches = Batches(self._db, self._clock)
        evicted = await self._evict_many(budget_bytes, batches)
        while (await self.stats())[1] > budget_bytes:
            page = {"limit": PAGE}
            oldest = await self._db.read(lambda conn, page=page: conn.execute(_OLDEST, page).all())  # type: ignore[misc]
            # Summed after the read, so that takes which another server deletes meanwhile are counted in it.
            keys = list(until(oldest, (await self.stats())[1] - budget_bytes))
            seen = oldest[len(keys) - 1][2] if keys else 0
            gone = sum(await batches.run(keys, functools.partial(_evict_some, seen=seen)))
            evicted += gone
            if not gone:  # all are pinned, or another server does the same
                break
        return evicted

    async def _evict_many(self, budget_bytes: int, batches: Batches) -> int:
        """As `evict`, for a large part of the table; leaves the last few takes to it."""
        held = (await self.stats())[1]
        if held - budget_bytes <= held * MANY:
            return 0
        old = OldRows(self._db, "takes t", _UNPINNED, "TRUE")
        mark = await old.since(budget_bytes)
        evicted = 0
        async for keys, seen in old.pages(mark):
            evicted += sum(await batches.run(keys, functools.partial(_evict_some, seen=seen)))
        return evicted

    async def _unpin(self) -> None:
        """Delete the pins of finished jobs."""
        batches = Batches(self._db, self._clock)
        after = ""
        while True:
            params = {"after": after, "limit": _JOBS_AT_ONCE}
            ids = await self._db.read(lambda conn, params=params: conn.execute(_FINISHED, params).scalars().all())  # type: ignore[misc]
            if not ids:
                return
            while True:
                of_these = {"ids": ids, "limit": PAGE}
                pins = await self._db.read(lambda conn, of_these=of_these: conn.execute(_PINS, of_these).all())  # type: ignore[misc]
                if not sum(await batches.run(pins, self._drop_pins)):
                    break
            after = ids[-1]

    def _drop_pins(self, conn: Connection, pins: Sequence[Any]) -> int:
        states = conn.execute(_STATES[self._db.dialect], {"ids": sorted({pin[1] for pin in pins})}).all()
        held = {row[0] for row in states if not JobState(row[1]).final}  # retried since the read
        rows = [{"key": pin[0], "job_id": pin[1]} for pin in pins if pin[1] not in held]
        if rows:
            conn.execute(_UNPIN, rows)
        return len(rows)


def _evict_some(conn: Connection, keys: Sequence[str], seen: int) -> int:
    return conn.execute(_EVICT, {"keys": keys, "seen": seen}).rowcount


def _pair(row: Any) -> tuple[int, int]:
    return int(row[0]), int(row[1])


def _take(row: Any) -> TakeRecord:
    return TakeRecord(row[0], row[1], row[2], row[3], row[4], row[5], _warnings(row[6]), *row[7:])


_warnings = msgspec.json.Decoder(tuple[str, ...]).decode


def _take_params(take: TakeRecord, now: int) -> dict[str, Any]:
    params = msgspec.structs.asdict(take)
    params["warnings"] = msgspec.json.encode(take.warnings).decode()
    params["now"] = now
    return params


def _blob_params(blob: BlobRecord, now: int) -> dict[str, Any]:
    return {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": now}
