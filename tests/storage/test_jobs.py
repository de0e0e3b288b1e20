from __future__ import annotations

import asyncio

import pytest
from support.storage import (
    START_MS,
    HandClock,
    a_job,
    offered,
)

from storage.db.models import JobRow
from storage.errors import BlobMissing, IdempotencyConflict
from storage.jobs.queue import JobStore
from storage.jobs.sql import COLUMNS
from storage.records import Idempotency, JobState, Lane


def test_a_record_has_the_columns_that_are_used_in_the_order_of_the_table() -> None:
    unused = {"cancel_requested"}
    assert list(COLUMNS) == [column.name for column in JobRow.__table__.columns if column.name not in unused]


async def test_a_job_comes_back_as_it_was_given_and_a_peek_leaves_the_text_out(jobs: JobStore) -> None:
    job = a_job(low_priority=True, flight_key="f", webhook="https://example.com/hook", expires_at_ms=START_MS + 5)
    assert await jobs.insert(job) is job
    assert await jobs.get("job-1") == job
    peeked = await jobs.peek("job-1")
    assert peeked is not None
    assert peeked.request == ""
    assert peeked.low_priority is True
    assert await jobs.get("nobody") is None


async def test_an_idempotency_key_gives_the_first_job_again_and_refuses_another_body(jobs: JobStore) -> None:
    key = Idempotency("once", "hash-1")
    made = await asyncio.gather(*(jobs.insert(a_job(f"job-{n}"), key) for n in range(8)))
    assert len({job.id for job in made}) == 1
    with pytest.raises(IdempotencyConflict, match=made[0].id):
        await jobs.insert(a_job("job-x"), Idempotency("once", "hash-2"))
    other = await jobs.insert(a_job("job-y", tenant="someone else"), Idempotency("once", "hash-2"))
    assert other.id == "job-y"


async def test_a_cached_job_whose_audio_was_swept_is_refused_and_not_kept(jobs: JobStore) -> None:
    swept = a_job(state=JobState.COMPLETED, blob_hash="0" * 64)
    with pytest.raises(BlobMissing):
        await jobs.insert(swept)
    fine = a_job("job-2", state=JobState.COMPLETED)
    assert await jobs.insert_many_finished([swept, fine]) == ["job-1"]
    assert await jobs.insert_many_finished([fine]) == []
    assert await jobs.get("job-1") is None
    assert await jobs.get("job-2") == fine


async def test_the_line_is_by_priority_then_age_and_a_flood_hides_nobody(jobs: JobStore, clock: HandClock) -> None:
    for n in range(30):
        await jobs.insert(a_job(f"flood-{n:02}", created_ms=START_MS + n))
    await jobs.insert(a_job("low", tenant="b", low_priority=True, lane=Lane.LOW, created_ms=START_MS - 9))
    await jobs.insert(a_job("short", lane=Lane.SHORT, created_ms=START_MS + 200))
    await jobs.insert(a_job("late", tenant="c", created_ms=START_MS + 99))
    await jobs.insert(a_job("other backend", tenant="c", backend="google"))
    await jobs.insert(a_job("not yet", tenant="d", available_ms=START_MS + 1))
    await jobs.insert(a_job("too old", tenant="e", expires_at_ms=START_MS))
    assert await offered(jobs, per_line=2) == ["short", "flood-00", "flood-01", "late", "low"]
    assert [c.id for c in (await jobs.leases.candidates(["google"], per_line=1)).candidates] == ["other backend"]
    assert (await jobs.leases.candidates([])).candidates == []
    places = [await jobs.position(a_job(f"flood-{n:02}", created_ms=START_MS + n)) for n in (0, 2, 31)]
    assert places == [1, 3, 0]


async def test_a_place_in_line_is_among_the_jobs_of_one_tenant_backend_and_lane(jobs: JobStore) -> None:
    others = ({"tenant": "b"}, {"backend": "google"}, {"lane": Lane.SHORT}, {"lane": Lane.LOW, "low_priority": True})
    for n, fields in enumerate((*others, {}, {}, {})):
        await jobs.insert(a_job(f"job-{n}", created_ms=START_MS + n, **fields))
    last = a_job("job-6", created_ms=START_MS + 6)

    async def place() -> int:
        found = await jobs.peek_placed("job-6")
        assert found is not None
        assert found[0] == await jobs.peek("job-6")
        assert found[1] == await jobs.position(last)
        return found[1]

    assert await place() == 3
    await jobs.leases.claim(["job-4"], "a")
    assert await place() == 2
    await jobs.ends.cancel("job-6")
    assert await place() == 0
    assert await jobs.peek_placed("nobody") is None


async def test_of_a_flight_only_the_oldest_is_offered_and_nobody_while_it_runs(jobs: JobStore) -> None:
    for n in range(3):
        await jobs.insert(a_job(f"job-{n}", flight_key="same", created_ms=START_MS + n))
    assert await offered(jobs) == ["job-0"]
    assert [job.id for job in await jobs.leases.claim(["job-0", "job-1", "job-2"], "a")] == ["job-0"]
    assert await offered(jobs) == []
    assert await jobs.leases.claim(["job-1"], "b") == []
    await jobs.ends.cancel("job-0")
    assert await offered(jobs) == ["job-1"]


async def test_of_many_answers_with_the_same_items_one_is_sent_and_moves_the_cursor(jobs: JobStore) -> None:
    await jobs.insert(a_job())
    job = await jobs.peek("job-1")
    assert job is not None
    begun = await asyncio.gather(*(jobs.begin_sending(job, token) for token in ("a", "b", "c")))
    assert begun == [True, False, False]
    await jobs.end_sending("job-1", "b", 2)
    assert await cursor(jobs) == (0, "a")
    # Whoever takes the place of one that seems dead says which; that one moves nothing any more.
    marked = await jobs.peek("job-1")
    assert marked is not None
    assert await jobs.begin_sending(marked, "d") is True
    await jobs.end_sending("job-1", "a", 2)
    assert await cursor(jobs) == (0, "d")
    await jobs.end_sending("job-1", "d", 2)
    assert await cursor(jobs) == (2, None)
    assert await jobs.begin_sending(job, "e") is False


async def test_a_job_that_is_retried_has_its_stream_from_the_beginning(jobs: JobStore) -> None:
    await jobs.insert(a_job(state=JobState.FAILED, stream_cursor=3, stream_sending="a"))
    again = await jobs.ends.retry("job-1")
    assert again is not None
    await jobs.end_sending("job-1", "a", 5)
    assert await cursor(jobs) == (0, None)


async def cursor(jobs: JobStore) -> tuple[int, str | None]:
    job = await jobs.peek("job-1")
    assert job is not None
    return job.stream_cursor, job.stream_sending
