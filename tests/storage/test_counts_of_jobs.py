"""How many jobs of an endpoint wait and run is exact, whatever changed them."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import Connection, text
from support.storage import a_job

from storage.database import Database
from storage.jobs import JobStore
from storage.records import JobState, Lease, Retention

_KEPT = "SELECT endpoint_id, state, SUM(n) FROM job_counts GROUP BY endpoint_id, state HAVING SUM(n) <> 0 ORDER BY 1, 2"
_REAL = (
    "SELECT endpoint_id, state, COUNT(*) FROM jobs WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') "
    "GROUP BY endpoint_id, state ORDER BY 1, 2"
)


async def counted(database: Database, statement: str) -> list[tuple[str, str, int]]:
    return await database.read(lambda conn: [(r[0], r[1], int(r[2])) for r in conn.execute(text(statement))])


async def test_counts_follow_jobs_through_all_they_do(database: Database) -> None:
    store = JobStore(database, retention=Retention(0, 0))
    dice = random.Random(7)
    for n in range(60):
        await store.insert(a_job(f"job-{n}", endpoint_id=f"e{n % 3}", tenant=f"t{n % 2}"))
    for n in range(0, 60, 2):
        await store.claim([f"job-{n}"], "me")
    for n in dice.sample(range(60), 25):
        step = dice.choice(("cancel", "requeue", "fail", "expire"))
        if step == "cancel":
            await store.cancel(f"job-{n}")
        elif step == "requeue":
            await store.requeue(f"job-{n}", "me", 1, "for a test", True)
        elif step == "fail":
            await store.fail(f"job-{n}", "me", 1, JobState.FAILED, "for a test", "internal")
            await store.retry(f"job-{n}")
        else:
            await store.expire(Lease(f"job-{n}", "me", 0, 1), dice.choice((1, 3)), "silent")
    assert await counted(database, _KEPT) == await counted(database, _REAL)
    await store.purge("e1", "t1")
    await store.delete_retained()
    assert await counted(database, _KEPT) == await counted(database, _REAL)


async def test_counts_do_not_move_with_a_transaction_that_is_rolled_back(database: Database) -> None:
    store = JobStore(database)
    await store.insert(a_job("job-1"))

    def spoiled(conn: Connection) -> None:
        conn.execute(text("UPDATE jobs SET state = 'CANCELLED'"))
        raise ValueError("for a test")

    with pytest.raises(ValueError, match="for a test"):
        await database.writer.run(spoiled)
    await database.writer.run(lambda conn: conn.execute(text("DELETE FROM jobs WHERE id = 'nobody'")).rowcount)
    assert await counted(database, _KEPT) == await counted(database, _REAL) != []
