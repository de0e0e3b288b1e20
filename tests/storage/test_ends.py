"""Jobs end once, with their usage, webhooks and events, and what is retried or deleted leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, event, text
from support.storage import (
    HOUR_MS,
    START_MS,
    HandClock,
    a_completion,
    a_job,
    claim,
    delete_job,
    events_of,
    jobs_of,
    offered,
    on_postgresql,
    put_audio,
    select,
)

from storage.db.database import Database, make_engine, parse_url
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore
from storage.records import BlobRecord, Idempotency, JobState
from storage.usage import UsageStore
from storage.webhooks import WebhookStore


async def test_completing_ends_followers_of_every_tenant_with_usage_webhooks_and_events(
    database: Database, jobs: JobStore, audio: AudioStore, clock: HandClock
) -> None:
    await jobs.insert(a_job("leader", flight_key="f", webhook="https://example.com/a"))
    await jobs.insert(a_job("follower", flight_key="f", tenant="b", kind="runsync", webhook="https://example.com/b"))
    await jobs.insert(a_job("stranger", flight_key="g"))
    leader = await claim(jobs, "leader")
    clock.turn(1)
    blob = await put_audio(audio)
    completion = a_completion(blob, clock.now_ms(), cache_key="spoken")
    done = await jobs.ends.complete("leader", "a", leader.attempt, completion)
    await audio.settle(blob)
    assert (done.ok, done.followers) == (True, ("follower",))
    first, second = await jobs.get("leader"), await jobs.get("follower")
    assert first is not None
    assert second is not None
    assert (first.state, first.output, first.delay_ms, first.cache_key) == (
        JobState.COMPLETED, '{"cache_hit":false}', 5, "spoken",
    )  # fmt: skip
    assert (second.state, second.output, second.delay_ms) == (JobState.COMPLETED, '{"cache_hit":true}', 1000)
    assert first.retain_until_ms == clock.now_ms() + 7 * 24 * HOUR_MS
    assert second.retain_until_ms == clock.now_ms() + HOUR_MS
    assert first.blob_hash == second.blob_hash == blob.hash
    used = {row.tenant: row for row in await UsageStore(database).report(by=["tenant"])}
    assert (used["default"].cost_micro_usd, used["default"].cache_hits) == (7, 0)
    assert (used["b"].cost_micro_usd, used["b"].cache_hits, used["b"].jobs) == (0, 1, 1)
    owed = await WebhookStore(database, clock).take_due()
    assert {(d.job_id, d.url) for d in owed} == {
        ("leader", "https://example.com/a"), ("follower", "https://example.com/b"),
    }  # fmt: skip


async def test_a_follower_who_has_heard_another_backend_is_not_finished_with_the_fallbacks_sound(
    jobs: JobStore, audio: AudioStore
) -> None:
    for job in (
        a_job("leader", flight_key="f"),
        a_job("waiting", flight_key="f", created_ms=START_MS + 1),
        a_job("heard", flight_key="f", created_ms=START_MS + 2, stream_cursor=1),
    ):
        await jobs.insert(job)
    await claim(jobs, "leader")
    assert await jobs.leases.hand_over("leader", "a", 1, "google")
    blob = await put_audio(audio)
    done = await jobs.ends.complete("leader", "a", 1, a_completion(blob, backend="google"))
    await audio.settle(blob)
    assert done.followers == ("waiting",)
    assert await offered(jobs) == ["heard"]


async def test_followers_share_a_failure_of_the_input_and_outlive_any_other(jobs: JobStore) -> None:
    for n in range(2):
        await jobs.insert(a_job(f"bad-{n}", flight_key="bad", created_ms=START_MS + n))
        await jobs.insert(a_job(f"slow-{n}", flight_key="slow", created_ms=START_MS + n))
    await jobs.leases.claim(["bad-0", "slow-0"], "a")
    bad = await jobs.ends.fail("bad-0", "a", 1, JobState.FAILED, "nothing to speak", "invalid_input", by_input=True)
    assert bad.followers == ("bad-1",)
    slow = await jobs.ends.fail("slow-0", "a", 1, JobState.TIMED_OUT, "too slow", "execution_timeout")
    assert slow.followers == ()
    follower = await jobs.get("bad-1")
    assert follower is not None
    assert (follower.state, follower.error) == (JobState.FAILED, "nothing to speak")
    assert await offered(jobs) == ["slow-1"]


async def test_cancel_ends_a_running_job_at_once_and_leaves_a_finished_one(jobs: JobStore, audio: AudioStore) -> None:
    await jobs.insert(a_job())
    job = await claim(jobs)
    cancelled = await jobs.ends.cancel("job-1")
    assert cancelled is not None
    assert cancelled.state is JobState.CANCELLED
    assert not (await jobs.ends.complete("job-1", "a", job.attempt, a_completion(await put_audio(audio)))).ok
    assert await jobs.ends.cancel("job-1") == cancelled
    assert await jobs.ends.cancel("nobody") is None


@pytest.mark.parametrize("end", ["cancel", "ttl", "worker lost"])
async def test_a_job_that_is_ended_while_it_runs_says_who_ran_it_and_for_how_long(
    jobs: JobStore, clock: HandClock, end: str
) -> None:
    for job_id in ("runs", "waits"):
        await jobs.insert(a_job(job_id, expires_at_ms=START_MS + 10_000))
    clock.turn(1)  # it waits for a server
    await claim(jobs, "runs")
    clock.turn(6)  # and for an engine, for two of these
    await jobs.leases.beat("a", {"runs": 1}, {"runs": (0, 3, 4_000)})
    clock.turn(3)
    if end == "cancel":
        await jobs.ends.cancel("runs")
        await jobs.ends.cancel("waits")
    elif end == "ttl":
        assert await jobs.ends.expire_ttl() == ["waits", "runs"]
    else:
        [lease] = await jobs.leases.observe_leases()
        assert await jobs.leases.expire(lease, 1, "silent") is JobState.FAILED
        await jobs.ends.cancel("waits")
    runs, waits = await jobs.peek("runs"), await jobs.peek("waits")
    assert runs is not None and waits is not None
    assert (runs.delay_ms, runs.execution_ms, runs.worker_id) == (6_000, 4_000, "a")
    assert (waits.delay_ms, waits.execution_ms, waits.worker_id) == (10_000, 0, None)


async def test_retry_queues_a_failed_job_afresh_and_nothing_else(jobs: JobStore, clock: HandClock) -> None:
    await jobs.insert(a_job())
    assert await jobs.ends.retry("job-1") is None
    await claim(jobs)
    await jobs.ends.fail("job-1", "a", 1, JobState.TIMED_OUT, "too slow", "execution_timeout", execution_ms=600)
    clock.turn(60)
    again = await jobs.ends.retry("job-1")
    assert again is not None
    assert (again.state, again.error, again.execution_ms, again.retries) == (JobState.IN_QUEUE, None, 0, 1)
    assert again.request == a_job().request
    assert (await claim(jobs)).attempt == 2
    await jobs.ends.fail("job-1", "a", 2, JobState.FAILED, "no", "failed")
    clock.turn(30 * 86_400)
    assert await jobs.ends.retry("job-1") is None


async def test_a_retry_gives_a_job_its_own_ttl_again_however_often(jobs: JobStore, clock: HandClock) -> None:
    await jobs.insert(a_job(expires_at_ms=START_MS + 20_000))
    for attempt, pause_s in enumerate((7, 60, 600), start=1):
        await claim(jobs)
        clock.turn(pause_s)
        await jobs.ends.fail("job-1", "a", attempt, JobState.FAILED, "no", "failed")
        again = await jobs.ends.retry("job-1")
        assert again is not None and again.expires_at_ms == clock.now_ms() + 20_000


async def test_purge_takes_only_what_waits_at_that_endpoint_for_that_tenant(database: Database, jobs: JobStore) -> None:
    await jobs.insert(a_job("running"))
    await claim(jobs, "running")
    await jobs.insert(a_job("waits"))
    await jobs.insert(a_job("elsewhere", endpoint_id="other"))
    await jobs.insert(a_job("theirs", tenant="other"))
    assert await jobs.ends.purge("default", "default") == ["waits"]
    states = {job.id: job.state for job in await jobs_of(database)}
    assert states == {
        "running": JobState.IN_PROGRESS, "waits": JobState.CANCELLED, "elsewhere": JobState.IN_QUEUE,
    }  # fmt: skip


async def test_what_outlives_its_ttl_times_out_waiting_or_running(
    database: Database, jobs: JobStore, clock: HandClock
) -> None:
    for n in range(3):
        await jobs.insert(a_job(f"job-{n}", expires_at_ms=START_MS + 1000 * (n + 1)))
    await claim(jobs, "job-1")
    assert await jobs.ends.expire_ttl() == []
    clock.turn(2)
    assert await jobs.ends.expire_ttl() == ["job-0", "job-1"]
    assert await jobs.leases.beat("a", {"job-1": 1}) == {"job-1"}
    assert [job.state for job in await jobs_of(database)] == [
        JobState.IN_QUEUE, JobState.TIMED_OUT, JobState.TIMED_OUT,
    ]  # fmt: skip


async def test_a_deleted_job_leaves_no_text_no_event_and_frees_its_idempotency_key(
    database: Database, jobs: JobStore, clock: HandClock, tmp_path: Path
) -> None:
    for n in range(3):
        key = Idempotency(f"key-{n}", "h")
        await jobs.insert(a_job(f"job-{n}", kind="runsync", request="a rare sentence about storks"), key)
    await jobs.leases.claim(["job-0", "job-1"], "a")
    for n in range(2):
        await jobs.ends.fail(f"job-{n}", "a", 1, JobState.FAILED, "no", "failed")
    await jobs.shorten_retention("job-1", START_MS + 5)
    await jobs.shorten_retention("job-1", START_MS + 9 * HOUR_MS)
    assert await jobs.delete_retained() == 0
    clock.turn(1)
    assert await jobs.delete_retained() == 1
    assert await jobs.get("job-1") is None
    assert await events_of(database, "job-1") == []
    clock.turn(3600)
    assert await jobs.delete_retained() == 1
    assert not await delete_job(jobs, "job-2")
    await jobs.ends.cancel("job-2")
    assert await delete_job(jobs, "job-2")
    assert (await jobs.insert(a_job("job-9"), Idempotency("key-1", "another"))).id == "job-9"
    await database.close()
    if database.dialect == "sqlite":  # PostgreSQL keeps what nobody sees any more until its next vacuum
        assert b"storks" not in (tmp_path / "voxgate.db").read_bytes()


async def test_a_job_that_ended_before_it_was_stored_owes_its_webhook_too(
    database: Database, jobs: JobStore, clock: HandClock
) -> None:
    await jobs.insert(a_job(state=JobState.FAILED, error="no text", webhook="https://example.com/hook"))
    webhooks = WebhookStore(database, clock)
    [owed] = await webhooks.take_due()
    assert (owed.job_id, owed.tries) == ("job-1", 1)
    assert await webhooks.take_due() == []
    await webhooks.failed(owed.id, 500, "HTTP 500", again_in_ms=10_000)
    assert await webhooks.next_due_ms() == START_MS + 10_000
    clock.turn(10)
    [again] = await webhooks.take_due()
    assert again.tries == 2
    await webhooks.delivered(again.id, 200)
    assert await webhooks.next_due_ms() is None


async def test_taking_over_a_spoken_blob_twice_is_one_row(jobs: JobStore, audio: AudioStore) -> None:
    blobs: list[BlobRecord] = []
    for n in range(2):
        await jobs.insert(a_job(f"job-{n}"))
        job = await claim(jobs, f"job-{n}")
        blobs.append(await put_audio(audio))
        assert (await jobs.ends.complete(job.id, "a", 1, a_completion(blobs[-1]))).ok
        await audio.settle(blobs[-1])
    assert blobs[0].hash == blobs[1].hash


async def test_durable_hits_that_come_at_once_cost_a_few_statements_and_all_their_usage_is_there(
    database: Database, jobs: JobStore
) -> None:
    written: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        written.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await asyncio.gather(*(jobs.insert(a_job(f"hit-{n:02}", state=JobState.COMPLETED)) for n in range(64)))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    for table in ("jobs", "usage"):
        assert 1 <= sum(statement.startswith(f"INSERT INTO {table} ") for statement in written) <= 2, written
    [row] = await UsageStore(database).report()
    assert (row.jobs, row.cache_hits, row.characters) == (64, 64, 64 * 40)


@on_postgresql
async def test_an_end_adds_usage_in_the_order_of_all_servers_whoever_leads(
    database_url: str, database: Database, jobs: JobStore, audio: AudioStore
) -> None:
    """Another server that locks the rows of tenants a and b in this order must not meet an end that has locked b."""
    blob = await put_audio(audio)
    ending = None
    for flight in ("first", "second"):
        await jobs.insert_claimed(a_job(flight, tenant="b", flight_key=flight), None, "s")
        await jobs.insert(a_job(f"{flight}-follows", tenant="a", flight_key=flight))
    await jobs.ends.complete("first", "s", 1, a_completion(blob))  # makes the rows
    engine = make_engine(parse_url(database_url), write=True)
    try:
        with engine.connect() as other, other.begin():
            lock = text("SELECT 1 FROM usage WHERE tenant = :tenant FOR UPDATE NOWAIT")
            other.execute(lock, {"tenant": "a"})
            ending = asyncio.create_task(jobs.ends.complete("second", "s", 1, a_completion(blob)))
            async with asyncio.timeout(30):
                while select(database_url, "SELECT 1 FROM pg_locks WHERE NOT granted") == []:
                    await asyncio.sleep(0.02)
            other.execute(lock, {"tenant": "b"})
    finally:
        engine.dispose()
    assert (await ending).followers == ("second-follows",)


async def test_hits_that_are_written_twice_are_counted_once(
    database: Database, jobs: JobStore, audio: AudioStore
) -> None:
    blob = await put_audio(audio)
    await jobs.insert(a_job("spoken"))
    await jobs.ends.complete("spoken", "a", (await claim(jobs, "spoken")).attempt, a_completion(blob))
    hits = [
        a_job(f"hit-{n}", state=JobState.COMPLETED, blob_hash=blob.hash, finished_ms=START_MS + n % 2 * 24 * HOUR_MS)
        for n in range(6)
    ]
    await jobs.insert_many_finished(hits[:4])
    await jobs.insert_many_finished(hits[2:])
    await jobs.insert(msgspec.structs.replace(hits[0], id="a-run"))
    rows = await UsageStore(database).report()
    assert [(row.day, row.jobs, row.cache_hits, row.characters) for row in rows] == [
        ("2026-01-01", 5, 4, 200),
        ("2026-01-02", 3, 3, 120),
    ]
