"""Takes: what was spoken of a chunk, so that nothing finished is ever spoken again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, text

from gateway.clock import Clock, SystemClock
from storage import job_sql, statements
from storage.database import Database
from storage.notices import Topic, tell
from storage.records import BlobRecord, TakeRecord

_GET = text(
    "SELECT key, blob_hash, samples, sample_rate, size_bytes, gain_db, warnings, job_id, tenant, voice_hash "
    "FROM takes WHERE key IN :keys"
).bindparams(bindparam("keys", expanding=True))
_PUT = text(
    "INSERT INTO takes (key, blob_hash, samples, sample_rate, size_bytes, gain_db, warnings, created_ms, last_used_ms, "
    "job_id, tenant, voice_hash) VALUES (:key, :blob_hash, :samples, :sample_rate, :size_bytes, :gain_db, :warnings, "
    ":now, :now, :job_id, :tenant, :voice_hash) "
    "ON CONFLICT (key) DO UPDATE SET blob_hash = excluded.blob_hash, samples = excluded.samples, "
    "sample_rate = excluded.sample_rate, size_bytes = excluded.size_bytes, gain_db = excluded.gain_db, "
    "warnings = excluded.warnings, created_ms = excluded.created_ms, last_used_ms = excluded.last_used_ms, "
    "job_id = excluded.job_id"
)
_TOUCH = text("UPDATE takes SET last_used_ms = :now WHERE key = :key")
_TOTAL = text("SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM takes")
# The oldest until the excess is gone, but none that is pinned.
_EVICT = text(
    "DELETE FROM takes WHERE key IN (SELECT key FROM (SELECT key, SUM(size_bytes) OVER (ORDER BY last_used_ms, key) "
    "- size_bytes AS freed FROM takes t WHERE NOT EXISTS (SELECT 1 FROM take_pins p WHERE p.take_key = t.key)) "
    "AS oldest WHERE freed < :excess) RETURNING blob_hash"
)
# Pins hold by the job they name and by nothing else: clocks may jump, and servers' clocks differ.
_PIN = text(
    "INSERT INTO take_pins (take_key, job_id) SELECT CAST(:key AS text), j.id FROM jobs j WHERE j.id = :job_id "
    "AND j.state IN ('IN_QUEUE', 'IN_PROGRESS') ON CONFLICT (take_key, job_id) DO NOTHING"
)
_UNPIN = text(
    "DELETE FROM take_pins WHERE (take_key, job_id) IN (SELECT p.take_key, p.job_id FROM take_pins p WHERE NOT EXISTS "
    "(SELECT 1 FROM jobs j WHERE j.id = p.job_id AND j.state IN ('IN_QUEUE', 'IN_PROGRESS')) LIMIT :limit)"
)
_UNPINNED_AT_ONCE = 2_000

_FEW = 8
"""So many takes are looked up where one stands: a sentence should not wait for a thread."""


class TakeStore:
    """Takes by key, with a byte budget of their own."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def get_many(self, keys: Collection[str]) -> dict[str, TakeRecord]:
        """The takes there are under these keys; some hundreds at a time."""
        if not keys:
            return {}
        wanted = {"keys": list(keys)}
        read = self._db.peek if len(keys) <= _FEW else self._db.read
        return await read(
            lambda conn: {row[0]: _take(row) for row in conn.execute(_GET, wanted)},
        )

    async def touch(self, keys: Iterable[str], job_id: str | None = None) -> None:
        """These takes are used now, by a job that pins them as long as it is unfinished."""
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

    async def store(self, take: TakeRecord, blob: BlobRecord, job_id: str, attempt: int, owner: str) -> bool:
        """As `store_many`, for one take."""
        return await self.store_many([(take, blob)], job_id, attempt, owner)

    async def store_many(
        self,
        takes: Sequence[tuple[TakeRecord, BlobRecord]],
        job_id: str,
        attempt: int,
        owner: str,
        progress: tuple[int, int] | None = None,
    ) -> bool:
        """Keep takes that an attempt has spoken: their blobs, their rows, their pins, the job's failures back to 0.

        Args:
            progress: chunks of the job that are done with these, and chunks there are; None: these are its chunks.

        Returns:
            False when the attempt has lost its lease. The takes are kept all the same: each is nobody's but its key's.
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
            tell(conn, Topic.TAKES, [job_id])
            return mine

        return await self._db.writer.run(put)

    async def stats(self) -> tuple[int, int]:
        """How many takes there are, and their bytes."""
        return await self._db.read(lambda conn: _pair(conn.execute(_TOTAL).one()))

    async def evict(self, budget_bytes: int) -> int:
        """Forget the least recently used takes above the budget, but none that an unfinished job uses.

        Returns:
            How many were forgotten; the sweeper removes their files.
        """
        while await self._db.writer.run(
            lambda conn: conn.execute(_UNPIN, {"limit": _UNPINNED_AT_ONCE}).rowcount == _UNPINNED_AT_ONCE
        ):
            pass
        now = self._clock.now_ms()

        def forget(conn: Connection) -> int:
            _, total = _pair(conn.execute(_TOTAL).one())
            if total <= budget_bytes:
                return 0
            rows = conn.execute(_EVICT, {"excess": total - budget_bytes}).all()
            return statements.release(conn, rows, now)

        return await self._db.writer.run(forget)


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
