"""The leases of jobs: candidates, claims, heartbeats, expiry and hand-over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gateway.clock import Clock
from storage.db.database import Database
from storage.db.notices import Topic, notify
from storage.db.tally import Ended, note_counts
from storage.jobs import sql as job_sql
from storage.jobs.rows import LANES, STATES, AnyRow, job_of, log_ended, log_events
from storage.records import Heads, JobRecord, JobState, Lease, Line, Place, Retention, Ring, WaitingJob

SCAN = 50
"""Jobs of a line that one read covers beyond the number asked for. It bounds the cost of a line whose head is full of
followers of a running flight; `behind` reads on after them."""
LINES = 32
"""Lines of each backend and lane that one read covers, so that its cost does not grow with the waiting tenants."""
_FROM_THE_FIRST: Mapping[Ring, str] = MappingProxyType({})
PAGE = 250
"""Jobs of a line that `behind` reads at once."""


def _candidate(row: AnyRow) -> WaitingJob:
    return WaitingJob(row[0], row[1], row[2], LANES[row[3]], row[4], row[5])


class JobLeases:
    """Claims jobs and keeps their leases. A lease is (owner, attempt)."""

    def __init__(self, db: Database, clock: Clock, retention: Retention) -> None:
        self._db = db
        self._clock = clock
        self._retention = retention

    async def candidates(
        self,
        backends: Collection[str],
        per_line: int = 16,
        lines: int = LINES,
        after: Mapping[Ring, str] = _FROM_THE_FIRST,
    ) -> Heads:
        """Return jobs that can be claimed now: up to `per_line` from the head of each line; of a flight only jobs that
        may lead it.

        Args:
            lines: most lines to read of each backend and lane.
            after: for each ring the tenant behind whose line to begin; a ring without one begins at its first line.
        """
        if not backends or not await self._any_waiting():
            return Heads([], {}, {})
        scan = per_line + SCAN
        shared = self._db.dialect == "postgresql"
        rings = [(backend, lane.value, after.get(Ring(backend, lane), "")) for backend in backends for lane in LANES]
        params: dict[str, object] = {
            "now": self._clock.now_ms(), "per_line": per_line, "scan": scan, "lines": lines,
        }  # fmt: skip
        if shared:
            params |= dict(zip(("backends", "lanes", "tenants"), map(list, zip(*rings, strict=True)), strict=True))
        else:
            params["rings"] = json.dumps(rings)

        def heads(conn: Connection) -> Heads:
            found: list[WaitingJob] = []
            cut: dict[Line, Place] = {}
            count: Counter[Line] = Counter()
            tenants: dict[Ring, set[str]] = {}
            for row in conn.execute(job_sql.HEADS_SHARED if shared else job_sql.HEADS, params):
                line = Line(row[0], row[1], LANES[row[2]])
                tenants.setdefault(Ring(line.backend, line.lane), set()).add(line.tenant)
                if row[3] is not None:
                    created_ms, _, job_id = row[3].partition(" ")
                    cut[line] = Place(int(created_ms), job_id)
                if row[4] is not None:
                    count[line] += 1
                    found.append(WaitingJob(row[4], line.tenant, row[5], line.lane, row[6], line.backend))
            found.sort(key=lambda job: (job.lane, job.created_ms, job.id))
            cut = {line: place for line, place in cut.items() if count[line] < per_line}
            return Heads(found, cut, {ring: max(seen) for ring, seen in tenants.items() if len(seen) == lines})

        return await self._db.read(heads)

    async def behind(self, line: Line, place: Place, most: int) -> tuple[list[WaitingJob], Place | None]:
        """Read the next `PAGE` jobs of a line behind a place.

        Returns:
            Up to `most` jobs that can be claimed now, and the place behind which to read next: that of the last job
            before the first claimable one. None at the end of the line.
        """
        params = {
            "backend": line.backend, "tenant": line.tenant, "lane": int(line.lane), "after_ms": place.created_ms,
            "after_id": place.job_id, "scan": PAGE, "now": self._clock.now_ms(),
        }  # fmt: skip
        rows = await self._db.read(lambda conn: conn.execute(job_sql.BEHIND, params).all())
        found: list[WaitingJob] = []
        for job_id, chars, created_ms, claimable in rows:
            if claimable:
                found.append(WaitingJob(job_id, line.tenant, chars, line.lane, created_ms, line.backend))
            elif not found:
                place = Place(created_ms, job_id)
        return found[:most], place if found or len(rows) == PAGE else None

    async def wanted(self, backends: Collection[str]) -> list[str]:
        """Return those of `backends` for which a job waits."""
        if not backends or not await self._any_waiting():
            return []
        now = self._clock.now_ms()

        def look(conn: Connection) -> list[str]:
            params = {"now": now, "scan": SCAN}
            return [b for b in backends if conn.execute(job_sql.WANTED, params | {"backend": b}).scalar_one()]

        return await self._db.read(look)

    async def lifted(self, flights: Collection[str]) -> set[str]:
        """Return those of `flights` that have a waiting job without low priority."""
        if not flights:
            return set()
        params = {"flights": list(flights)}
        return await self._db.peek(lambda conn: set(conn.execute(job_sql.LIFTED, params).scalars()))

    async def _any_waiting(self) -> bool:
        # Usually no job waits. (On PostgreSQL the next query finds that out in the same round trip.)
        if self._db.dialect == "postgresql":
            return True
        return await self._db.peek(lambda conn: bool(conn.execute(job_sql.ANY_WAITING).scalar_one()))

    async def claim(self, ids: Sequence[str], owner: str, now: int | None = None) -> list[JobRecord]:
        """Take a lease on each of `ids` that is still queued and whose flight has no leader; the rest are skipped."""
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
            # Another server became the leader of a flight between our read and our commit (PostgreSQL only).
            if len(ids) == 1:
                return []
            return [job for i in ids for job in await self.claim([i], owner, when)]

    async def beat(
        self, owner: str, jobs: Mapping[str, int], progress: Mapping[str, tuple[int, int, int]] | None = None
    ) -> set[str]:
        """Renew the leases of `jobs` (id -> attempt) and write their progress (id -> chunks done, chunks in total,
        ms of execution so far).

        Returns:
            The ids whose lease is lost: cancelled, timed out, or expired and perhaps claimed by another server.
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
        """Move a running job to another backend, which starts it from the beginning.

        Returns:
            False if nothing was done: `/stream` has sent items of it, or the lease was lost.
        """
        lease = {"id": job_id, "owner": owner, "attempt": attempt, "backend": backend}
        return await self._db.writer.run(lambda conn: conn.execute(job_sql.HAND_OVER, lease).first() is not None)

    async def observe_leases(self) -> list[Lease]:
        """Return every lease; the observer expires leases that do not change."""
        return await self._db.peek(lambda conn: [Lease(*row) for row in conn.execute(job_sql.LEASES)])

    async def suspects(self, backends: Collection[str], limit: int = 16) -> list[WaitingJob]:
        """Return suspects that can be claimed now: jobs during which a server died; each must run alone in its
        server."""
        if not backends:
            return []
        params = {"backends": list(backends), "now": self._clock.now_ms(), "limit": limit}
        return await self._db.peek(lambda conn: [_candidate(row) for row in conn.execute(job_sql.SUSPECTS, params)])

    async def expire(self, lease: Lease, most_deaths: int, reason: str, code: str = "worker_lost") -> JobState | None:
        """Expire a lease that has not changed since it was observed. The job is requeued as a suspect, with a wait that
        doubles with each death in a row; at death number `most_deaths` it and its followers end as FAILED.

        Returns:
            The new state, or None if the lease had changed and nothing was done.
        """
        now = self._clock.now_ms()
        mine = {"id": lease.job_id, "owner": lease.owner, "beat": lease.beat, "attempt": lease.attempt}
        last = f"{most_deaths} servers in a row ended or fell silent while they ran it; {reason}"
        error = {"error": reason, "last": last, "code": code, "most_deaths": most_deaths, "now": now}

        def end(conn: Connection) -> JobState | None:
            row = conn.execute(job_sql.EXPIRE, mine | error | self._retention.until(now)).first()
            if row is None:
                return None
            state = STATES[row[8]]
            if not state.final:
                note_counts(conn, [(row[2], Ended(retried=1))])
                log_events(conn, "expired", [(lease.job_id, lease.attempt)], now, lease.owner, reason)
                notify(conn, Topic.QUEUE)
                return state
            log_ended(conn, [row], state.value, now, last)
            if row[7] is not None:  # each follower would end as many servers
                same = {"flight_key": row[7], "error": last, "code": code, "now": now} | self._retention.until(now)
                log_ended(conn, conn.execute(job_sql.FAIL_FOLLOWERS, same).all(), state.value, now, last)
            return state

        return await self._db.writer.run(end)
