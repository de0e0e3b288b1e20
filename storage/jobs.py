"""The durable queue: submit, claim under a lease, beat, end. Its SQL is in `storage/job_sql.py`.

The fence: a lease is (owner, attempt). Whatever an owner writes names both, and writes nothing once either has
moved on or the job has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from storage import job_sql, statements
from storage.batches import PAGE, Batches
from storage.errors import BlobMissing, IdempotencyConflict
from storage.job_ends import JobEnds
from storage.job_leases import JobLeases
from storage.job_rows import job_of, maybe_job, moves_of, owe, params_of, row_of
from storage.notices import Topic, tell
from storage.records import (
    Idempotency,
    JobEventRecord,
    JobRecord,
    JobState,
)
from storage.tally import note

PLACE_LIMIT = 1_000
_CHARS_OF_A_ROW = 20_000
"""Deleting so much text costs as much again as deleting a job with a short one."""


class JobStore(JobLeases, JobEnds):
    """All that is ever done to jobs: submitting, reading and forgetting here, leases and ends in what it is made of."""

    # -- submit and read

    async def insert(self, job: JobRecord, idempotency: Idempotency | None = None) -> JobRecord:
        """Accept a job, durably; with an idempotency key, give the job that the key made before instead.

        Raises:
            IdempotencyConflict: the key came before with another body.
            BlobMissing: the job refers to audio that has just been swept.
        """
        if idempotency is None and not (job.webhook and job.state.final):
            try:
                news = None if job.state.final else Topic.QUEUE
                await self._db.writer.insert(job_sql.INSERT, params_of(job), news)
                self._db.tally.add(moves_of([job]))
            except IntegrityError as error:
                raise _swept(job, error) from error
            return job

        def accept(conn: Connection) -> JobRecord | str:
            if idempotency is not None:
                key = {"tenant": job.tenant, "endpoint_id": job.endpoint_id, "key": idempotency.key}
                if (known := conn.execute(job_sql.FIND_KEY, key).first()) is not None:
                    if known[0] != idempotency.body_hash:
                        return str(known[1])
                    return job_of(conn.execute(job_sql.GET, {"id": known[1]}).one())
            conn.execute(job_sql.INSERT, params_of(job))
            note(conn, moves_of([job]))
            if not job.state.final:
                tell(conn, Topic.QUEUE)
            if idempotency is not None:
                body = {"body_hash": idempotency.body_hash, "job_id": job.id, "now": job.created_ms}
                conn.execute(job_sql.INSERT_KEY, key | body)
            if job.webhook and job.state.final:
                owe(conn, [(job.id, job.tenant, job.webhook)], job.created_ms)
            return job

        try:
            accepted = await self._db.writer.run(accept)
        except IntegrityError as error:
            if idempotency is None:
                raise _swept(job, error) from error
            # The same key came to another server at the same moment: its job can be seen now.
            try:
                accepted = await self._db.writer.run(accept)
            except IntegrityError as again:
                raise _swept(job, again) from again
        if isinstance(accepted, str):
            assert idempotency is not None
            raise IdempotencyConflict(idempotency.key, accepted)
        return accepted

    async def insert_many_finished(self, jobs: Sequence[JobRecord]) -> list[str]:
        """Write behind jobs that were answered already. Gives the ids whose audio has been swept meanwhile:
        those are not written."""
        if not jobs:
            return []

        has_blob = statements.HAS_BLOB[self._db.dialect]

        def write(conn: Connection) -> list[str]:
            known = {
                blob for blob in {job.blob_hash for job in jobs}
                if blob is None or conn.execute(has_blob, {"hash": blob}).first() is not None
            }  # fmt: skip
            kept = [job for job in jobs if job.blob_hash in known]
            if kept and conn.dialect.name == "sqlite":
                conn.exec_driver_sql(job_sql.INSERT_FINISHED_SQLITE, [row_of(job) for job in kept])
            elif kept:
                conn.execute(job_sql.INSERT_FINISHED, [params_of(job) for job in kept])
            note(conn, moves_of(kept))
            return [job.id for job in jobs if job.blob_hash not in known]

        return await self._db.writer.run(write)

    async def get(self, job_id: str) -> JobRecord | None:
        """A job with its request."""
        return await self._db.read(lambda conn: maybe_job(conn.execute(job_sql.GET, {"id": job_id}).first()))

    async def peek(self, job_id: str) -> JobRecord | None:
        """A job without its request (`request` is ""): what a status needs, at a third of the price."""
        return await self._db.peek(lambda conn: maybe_job(conn.execute(job_sql.PEEK, {"id": job_id}).first()))

    async def list_jobs(
        self,
        tenant: str,
        endpoint_id: str | None = None,
        state: JobState | None = None,
        limit: int = 100,
        before: str = "~",
    ) -> list[JobRecord]:
        """A tenant's jobs without their requests, newest first; `before` is the last id of the page before."""
        statement = job_sql.LIST[endpoint_id is not None, state is not None]
        params: dict[str, Any] = {"tenant": tenant, "before": before, "limit": limit}
        if endpoint_id is not None:
            params["endpoint_id"] = endpoint_id
        if state is not None:
            params["state"] = state.value
        return await self._db.read(lambda conn: [job_of(row) for row in conn.execute(statement, params)])

    async def waiting(self) -> int:
        """How many jobs wait, everywhere."""
        return await self._db.read(lambda conn: int(conn.execute(job_sql.WAITING).scalar_one()))

    async def position(self, job: JobRecord) -> int:
        """The job's place among its tenant's jobs of the same backend and lane, from 1; counted up to PLACE_LIMIT; 0
        when it does not wait. Other tenants take turns, so nobody else's jobs are counted."""
        params = {"backend": job.backend, "tenant": job.tenant, "created_ms": job.created_ms, "id": job.id}
        ahead = params | {"limit": PLACE_LIMIT}
        return await self._db.read(lambda conn: int(conn.execute(job_sql.AHEAD, ahead).scalar_one()))

    async def events(self, job_id: str) -> list[JobEventRecord]:
        """What happened to a job, oldest first."""
        return await self._db.read(
            lambda conn: [JobEventRecord(*row) for row in conn.execute(job_sql.EVENTS, {"id": job_id})]
        )

    async def begin_sending(self, job: JobRecord, token: str) -> bool:
        """Note that an answer with the stream's items from the cursor on is about to leave. False: the job is not as
        `job` says any more; another poll was first, or the job began anew."""
        row = {
            "id": job.id, "retries": job.retries, "cursor": job.stream_cursor, "before": job.stream_sending or "",
            "backend": job.backend, "token": token,
        }  # fmt: skip
        return await self._db.writer.run(lambda conn: conn.execute(job_sql.BEGIN_SENDING, row).rowcount == 1)

    async def end_sending(self, job_id: str, token: str, to: int) -> None:
        """Note that the stream's items up to `to` were given out, unless another has begun to send them meanwhile."""
        await self._db.writer.insert(job_sql.END_SENDING, {"id": job_id, "token": token, "to": to})

    # -- forgetting

    async def shorten_retention(self, job_id: str, until_ms: int) -> None:
        """Keep a finished job no longer than `until_ms`."""
        await self._db.writer.insert(job_sql.SHORTEN, {"id": job_id, "until": until_ms})

    async def delete_retained(self, now: int | None = None) -> int:
        """Delete the jobs whose time is over, with their texts; gives how many."""
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

    async def delete(self, job_id: str) -> bool:
        """Delete one finished job with its text."""
        return await self._db.writer.run(lambda conn: conn.execute(job_sql.DELETE, {"id": job_id}).rowcount == 1)


def _swept(job: JobRecord, error: IntegrityError) -> Exception:
    """What it means that a job's row breaks a constraint."""
    return error if job.blob_hash is None else BlobMissing(job.blob_hash)
