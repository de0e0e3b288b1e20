"""The durable queue: submit, claim under a lease, beat, end. Its SQL is in `storage/job_sql.py`.

The fence: a lease is (owner, attempt). Whatever an owner writes names both, and writes nothing once either has
moved on or the job has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gateway.clock import Clock, SystemClock
from storage import job_sql, statements
from storage.database import Database
from storage.errors import BlobMissing, IdempotencyConflict
from storage.job_rows import STATES, AnyRow, job_of, log_ended, log_events, maybe_job, params_of, row_of
from storage.notices import Topic, tell
from storage.records import (
    Candidate,
    Completed,
    Completion,
    Idempotency,
    JobCounts,
    JobEventRecord,
    JobRecord,
    JobState,
    Lease,
    Retention,
)

_PLACE_LIMIT = 1_000


class JobStore:
    """All that is ever done to jobs."""

    def __init__(self, db: Database, clock: Clock | None = None, retention: Retention | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()
        self._retention = retention or Retention()

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
            except IntegrityError as error:
                if job.blob_hash is None:
                    raise
                raise BlobMissing(job.blob_hash) from error
            return job

        def accept(conn: Connection) -> JobRecord | str:
            if idempotency is not None:
                key = {"tenant": job.tenant, "endpoint_id": job.endpoint_id, "key": idempotency.key}
                if (known := conn.execute(job_sql.FIND_KEY, key).first()) is not None:
                    if known[0] != idempotency.body_hash:
                        return str(known[1])
                    return job_of(conn.execute(job_sql.GET, {"id": known[1]}).one())
            conn.execute(job_sql.INSERT, params_of(job))
            if not job.state.final:
                tell(conn, Topic.QUEUE)
            if idempotency is not None:
                body = {"body_hash": idempotency.body_hash, "job_id": job.id, "now": job.created_ms}
                conn.execute(job_sql.INSERT_KEY, key | body)
            if job.webhook and job.state.final:
                conn.execute(statements.ADD_WEBHOOK, {"job_id": job.id, "url": job.webhook, "now": job.created_ms})
            return job

        try:
            accepted = await self._db.writer.run(accept)
        except IntegrityError:
            if idempotency is None:
                raise
            # The same key came to another server at the same moment: its job can be seen now.
            accepted = await self._db.writer.run(accept)
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

    async def counts(self, endpoint_id: str | None = None) -> JobCounts:
        """How many jobs of an endpoint, or of all, stand in each state."""

        def count(conn: Connection) -> JobCounts:
            statement = job_sql.COUNTS if endpoint_id is None else job_sql.COUNTS_OF
            rows = conn.execute(statement, {} if endpoint_id is None else {"endpoint_id": endpoint_id}).all()
            states = dict.fromkeys(JobState, 0) | {STATES[row[0]]: int(row[1]) for row in rows}
            return JobCounts(states, sum(int(row[2]) for row in rows))

        return await self._db.read(count)

    async def position(self, job_id: str) -> int:
        """The job's place in its backend's line, from 1; counted up to 1,000; 0 when it does not wait."""
        params = {"id": job_id, "limit": _PLACE_LIMIT}
        return await self._db.read(lambda conn: int(conn.execute(job_sql.AHEAD, params).scalar_one()))

    async def events(self, job_id: str) -> list[JobEventRecord]:
        """What happened to a job, oldest first."""
        return await self._db.read(
            lambda conn: [JobEventRecord(*row) for row in conn.execute(job_sql.EVENTS, {"id": job_id})]
        )

    # -- the lease

    async def candidates(
        self, backends: Collection[str], exclude_tenants: Collection[str] = (), per_tenant: int = 16
    ) -> list[Candidate]:
        """Who could be claimed now: up to `per_tenant` jobs from the head of each tenant's line, normal before low
        priority, then oldest first; of a flight only the leader."""
        if not backends:
            return []
        now = self._clock.now_ms()

        params = {"backends": list(backends), "now": now, "per_tenant": per_tenant}

        def heads(conn: Connection) -> list[Candidate]:
            if self._db.dialect == "postgresql":
                rows = conn.execute(job_sql.HEADS_SHARED, params | {"excluded": list(exclude_tenants)}).all()
            else:
                tenants = [t for t in conn.execute(job_sql.TENANTS).scalars() if t not in exclude_tenants]
                rows = [row for t in tenants for row in conn.execute(job_sql.HEADS, params | {"tenant": t}).all()]
            found = [Candidate(row[0], row[1], row[2], bool(row[3]), row[4], row[5]) for row in rows]
            found.sort(key=lambda job: (job.low_priority, job.created_ms, job.id))
            return found

        return await self._db.read(heads)

    async def claim(self, ids: Sequence[str], owner: str, now: int | None = None) -> list[JobRecord]:
        """Take a lease on each of `ids` that is still queued and whose flight nobody leads; the rest are skipped."""
        if not ids:
            return []
        when = self._clock.now_ms() if now is None else now

        def take(conn: Connection, wanted: Sequence[str]) -> list[JobRecord]:
            shared = {"owner": owner, "now": when}
            if self._db.dialect == "postgresql":
                rows = conn.execute(job_sql.CLAIM_SHARED, shared | {"ids": list(wanted)}).all()
            else:
                rows = [row for i in wanted for row in conn.execute(job_sql.CLAIM, shared | {"id": i}).all()]
            taken = sorted((job_of(row) for row in rows), key=lambda job: wanted.index(job.id))
            log_events(conn, "claimed", [(job.id, job.attempt) for job in taken], when, owner)
            return taken

        try:
            return await self._db.writer.run(lambda conn: take(conn, ids))
        except IntegrityError:
            # Another server became the leader of a flight between our look and our commit (PostgreSQL only).
            if len(ids) == 1:
                return []
            return [job for i in ids for job in await self.claim([i], owner, when)]

    async def beat(
        self, owner: str, jobs: Mapping[str, int], progress: Mapping[str, tuple[int, int]] | None = None
    ) -> set[str]:
        """Renew the leases of `jobs` (id -> attempt) and tell their progress (id -> chunks done, total).

        Returns:
            The ids that are no longer ours: cancelled, timed out, or expired and perhaps another's.
        """
        if not jobs:
            return set()
        steps = progress or {}
        rows = []
        for job_id, attempt in jobs.items():
            done, total = steps.get(job_id, (None, None))
            rows.append({"id": job_id, "owner": owner, "attempt": attempt, "done": done, "total": total})

        def renew(conn: Connection) -> set[str]:
            conn.execute(job_sql.BEAT, rows)
            held = {row[0]: row[1] for row in conn.execute(job_sql.HELD, {"owner": owner})}
            return {job_id for job_id, attempt in jobs.items() if held.get(job_id) != attempt}

        return await self._db.writer.run(renew)

    async def observe_leases(self) -> list[Lease]:
        """Every lease as it stands; whoever watches expires those that stand still."""
        return await self._db.read(lambda conn: [Lease(*row) for row in conn.execute(job_sql.LEASES)])

    async def expire(
        self,
        job_id: str,
        owner: str,
        beat: int,
        attempt: int,
        max_failures: int,
        reason: str,
        code: str = "worker_lost",
    ) -> JobState | None:
        """Take a lease away that has not moved since it was observed: back to the queue, or FAILED with `reason`
        when that was failure number `max_failures`.

        Returns:
            The new state, or None when the lease had moved and nothing was done.
        """
        now = self._clock.now_ms()
        lease = {"id": job_id, "owner": owner, "beat": beat, "attempt": attempt}
        rest = {"max_failures": max_failures, "error": reason, "code": code, "now": now}

        def end(conn: Connection) -> JobState | None:
            row = conn.execute(job_sql.EXPIRE, lease | rest | self._keep(now)).first()
            if row is None:
                return None
            state = STATES[row[7]]
            if state.final:
                log_ended(conn, [row], state.value, now, reason)
            else:
                log_events(conn, "expired", [(job_id, attempt)], now, owner, reason)
                tell(conn, Topic.QUEUE)
            return state

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
    ) -> bool:
        """Hand a lease back. A failure counts against the job; a shutdown does not.

        Args:
            delay_ms: how long nobody claims it, up to `PAUSE_AT_MOST_MS`; `reason` is what it waits for, then.
            execution_ms: what it has spent running so far, over all attempts; None leaves it as it is.

        Returns:
            False when the lease was no longer ours.
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
                log_events(conn, "requeued", [(job_id, attempt)], now, owner, reason)
                tell(conn, Topic.QUEUE)
            return row is not None

        return await self._db.writer.run(give)

    # -- the end

    async def complete(self, job_id: str, owner: str, attempt: int, completion: Completion) -> Completed:
        """End a job well: its blob, cache entry, final state, followers, usage, webhooks and events in one
        transaction. The audio's file must be in the store already (`AudioStore.put_file`); settle it afterwards."""
        now, blob, entry = completion.now, completion.blob, completion.cache_entry
        result = {
            "blob_hash": blob.hash, "cache_key": completion.cache_key, "backend": completion.backend,
            "worker_id": completion.worker_id, "now": now,
        } | self._keep(now)  # fmt: skip
        final = result | {
            "id": job_id, "owner": owner, "attempt": attempt, "output": completion.output,
            "delay_ms": completion.delay_ms, "execution_ms": completion.execution_ms,
            "retain_until_ms": completion.retain_until_ms,
        }  # fmt: skip
        day = datetime.fromtimestamp(now / 1000, UTC).date().isoformat()

        def end(conn: Connection) -> Completed:
            # The blob first: the job refers to it. If the lease is lost, the sweeper finds it unused.
            conn.execute(
                statements.PUT_BLOB,
                {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": now},
            )
            row = conn.execute(job_sql.COMPLETE, final).first()
            if row is None:
                return Completed(False)
            if entry is not None:
                conn.execute(statements.PUT_CACHE_ENTRY, msgspec.structs.asdict(entry))
            followers: Sequence[AnyRow] = ()
            if row[7] is not None:
                shared = result | {"flight_key": row[7], "output": completion.follower_output}
                followers = conn.execute(job_sql.COMPLETE_FOLLOWERS, shared).all()
            usage = msgspec.structs.asdict(completion.usage)
            place = {"backend": completion.backend, "day": day}
            spent = [usage | place | {"tenant": row[1], "endpoint_id": row[2], "key_id": row[3]}]
            for follower in followers:
                # Followers heard it for nothing, like any hit of the cache.
                hit = {"characters": follower[4], "jobs": 1, "cache_hits": 1, "cost_micro_usd": 0}
                whose = {"tenant": follower[1], "endpoint_id": follower[2], "key_id": follower[3]}
                spent.append(usage | place | hit | whose)
            conn.execute(statements.ADD_USAGE, spent)
            log_ended(conn, [row, *followers], JobState.COMPLETED.value, now, None, owner)
            return Completed(True, tuple(follower[0] for follower in followers))

        return await self._db.writer.run(end)

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
    ) -> Completed:
        """End a job badly. `by_input`: whoever waits for the same utterance fails likewise; otherwise the oldest
        of them leads next."""
        now = self._clock.now_ms()
        shared = {"error": error, "code": code, "now": now} | self._keep(now)
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
            log_ended(conn, [row], state.value, now, code, owner)
            log_ended(conn, followers, JobState.FAILED.value, now, code, owner)
            return Completed(True, tuple(follower[0] for follower in followers))

        return await self._db.writer.run(end)

    async def cancel(self, job_id: str) -> JobRecord | None:
        """Cancel a job, queued or running, at once; a finished one stays as it is. Gives it as it stands after."""
        now = self._clock.now_ms()

        def end(conn: Connection) -> JobRecord | None:
            rows = conn.execute(job_sql.CANCEL, {"id": job_id, "now": now} | self._keep(now)).all()
            log_ended(conn, rows, JobState.CANCELLED.value, now)
            return maybe_job(conn.execute(job_sql.PEEK, {"id": job_id}).first())

        return await self._db.writer.run(end)

    async def led(self, job_id: str) -> bool:
        """Whether the job is being spoken and other jobs wait for the same speech."""
        return await self._db.peek(lambda conn: conn.execute(job_sql.LED, {"id": job_id}).first() is not None)

    async def purge(self, endpoint_id: str, tenant: str) -> int:
        """Cancel all that a tenant has waiting at an endpoint; gives how many."""
        now = self._clock.now_ms()

        def end(conn: Connection) -> int:
            params = {"endpoint_id": endpoint_id, "tenant": tenant, "now": now}
            rows = conn.execute(job_sql.PURGE, params | self._keep(now)).all()
            log_ended(conn, rows, JobState.CANCELLED.value, now, "purged")
            return len(rows)

        return await self._db.writer.run(end)

    async def retry(self, job_id: str, expires_at_ms: int | None = None) -> JobRecord | None:
        """Queue a FAILED or TIMED_OUT job again, under a new ttl; None when it is neither, or no longer kept."""
        now = self._clock.now_ms()

        def again(conn: Connection) -> JobRecord | None:
            job = maybe_job(
                conn.execute(job_sql.RETRY, {"id": job_id, "now": now, "expires_at_ms": expires_at_ms}).first()
            )
            if job is not None:
                log_events(conn, "retried", [(job.id, job.attempt)], now)
                tell(conn, Topic.QUEUE)
            return job

        return await self._db.writer.run(again)

    async def expire_ttl(self, now: int | None = None) -> list[str]:
        """End what has outlived its ttl, waiting or running, as TIMED_OUT; gives the ids."""
        when = self._clock.now_ms() if now is None else now
        error = "the job did not finish within its ttl: raise policy.ttl, or retry it"

        def end(conn: Connection) -> list[str]:
            ended: list[str] = []
            for statement in (job_sql.TTL_QUEUED, job_sql.TTL_RUNNING):
                rows = conn.execute(statement, {"now": when, "error": error} | self._keep(when)).all()
                log_ended(conn, rows, JobState.TIMED_OUT.value, when, "ttl_expired")
                ended += [row[0] for row in rows]
            return ended

        return await self._db.writer.run(end)

    async def move_cursor(self, job_id: str, seen: int, to: int) -> None:
        """Note that the stream's items from `seen` up to `to` were given out."""
        await self._db.writer.insert(job_sql.MOVE_CURSOR, {"id": job_id, "seen": seen, "to": to})

    # -- forgetting

    async def shorten_retention(self, job_id: str, until_ms: int) -> None:
        """Keep a finished job no longer than `until_ms`."""
        await self._db.writer.insert(job_sql.SHORTEN, {"id": job_id, "until": until_ms})

    async def delete_retained(self, now: int | None = None, limit: int = 500) -> int:
        """Delete up to `limit` jobs whose time is over, with their texts; gives how many."""
        when = self._clock.now_ms() if now is None else now
        return await self._db.writer.run(
            lambda conn: statements.release(
                conn, conn.execute(job_sql.DELETE_RETAINED, {"now": when, "limit": limit}).all(), when
            )
        )

    async def delete(self, job_id: str) -> bool:
        """Delete one finished job with its text."""
        now = self._clock.now_ms()
        return await self._db.writer.run(
            lambda conn: statements.release(conn, conn.execute(job_sql.DELETE, {"id": job_id}).all(), now) == 1
        )

    def _keep(self, now: int) -> dict[str, int]:
        return {"keep_run": now + self._retention.run_ms, "keep_runsync": now + self._retention.runsync_ms}
