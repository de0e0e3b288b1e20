"""Ends jobs (completed, failed, cancelled, purged, timed out), and requeues or retries them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from sqlalchemy import Connection

from gateway.clock import Clock
from storage import outcomes
from storage.db import statements
from storage.db.database import Database
from storage.db.notices import Topic, notify
from storage.db.tally import Ended, note_counts
from storage.errors import BlobMissing
from storage.jobs import sql as job_sql
from storage.jobs.rows import AnyRow, log_ended, log_events, maybe_job
from storage.outcomes import Outcome
from storage.records import Completed, Completion, JobRecord, JobState, Retention, UsageDelta

ENDED_AT_ONCE = 100
"""The most jobs that one transaction ends, so that other writes run in between."""
RETRIED = "the job was retried before it was delivered"
"""The error of a webhook whose job was retried."""


class JobEnds:
    """Ends jobs, each in one transaction: final state, followers, usage, webhooks, events."""

    def __init__(self, db: Database, clock: Clock, retention: Retention) -> None:
        self._db = db
        self._clock = clock
        self._retention = retention

    async def complete(
        self, job_id: str, owner: str, attempt: int, completion: Completion, tried: Sequence[Outcome] = ()
    ) -> Completed:
        """Complete a job: write its blob, cache entry, final state, followers, usage, webhooks and events in one
        transaction. The audio file must be in the store already (`AudioStore.put_file`); settle it afterwards.

        Args:
            tried: the outcomes of the arms that this attempt tried.

        Raises:
            BlobMissing: the audio is not new (it has no spool), and was swept meanwhile.
        """
        now, blob, words, entry = completion.now, completion.blob, completion.words, completion.cache_entry
        result = {
            "blob_hash": blob.hash, "cache_key": completion.cache_key, "backend": completion.backend,
            "worker_id": completion.worker_id, "now": now,
        } | self._retention.until(now)  # fmt: skip
        final = result | {
            "id": job_id, "owner": owner, "attempt": attempt, "output": completion.output,
            "delay_ms": completion.delay_ms, "execution_ms": completion.execution_ms,
        }  # fmt: skip
        day = datetime.fromtimestamp(now / 1000, UTC).date().isoformat()

        def end(conn: Connection) -> Completed | None:
            # The blob first: the job refers to it. If the lease is lost, the sweeper removes the unused blob. Without a
            # spool its file cannot be restored, so it must not have been swept.
            if blob.spool:
                spools = [blob] if words is None else [blob, words]
                conn.execute(
                    statements.PUT_BLOB,
                    [{"hash": b.hash, "suffix": b.suffix, "size_bytes": b.size_bytes, "now": now} for b in spools],
                )
                if words is not None:
                    conn.execute(statements.PUT_WORD_TIMES, {"audio_hash": blob.hash, "blob_hash": words.hash})
            elif conn.execute(statements.HAS_BLOB[self._db.dialect], {"hash": blob.hash}).first() is None:
                return None
            row = conn.execute(job_sql.COMPLETE, final).first()
            if row is None:
                return Completed(False)
            if entry is not None:
                statements.put_cache_entry(conn, entry)
            followers: Sequence[AnyRow] = ()
            if row[7] is not None:
                shared = result | {"flight_key": row[7], "output": completion.follower_output}
                followers = conn.execute(job_sql.COMPLETE_FOLLOWERS, shared).all()
            spent = completion.usage
            usage = [(row[1], row[3], row[2], completion.backend, day, *msgspec.structs.astuple(spent))]
            for follower in followers:
                # Followers cost nothing, like a cache hit.
                hit = UsageDelta(characters=follower[4], audio_ms=spent.audio_ms, cache_hits=1)
                place = (follower[1], follower[3], follower[2], completion.backend, day)
                usage.append((*place, *msgspec.structs.astuple(hit)))
            statements.add_usage(conn, usage)
            outcomes.add(conn, tried, now)
            log_ended(conn, [row, *followers], JobState.COMPLETED.value, now, None, owner)
            return Completed(True, tuple(follower[0] for follower in followers))

        completed = await self._db.writer.run(end)
        if completed is None:
            raise BlobMissing(blob.hash)
        return completed

    async def fail(
        self,
        job_id: str,
        owner: str,
        attempt: int,
        state: Literal[JobState.FAILED, JobState.TIMED_OUT],
        error: str,
        code: str,
        by_input: bool = False,
        *,
        delay_ms: int = 0,
        execution_ms: int = 0,
        worker_id: str | None = None,
        tried: Sequence[Outcome] = (),
    ) -> Completed:
        """Fail a job. With `by_input` its followers fail too; otherwise the oldest follower leads next.

        Args:
            tried: see `complete`.
        """
        now = self._clock.now_ms()
        shared = {"error": error, "code": code, "now": now} | self._retention.until(now)
        final = shared | {
            "id": job_id, "owner": owner, "attempt": attempt, "state": state.value, "delay_ms": delay_ms,
            "execution_ms": execution_ms, "worker_id": worker_id,
        }  # fmt: skip

        def end(conn: Connection) -> Completed:
            row = conn.execute(job_sql.FAIL, final).first()
            if row is None:
                return Completed(False)
            followers: Sequence[AnyRow] = ()
            if by_input and row[7] is not None:
                followers = conn.execute(job_sql.FAIL_FOLLOWERS, shared | {"flight_key": row[7]}).all()
            outcomes.add(conn, tried, now)
            log_ended(conn, [row], state.value, now, code, owner)
            log_ended(conn, followers, JobState.FAILED.value, now, code, owner)
            return Completed(True, tuple(follower[0] for follower in followers))

        return await self._db.writer.run(end)

    async def requeue(
        self,
        job_id: str,
        owner: str,
        attempt: int,
        reason: str,
        count_failure: bool,
        delay_ms: int = 0,
        execution_ms: int | None = None,
        tried: Sequence[Outcome] = (),
    ) -> bool:
        """End an attempt: give up its lease and requeue the job.

        Args:
            reason: why the attempt ended; with `delay_ms` also what the job waits for.
            count_failure: whether this counts as a failure of the job; a shutdown does not.
            delay_ms: the time before the job can be claimed again, up to `PAUSE_AT_MOST_MS`.
            execution_ms: running time so far, over all attempts; None leaves it unchanged.
            tried: see `complete`.

        Returns:
            False if the lease was lost before.
        """
        now = self._clock.now_ms()
        available_ms = now + min(delay_ms, job_sql.PAUSE_AT_MOST_MS) if delay_ms else 0
        params = {
            "id": job_id, "owner": owner, "attempt": attempt, "error": reason if count_failure or delay_ms else None,
            "counted": int(count_failure), "available_ms": available_ms, "execution_ms": execution_ms,
        }  # fmt: skip

        def give(conn: Connection) -> bool:
            row = conn.execute(job_sql.REQUEUE, params).first()
            if row is not None:
                outcomes.add(conn, tried, now)
                log_events(conn, "requeued", [(job_id, attempt)], now, owner, reason)
                note_counts(conn, [(row[2], Ended(retried=int(count_failure)))])
                notify(conn, Topic.QUEUE)
            return row is not None

        return await self._db.writer.run(give)

    async def cancel(self, job_id: str) -> JobRecord | None:
        """Cancel a queued or running job at once; a finished one is not changed. Returns the job after that."""
        now = self._clock.now_ms()

        def end(conn: Connection) -> JobRecord | None:
            rows = conn.execute(job_sql.CANCEL, {"id": job_id, "now": now} | self._retention.until(now)).all()
            log_ended(conn, rows, JobState.CANCELLED.value, now)
            return maybe_job(conn.execute(job_sql.PEEK, {"id": job_id}).first())

        return await self._db.writer.run(end)

    async def has_followers(self, job_id: str) -> bool:
        """Return whether the job is running and has followers."""
        return await self._db.peek(lambda conn: conn.execute(job_sql.LED, {"id": job_id}).first() is not None)

    async def purge(self, endpoint_id: str, tenant: str) -> list[str]:
        """Cancel all waiting jobs of a tenant at an endpoint, some per transaction; returns the ids."""
        now = self._clock.now_ms()
        params = {
            "endpoint_id": endpoint_id,
            "tenant": tenant,
            "now": now,
            "limit": ENDED_AT_ONCE,
        } | self._retention.until(now)

        def end(conn: Connection) -> list[str]:
            rows = conn.execute(job_sql.PURGE, params).all()
            log_ended(conn, rows, JobState.CANCELLED.value, now, "purged")
            return [row[0] for row in rows]

        ended: list[str] = []
        while some := await self._db.writer.run(end):
            ended += some
        return ended

    async def retry(self, job_id: str) -> JobRecord | None:
        """Requeue a FAILED or TIMED_OUT job with a new ttl; None if it is in another state, or no longer kept.

        Pending webhooks of its earlier end are closed: its next end sends a new webhook."""
        now = self._clock.now_ms()

        def again(conn: Connection) -> JobRecord | None:
            job = maybe_job(conn.execute(job_sql.RETRY, {"id": job_id, "now": now}).first())
            if job is not None:
                conn.execute(statements.CLOSE_WEBHOOKS, {"job_id": job.id, "error": RETRIED})
                log_events(conn, "retried", [(job.id, job.attempt)], now)
                note_counts(conn, [(job.endpoint_id, Ended(failed=-1, retried=1))])
                notify(conn, Topic.QUEUE)
            return job

        return await self._db.writer.run(again)

    async def expire_ttl(self, now: int | None = None) -> list[str]:
        """End waiting and running jobs past their ttl as TIMED_OUT; returns the ids."""
        when = self._clock.now_ms() if now is None else now
        error = "the job did not finish within its ttl: raise policy.ttl, or retry it"
        params = {"now": when, "error": error, "limit": ENDED_AT_ONCE} | self._retention.until(when)

        def end(conn: Connection) -> list[str]:
            some: list[str] = []
            for statement in (job_sql.TTL_QUEUED, job_sql.TTL_RUNNING):
                rows = conn.execute(statement, params).all()
                log_ended(conn, rows, JobState.TIMED_OUT.value, when, "ttl_expired")
                some += [row[0] for row in rows]
            return some

        ended: list[str] = []
        while await self._db.peek(lambda conn: bool(conn.execute(job_sql.ANY_LATE, {"now": when}).scalar_one())):
            ended += await self._db.writer.run(end)
        return ended
