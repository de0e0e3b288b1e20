"""Who works on which job: candidates, claims, beats, and leases that are taken away or handed back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from storage import job_sql
from storage.job_rows import STATES, AnyRow, job_of, log_ended, log_events
from storage.job_table import JobTable
from storage.notices import Topic, tell
from storage.records import Candidate, JobRecord, JobState, Lease


def _candidate(row: AnyRow) -> Candidate:
    return Candidate(row[0], row[1], row[2], bool(row[3]), row[4], row[5])


class JobLeases(JobTable):
    """The lease is (owner, attempt)."""

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
            found = [_candidate(row) for row in rows]
            found.sort(key=lambda job: (job.low_priority, job.created_ms, job.id))
            return found

        # Mostly nobody waits. (PostgreSQL says so in the same journey.)
        if self._db.dialect == "sqlite" and not await self._db.peek(
            lambda conn: bool(conn.execute(job_sql.ANY_WAITING).scalar_one())
        ):
            return []
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
        self, owner: str, jobs: Mapping[str, int], progress: Mapping[str, tuple[int, int, int]] | None = None
    ) -> set[str]:
        """Renew the leases of `jobs` (id -> attempt) and tell their progress (id -> chunks done, chunks there are,
        ms of execution so far).

        Returns:
            The ids that are no longer ours: cancelled, timed out, or expired and perhaps another's.
        """
        if not jobs:
            return set()
        steps = progress or {}
        rows = []
        for job_id, attempt in jobs.items():
            done, total, execution_ms = steps.get(job_id, (None, None, None))
            told = {"done": done, "total": total, "execution_ms": execution_ms}
            rows.append({"id": job_id, "owner": owner, "attempt": attempt} | told)

        def renew(conn: Connection) -> set[str]:
            conn.execute(job_sql.BEAT, rows)
            held = {row[0]: row[1] for row in conn.execute(job_sql.HELD, {"owner": owner})}
            return {job_id for job_id, attempt in jobs.items() if held.get(job_id) != attempt}

        return await self._db.writer.run(renew)

    async def hand_over(self, job_id: str, owner: str, attempt: int, backend: str) -> bool:
        """Give a running job to another backend, which begins it anew.

        Returns:
            False when nothing was done: `/stream` has given out some of it, or the lease was no longer ours.
        """
        lease = {"id": job_id, "owner": owner, "attempt": attempt, "backend": backend}
        return await self._db.writer.run(lambda conn: conn.execute(job_sql.HAND_OVER, lease).first() is not None)

    async def observe_leases(self) -> list[Lease]:
        """Every lease as it stands; whoever watches expires those that stand still."""
        return await self._db.peek(lambda conn: [Lease(*row) for row in conn.execute(job_sql.LEASES)])

    async def suspects(self, backends: Collection[str], limit: int = 16) -> list[Candidate]:
        """Jobs that could be claimed now, each alone in its server, since one died while it ran them."""
        if not backends:
            return []
        params = {"backends": list(backends), "now": self._clock.now_ms(), "limit": limit}
        return await self._db.peek(lambda conn: [_candidate(row) for row in conn.execute(job_sql.SUSPECTS, params)])

    async def expire(self, lease: Lease, most_deaths: int, reason: str, code: str = "worker_lost") -> JobState | None:
        """Take a lease away that has not moved since it was observed: back to the queue, as a suspect that waits
        twice as long after each death in a row, or FAILED when it was number `most_deaths`, and all who wait for the
        same utterance with it.

        Returns:
            The new state, or None when the lease had moved and nothing was done.
        """
        now = self._clock.now_ms()
        mine = {"id": lease.job_id, "owner": lease.owner, "beat": lease.beat, "attempt": lease.attempt}
        last = f"{most_deaths} servers in a row ended or fell silent while they ran it; {reason}"
        error = {"error": reason, "last": last, "code": code, "most_deaths": most_deaths, "now": now}

        def end(conn: Connection) -> JobState | None:
            row = conn.execute(job_sql.EXPIRE, mine | error | self._keep(now)).first()
            if row is None:
                return None
            state = STATES[row[8]]
            if not state.final:
                log_events(conn, "expired", [(lease.job_id, lease.attempt)], now, lease.owner, reason)
                tell(conn, Topic.QUEUE)
                return state
            log_ended(conn, [row], state.value, now, last)
            if row[7] is not None:  # each of them would end as many servers
                same = {"flight_key": row[7], "error": last, "code": code, "now": now} | self._keep(now)
                log_ended(conn, conn.execute(job_sql.FAIL_FOLLOWERS, same).all(), state.value, now, last)
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
