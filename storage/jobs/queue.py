"""The durable job queue: submit, read, delete. Its SQL is in `storage/jobs/sql.py`.

The fence: a lease is (owner, attempt). Every write of an owner names both, and changes nothing once either differs or
the job has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gateway.clock import Clock, SystemClock
from storage.db import statements
from storage.db.batches import PAGE, Batches
from storage.db.database import Database
from storage.db.notices import Topic, notify
from storage.errors import BlobMissing, IdempotencyConflict
from storage.jobs import sql as job_sql
from storage.jobs.ends import JobEnds
from storage.jobs.leases import JobLeases
from storage.jobs.rows import (
    add_hit_usage,
    add_webhooks,
    insert_hits,
    insert_jobs,
    job_of,
    log_events,
    maybe_job,
    params_of,
    tally_counts,
)
from storage.records import (
    Accepted,
    Idempotency,
    JobRecord,
    JobState,
    Retention,
)

PLACE_LIMIT = 1_000
_CHARS_OF_A_ROW = 20_000
"""Characters of text whose deletion costs as much as one more row."""


class JobStore:
    """Submits, reads and deletes jobs in SQL; `leases` claims them, `ends` ends them."""

    def __init__(self, db: Database, clock: Clock | None = None, retention: Retention | None = None) -> None:
        self._db = db
        self._clock = clock = clock or SystemClock()
        self.retention = retention = retention or Retention()
        self.leases = JobLeases(db, clock, retention)
        self.ends = JobEnds(db, clock, retention)

    # -- submit and read

    async def insert(self, job: JobRecord, idempotency: Idempotency | None = None) -> JobRecord:
        """Store a new job durably and return it; for a known idempotency key, return the job it made before. For a job
        answered by the cache, usage is added too.

        Raises:
            IdempotencyConflict: the key was used with another body.
            BlobMissing: the job refers to audio that was swept meanwhile.
        """
        if idempotency is None and job.state is JobState.COMPLETED and not job.webhook:
            await self.insert_hit(job)
            return job
        if idempotency is None and not (job.state.final and job.webhook):
            topic = None if job.state.final else Topic.QUEUE
            await self._db.writer.insert(job_sql.INSERT, params_of(job), topic)
            self._db.tally.add(tally_counts([job]))
            return job
        return (await self._accept(job, idempotency, None)).job

    async def insert_hit(self, job: JobRecord, then: Callable[[], None] | None = None) -> None:
        """Store a job that the cache has answered, durably, with its usage.

        Args:
            then: called after the commit, even if the caller was cancelled.

        Raises:
            BlobMissing: its audio was swept meanwhile.
        """
        try:
            await self._db.writer.gather(insert_hits, job, then)
        except IntegrityError as error:
            raise _swept(job, error) from error

    async def insert_claimed(self, job: JobRecord, idempotency: Idempotency | None, owner: str) -> Accepted:
        """Store a new job and take a lease on it, in one transaction; if its flight has a leader, it stays queued.

        Raises:
            IdempotencyConflict: the key was used with another body.
        """
        return await self._accept(job, idempotency, owner)

    async def _accept(self, job: JobRecord, idempotency: Idempotency | None, owner: str | None) -> Accepted:
        def accept(conn: Connection) -> Accepted | str:
            if idempotency is not None:
                key = {"tenant": job.tenant, "endpoint_id": job.endpoint_id, "key": idempotency.key}
                if (known := conn.execute(job_sql.FIND_KEY, key).first()) is not None:
                    if known[0] != idempotency.body_hash:
                        return str(known[1])
                    return Accepted(job_of(conn.execute(job_sql.GET, {"id": known[1]}).one()))
            insert_jobs(conn, [job])
            if idempotency is not None:
                body = {"body_hash": idempotency.body_hash, "job_id": job.id, "now": job.created_ms}
                conn.execute(job_sql.INSERT_KEY, key | body)
            if job.state.final:
                if job.webhook:
                    add_webhooks(conn, [(job.id, job.tenant, job.webhook)], job.created_ms)
                if job.state is JobState.COMPLETED:
                    add_hit_usage(conn, [job])
                return Accepted(job)
            return self._claim_new(conn, job, owner)

        try:
            accepted = await self._db.writer.run(accept)
        except IntegrityError:
            # Another server committed at the same moment: it made a job with this key, or leads this flight, which a
            # second try sees. Otherwise the blob is missing.
            try:
                accepted = await self._db.writer.run(accept)
            except IntegrityError as error:
                raise _swept(job, error) from error
        if isinstance(accepted, str):
            assert idempotency is not None
            raise IdempotencyConflict(idempotency.key, accepted)
        return accepted

    def _claim_new(self, conn: Connection, job: JobRecord, owner: str | None) -> Accepted:
        row = None
        if owner is not None:
            row = conn.execute(job_sql.CLAIM_NEW, {"id": job.id, "owner": owner, "now": job.created_ms}).first()
        if row is None:
            notify(conn, Topic.QUEUE)
            return Accepted(job)
        log_events(conn, "claimed", [(job.id, 1)], job.created_ms, owner)
        lease = {"state": JobState.IN_PROGRESS, "owner": owner, "attempt": 1, "started_ms": job.created_ms}
        return Accepted(msgspec.structs.replace(job, **lease), claimed=True, cached=bool(row[0]))

    async def insert_many_finished(self, jobs: Sequence[JobRecord]) -> list[str]:
        """Store jobs that the cache has already answered, with their usage; jobs that are stored already are skipped.

        Returns:
            The ids of jobs whose audio was swept meanwhile: their usage is stored, the jobs are not.
        """
        if not jobs:
            return []

        def write(conn: Connection, new: Sequence[JobRecord]) -> list[str]:
            has_blob = statements.HAS_BLOB[self._db.dialect]
            known = {
                blob for blob in {job.blob_hash for job in new}
                if blob is None or conn.execute(has_blob, {"hash": blob}).first() is not None
            }  # fmt: skip
            kept = [job for job in new if job.blob_hash in known]
            if kept:
                insert_jobs(conn, kept)
            add_hit_usage(conn, new)
            return [job.id for job in new if job.blob_hash not in known]

        def write_missing(conn: Connection) -> list[str]:
            return write(conn, [j for j in jobs if conn.execute(job_sql.EXISTS, {"id": j.id}).first() is None])

        try:
            return await self._db.writer.run(lambda conn: write(conn, jobs))
        except IntegrityError:
            # Some are stored already: a commit reported as failed had succeeded. They are not counted twice.
            return await self._db.writer.run(write_missing)

    async def get(self, job_id: str) -> JobRecord | None:
        """Return a job with its request."""
        return await self._db.read(lambda conn: maybe_job(conn.execute(job_sql.GET, {"id": job_id}).first()))

    async def peek(self, job_id: str) -> JobRecord | None:
        """Return a job without its request (`request` is ""): enough for a status, at a third of the cost."""
        return await self._db.peek(lambda conn: maybe_job(conn.execute(job_sql.PEEK, {"id": job_id}).first()))

    async def peek_placed(self, job_id: str) -> tuple[JobRecord, int] | None:
        """Return a job as `peek` does, with its place in the queue as `position` counts it."""
        params = {"id": job_id, "limit": PLACE_LIMIT}
        row = await self._db.peek(lambda conn: conn.execute(job_sql.PEEK_PLACED, params).first())
        return None if row is None else (job_of(row[:-1]), int(row[-1]))

    async def waiting(self) -> int:
        """Return the number of waiting jobs of all endpoints."""
        return await self._db.read(lambda conn: int(conn.execute(job_sql.WAITING).scalar_one()))

    async def position(self, job: JobRecord) -> int:
        """Return the job's position among its tenant's jobs of the same backend and lane, from 1 to PLACE_LIMIT; 0 if
        it does not wait. Other tenants' jobs are not counted, since tenants take turns."""
        params = {"backend": job.backend, "tenant": job.tenant, "created_ms": job.created_ms, "id": job.id}
        ahead = params | {"limit": PLACE_LIMIT}
        return await self._db.read(lambda conn: int(conn.execute(job_sql.AHEAD, ahead).scalar_one()))

    async def begin_sending(self, job: JobRecord, token: str) -> bool:
        """Write the token of a `/stream` answer that is about to send the items from the cursor on. Returns False if
        the job differs from `job`: another poll was first, or the job started again."""
        row = {
            "id": job.id, "retries": job.retries, "cursor": job.stream_cursor, "before": job.stream_sending or "",
            "backend": job.backend, "token": token,
        }  # fmt: skip
        return await self._db.writer.run(lambda conn: conn.execute(job_sql.BEGIN_SENDING, row).rowcount == 1)

    async def end_sending(self, job_id: str, token: str, to: int) -> None:
        """Note that the stream's items up to `to` were sent, unless another answer has taken the token meanwhile."""
        await self._db.writer.insert(job_sql.END_SENDING, {"id": job_id, "token": token, "to": to})

    # -- delete

    async def shorten_retention(self, job_id: str, until_ms: int) -> None:
        """Shorten the retention of a finished job to `until_ms`; never lengthens it."""
        await self._db.writer.insert(job_sql.SHORTEN, {"id": job_id, "until": until_ms})

    async def delete_retained(self, now: int | None = None) -> int:
        """Delete jobs whose retention is over, with their texts; returns their number."""
        when = self._clock.now_ms() if now is None else now
        page = {"now": when, "limit": PAGE}
        batches = Batches(self._db, self._clock)

        def forget(conn: Connection, rows: Sequence[Any]) -> int:
            return conn.execute(job_sql.DELETE_RETAINED, {"ids": [row[0] for row in rows], "now": when}).rowcount

        deleted = 0
        while True:
            rows = await self._db.read(lambda conn: conn.execute(job_sql.RETAINED, page).all())
            gone = sum(await batches.run(rows, forget, weigh=lambda row: 1 + row[1] // _CHARS_OF_A_ROW))
            if not gone:
                return deleted
            deleted += gone


def _swept(job: JobRecord, error: IntegrityError) -> Exception:
    """Return the error for a job's row that breaks a constraint: its blob is missing, if it has one."""
    return error if job.blob_hash is None else BlobMissing(job.blob_hash)
