"""Counts of waiting and running jobs per endpoint stay exact through every change."""

from __future__ import annotations

import asyncio
import random

import pytest
from sqlalchemy import Connection, text
from support.storage import HandClock, a_job, opened

from gateway.jobs.answer.totals import Totals
from storage.db.database import Database
from storage.db.tally import Ended
from storage.jobs.counts import JobCountStore, Unfinished
from storage.jobs.ends import ENDED_AT_ONCE
from storage.jobs.queue import JobStore
from storage.records import Idempotency, JobState, Lease, Retention

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
        await store.leases.claim([f"job-{n}"], "me")
    for n in dice.sample(range(60), 25):
        step = dice.choice(("cancel", "requeue", "fail", "expire"))
        if step == "cancel":
            await store.ends.cancel(f"job-{n}")
        elif step == "requeue":
            await store.ends.requeue(f"job-{n}", "me", 1, "for a test", True)
        elif step == "fail":
            await store.ends.fail(f"job-{n}", "me", 1, JobState.FAILED, "for a test", "internal")
            await store.ends.retry(f"job-{n}")
        else:
            await store.leases.expire(Lease(f"job-{n}", "me", 0, 1), dice.choice((1, 3)), "silent")
    assert await counted(database, _KEPT) == await counted(database, _REAL)
    await store.ends.purge("e1", "t1")
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


async def test_waiting_and_running_jobs_of_an_endpoint_are_counted_as_they_stand(database: Database) -> None:
    store, counts = JobStore(database), JobCountStore(database)
    for n in range(5):
        await store.insert(a_job(f"job-{n}", endpoint_id="news" if n else "other"))
    await store.leases.claim(["job-1", "job-2"], "me")
    await store.ends.cancel("job-3")
    assert await counts.unfinished("news") == Unfinished(waiting=1, running=2)
    assert await counts.unfinished("nobody's") == Unfinished()
    assert await store.waiting() == 2


async def test_endpoints_that_callers_make_up_leave_no_rows(database: Database, database_url: str) -> None:
    async with opened(database_url) as another:  # on PostgreSQL it counts in a shard of its own
        submits, ends = JobStore(database), JobStore(another)
        for n in range(300):
            await submits.insert(a_job(f"job-{n}", endpoint_id=f"made-up-{n}"))
            await ends.ends.cancel(f"job-{n}")
        await submits.insert(a_job("stays", endpoint_id="real"))
        totals = Totals(JobCountStore(another), another.tally, HandClock())
        await totals.count()
        assert await counted(database, "SELECT endpoint_id, state, n FROM job_counts") == [("real", "IN_QUEUE", 1)]
        await ends.ends.cancel("stays")
        assert await submits.waiting() == 0


async def test_finished_jobs_are_counted_at_once_where_they_end_and_elsewhere_by_the_next_count(
    database: Database, database_url: str
) -> None:
    async with opened(database_url) as another:
        store = JobStore(database)
        here = Totals(JobCountStore(database), database.tally, HandClock())
        there = Totals(JobCountStore(another), another.tally, HandClock())
        await store.insert(a_job("old", state=JobState.COMPLETED, retries=2))
        await here.count()
        await there.count()
        await store.insert(a_job("hit", state=JobState.COMPLETED))
        await store.insert_many_finished([a_job("behind", state=JobState.COMPLETED)])
        for n in range(3):
            await store.insert(a_job(f"job-{n}"))
            await store.leases.claim([f"job-{n}"], "me")
            await store.ends.fail(f"job-{n}", "me", 1, JobState.TIMED_OUT if n else JobState.FAILED, "no", "internal")
        await store.ends.retry("job-2")
        assert await here.of("default") == Ended(completed=3, failed=2, retried=3)
        assert await there.of("default") == Ended(completed=1, retried=2)
        for _ in range(2):
            await there.count()
            await here.count()
            assert await here.of("default") == await there.of("default") == Ended(completed=3, failed=2, retried=3)


async def test_a_job_whose_transaction_is_done_again_is_counted_once(database: Database) -> None:
    store, totals = JobStore(database), Totals(JobCountStore(database), database.tally, HandClock())
    await totals.count()

    def spoiled(conn: Connection) -> None:
        raise ValueError("for a test")

    together = (
        store.insert(a_job("one", state=JobState.FAILED), Idempotency("key", "hash")),
        database.writer.run(spoiled),
        store.insert_many_finished([a_job("two", state=JobState.FAILED)]),
    )
    await asyncio.gather(*together, return_exceptions=True)
    assert (await totals.of("default")).failed == 2


async def test_a_wrong_count_is_found_and_mended(database: Database) -> None:
    store, counts = JobStore(database), JobCountStore(database)
    for n in range(3):
        await store.insert(a_job(f"job-{n}"))
    await store.leases.claim(["job-0"], "me")
    assert await counts.wrong() == []
    await database.writer.run(lambda conn: conn.execute(text("UPDATE job_counts SET n = n + 2")).rowcount)
    wrong = [(one.state, one.counted, one.found) for one in await counts.wrong()]
    assert wrong == [(JobState.IN_PROGRESS, 3, 1), (JobState.IN_QUEUE, 4, 2)]
    await counts.recount()
    assert await counts.wrong() == []
    assert await counts.unfinished("default") == Unfinished(waiting=2, running=1)


@pytest.mark.parametrize("how", ["purge", "ttl"])
async def test_many_jobs_end_some_at_a_time_and_another_may_write_in_between(
    database: Database, clock: HandClock, how: str
) -> None:
    store = JobStore(database, clock)
    await database.writer.insert_many(
        text(
            "INSERT INTO jobs (id, tenant, endpoint_id, key_id, kind, state, backend, chars, created_ms, available_ms, "
            "low_priority, delay_ms, execution_ms, attempt, failures, retries, beat, chunks_done, chunks_total, "
            "cancel_requested, stream_cursor, request, expires_at_ms) VALUES (:id, 'default', 'default', 'k', 'run', "
            "'IN_QUEUE', 'hibari', 1, 1, 1, FALSE, 0, 0, 0, 0, 0, 0, 0, 0, FALSE, 0, '', 1)"
        ),
        [{"id": f"job-{n:04}"} for n in range(5 * ENDED_AT_ONCE + 1)],
    )
    ending = asyncio.create_task(store.ends.purge("default", "default") if how == "purge" else store.ends.expire_ttl())
    left: list[int] = []
    while not ending.done():
        await store.insert(a_job(f"between-{len(left)}", tenant="other", endpoint_id="other"))
        left.append(await store.waiting())
    assert len(await ending) == 5 * ENDED_AT_ONCE + 1
    assert await store.waiting() == len(left), "what was submitted meanwhile waits"
    assert any(ENDED_AT_ONCE < n <= 5 * ENDED_AT_ONCE for n in left), "somebody wrote while some had ended"
