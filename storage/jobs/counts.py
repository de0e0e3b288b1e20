"""Counts waiting, running and finished jobs by endpoint.

Waiting and running jobs are read from `job_counts`, which triggers update in the transaction that changes a job.
Finished jobs are counted by a reader in the index of pages, which gets slower with their number.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, text

from storage.db.database import Database
from storage.db.tally import Ended
from storage.records import JobState

UNFINISHED = text("SELECT state, SUM(n) FROM job_counts WHERE endpoint_id = :endpoint_id GROUP BY state")
"""The number of waiting and of running jobs of an endpoint."""
ENDED = text("SELECT tenant, endpoint_id, state, COUNT(*), SUM(retries) FROM jobs GROUP BY tenant, endpoint_id, state")
"""The number of jobs by tenant, endpoint and state; reads the whole index of pages."""
SETTLED = text("SELECT endpoint_id, state FROM job_counts GROUP BY endpoint_id, state HAVING SUM(n) = 0 LIMIT :limit")
"""Counts that are 0: their rows can be removed."""
_LOCKED = {
    "sqlite": text("SELECT shard, n FROM job_counts WHERE endpoint_id = :endpoint_id AND state = :state"),
    "postgresql": text(
        "SELECT shard, n FROM job_counts WHERE endpoint_id = :endpoint_id AND state = :state ORDER BY shard FOR UPDATE"
    ),
}
_REMOVE = text("DELETE FROM job_counts WHERE endpoint_id = :endpoint_id AND state = :state AND shard = :shard")
_WRONG = text(
    "SELECT endpoint_id, state, SUM(counted), SUM(found) FROM ("
    "SELECT endpoint_id, state, n AS counted, 0 AS found FROM job_counts UNION ALL "
    "SELECT endpoint_id, state, 0, 1 FROM jobs WHERE state = 'IN_QUEUE' UNION ALL "
    "SELECT endpoint_id, state, 0, 1 FROM jobs WHERE state = 'IN_PROGRESS') AS beside "
    "GROUP BY endpoint_id, state HAVING SUM(counted) <> SUM(found) ORDER BY endpoint_id, state"
)
"""Counts that differ from the jobs themselves; one statement, so that both are read at the same moment."""
_ALONE = text("LOCK TABLE jobs, job_counts IN SHARE ROW EXCLUSIVE MODE")
_FORGET_ALL = text("DELETE FROM job_counts")
_COUNT_ALL = text(
    "INSERT INTO job_counts (endpoint_id, state, shard, n) SELECT endpoint_id, state, 0, COUNT(*) FROM jobs "
    "WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') GROUP BY endpoint_id, state"
)
SETTLED_AT_ONCE = 200


class Unfinished(msgspec.Struct, frozen=True):
    """The numbers of waiting and running jobs of an endpoint."""

    waiting: int = 0
    running: int = 0


class WrongCount(msgspec.Struct, frozen=True):
    """A count that differs from the number of jobs in a state."""

    endpoint_id: str
    state: JobState
    counted: int
    found: int


class JobCountStore:
    """Counts of jobs by endpoint."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def unfinished(self, endpoint_id: str) -> Unfinished:
        """Return the exact numbers of waiting and running jobs of an endpoint."""
        place = {"endpoint_id": endpoint_id}
        found = await self._db.peek(lambda conn: {row[0]: int(row[1]) for row in conn.execute(UNFINISHED, place)})
        return Unfinished(found.get(JobState.IN_QUEUE.value, 0), found.get(JobState.IN_PROGRESS.value, 0))

    async def ended(self) -> dict[str, Ended]:
        """Return the numbers of finished jobs and retries of each endpoint."""

        def count(conn: Connection) -> dict[str, Ended]:
            sums: dict[str, Ended] = {}
            for _, endpoint_id, state, jobs, retried in conn.execute(ENDED):
                some = Ended.of(JobState(state), int(jobs), int(retried))
                sums[endpoint_id] = sums.get(endpoint_id, Ended()).plus(some)
            return sums

        return await self._db.read(count)

    async def remove_settled(self) -> int:
        """Remove the rows of counts that are 0, at most `SETTLED_AT_ONCE` counts; returns the number of counts.

        Otherwise the rows of endpoints made on demand would stay for ever.
        """
        limit = {"limit": SETTLED_AT_ONCE}
        settled = await self._db.read(lambda conn: [tuple(row) for row in conn.execute(SETTLED, limit)])
        if not settled:
            return 0

        def remove(conn: Connection) -> int:
            removed = 0
            for endpoint_id, state in settled:
                place = {"endpoint_id": endpoint_id, "state": state}
                # Locked first: a count that another server adds to a shard is in the sum, or waits for our commit.
                shards = conn.execute(_LOCKED[self._db.dialect], place).all()
                if shards and sum(row[1] for row in shards) == 0:
                    conn.execute(_REMOVE, [place | {"shard": row[0]} for row in shards])
                    removed += 1
            return removed

        return await self._db.writer.run(remove)

    async def wrong(self) -> list[WrongCount]:
        """Return counts that differ from the jobs; there are none unless the database was edited by hand."""
        rows = await self._db.read(lambda conn: conn.execute(_WRONG).all())
        return [WrongCount(row[0], JobState(row[1]), int(row[2]), int(row[3])) for row in rows]

    async def recount(self) -> None:
        """Recount the waiting and running jobs; submits and ends of jobs wait meanwhile."""

        def count(conn: Connection) -> None:
            if self._db.dialect == "postgresql":
                conn.execute(_ALONE)
            conn.execute(_FORGET_ALL)
            conn.execute(_COUNT_ALL)

        await self._db.writer.run(count)
