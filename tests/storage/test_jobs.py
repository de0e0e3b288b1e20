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
    an_entry,
    delete_job,
    events_of,
    jobs_of,
    on_postgresql,
    opened,
    put_audio,
    select,
)

from storage.db.database import Database, make_engine, parse_url
from storage.db.models import JobRow
from storage.errors import BlobMissing, IdempotencyConflict
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore
from storage.jobs.sql import COLUMNS
from storage.records import BlobRecord, Idempotency, JobRecord, JobState, Lane
from storage.usage import UsageStore
from storage.webhooks import WebhookStore


async def offered(jobs: JobStore, per_line: int = 16) -> list[str]:
    """Jobs that wait for hibari and could be claimed now, in their order."""
    return [candidate.id for candidate in (await jobs.leases.candidates(["hibari"], per_line)).candidates]


async def claim(jobs: JobStore, job_id: str = "job-1", owner: str = "a") -> JobRecord:
    [job] = await jobs.leases.claim([job_id], owner)
    return job


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


async def test_of_many_claimers_on_two_servers_one_gets_the_job(database_url: str) -> None:
    servers = [await Database.open(database_url) for _ in range(2)]
    try:
        stores = [JobStore(server, HandClock()) for server in servers]
        for n in range(40):
            await stores[0].insert(a_job(f"job-{n}", flight_key=f"f{n % 20}"))
        taken = await asyncio.gather(
            *(stores[n % 2].leases.claim([f"job-{i}" for i in range(40)], f"owner-{n}") for n in range(8))
        )
        ids = [job.id for jobs in taken for job in jobs]
        assert len(ids) == len(set(ids)) == 20
    finally:
        for server in servers:
            await server.close()


async def test_a_beat_keeps_the_lease_and_tells_what_is_lost(jobs: JobStore) -> None:
    for n in range(3):
        await jobs.insert(a_job(f"job-{n}"))
    held = {job.id: job.attempt for job in await jobs.leases.claim(["job-0", "job-1", "job-2"], "a")}
    await jobs.ends.cancel("job-1")
    assert await jobs.leases.beat("a", held, {"job-0": (2, 9, 1_500)}) == {"job-1"}
    assert await jobs.leases.beat("a", held | {"job-2": 7}) == {"job-1", "job-2"}
    seen = {lease.job_id: lease.beat for lease in await jobs.leases.observe_leases()}
    assert seen == {"job-0": 2, "job-2": 1}
    job = await jobs.peek("job-0")
    assert job is not None
    assert (job.chunks_done, job.chunks_total, job.execution_ms) == (2, 9, 1_500)


async def test_a_lease_that_stood_still_expires_and_the_paused_owner_is_fenced_out(
    jobs: JobStore, audio: AudioStore, clock: HandClock
) -> None:
    await jobs.insert(a_job())
    await claim(jobs, owner="paused")
    [lease] = await jobs.leases.observe_leases()
    await jobs.leases.beat("paused", {"job-1": 1})
    assert await jobs.leases.expire(lease, 3, "silent") is None
    [lease] = await jobs.leases.observe_leases()
    assert await jobs.leases.expire(lease, 3, "silent") is JobState.IN_QUEUE
    clock.turn(1)
    second = await claim(jobs, owner="next")
    assert (second.attempt, second.failures, second.deaths, second.retries) == (2, 0, 1, 1)
    blob = await put_audio(audio)
    assert not (await jobs.ends.complete("job-1", "paused", 1, a_completion(blob))).ok
    assert not (await jobs.ends.fail("job-1", "paused", 1, JobState.FAILED, "late", "failed")).ok
    assert not await jobs.ends.requeue("job-1", "paused", 1, "late", count_failure=True)
    assert (await jobs.ends.complete("job-1", "next", 2, a_completion(blob))).ok


async def test_a_job_that_ends_its_servers_waits_longer_each_time_and_stops_with_all_who_want_the_same(
    database: Database, jobs: JobStore, clock: HandClock
) -> None:
    await jobs.insert(a_job(flight_key="f"))
    await jobs.insert(a_job("follower", flight_key="f", created_ms=START_MS + 1))
    pauses = []
    for _ in range(3):
        await claim(jobs)
        [lease] = await jobs.leases.observe_leases()
        state = await jobs.leases.expire(lease, 3, "the server was silent")
        began = clock.now_ms()
        while state is JobState.IN_QUEUE and not await jobs.leases.suspects(["hibari"]):
            assert await jobs.leases.claim(["job-1"], "a") == [] and await offered(jobs) == []
            clock.turn(0.5)
        pauses.append(clock.now_ms() - began)
    assert pauses == [1000, 2000, 0]
    for job in [await jobs.get("job-1"), await jobs.get("follower")]:
        assert job is not None
        assert (job.state, job.error_code, job.finished_ms) == (JobState.FAILED, "worker_lost", clock.now_ms())
        assert job.error == "3 servers in a row ended or fell silent while they ran it; the server was silent"
    assert await events_of(database, "job-1") == [
        "claimed", "expired", "claimed", "expired", "claimed", "FAILED",
    ]  # fmt: skip


async def test_handing_back_costs_no_failure_and_a_retry_later_waits(jobs: JobStore, clock: HandClock) -> None:
    await jobs.insert(a_job())
    await claim(jobs)
    assert await jobs.ends.requeue("job-1", "a", 1, "stopping", count_failure=False, execution_ms=120)
    job = await claim(jobs)
    assert (job.failures, job.execution_ms) == (0, 120)
    assert await jobs.ends.requeue("job-1", "a", 2, "worker crashed", count_failure=True, delay_ms=2000)
    assert await jobs.leases.claim(["job-1"], "a") == []
    clock.turn(2)
    assert (await claim(jobs)).failures == 1


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


async def test_a_job_is_handed_to_another_backend_by_its_owner_and_before_any_of_it_was_given_out(
    jobs: JobStore,
) -> None:
    for job in (a_job(), a_job("heard", stream_cursor=1), a_job("leaving", stream_sending="a")):
        await jobs.insert(job)
    await jobs.leases.claim(["job-1", "heard", "leaving"], "a")
    told = await jobs.peek("job-1")
    assert told is not None
    handed = [await jobs.leases.hand_over(job_id, "a", 1, "google") for job_id in ("job-1", "heard", "leaving")]
    assert handed == [True, False, False]
    assert not await jobs.leases.hand_over("job-1", "b", 1, "chatterbox")
    after = [await jobs.peek(job_id) for job_id in ("job-1", "heard")]
    assert [job.backend for job in after if job is not None] == ["google", "hibari"]
    assert not await jobs.begin_sending(told, "b"), "an item of the one that gave up leaves no more"


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


async def test_a_leader_on_another_server_makes_a_claim_skip_not_fail(jobs: JobStore) -> None:
    await jobs.insert(a_job("job-0", flight_key="f", blob_hash=None))
    await jobs.insert(a_job("job-1", flight_key="f"))
    await jobs.insert(a_job("job-2"))
    assert [j.id for j in await jobs.leases.claim(["job-1", "job-0", "job-2"], "a")] == ["job-1", "job-2"]


async def test_taking_over_a_spoken_blob_twice_is_one_row(jobs: JobStore, audio: AudioStore) -> None:
    blobs: list[BlobRecord] = []
    for n in range(2):
        await jobs.insert(a_job(f"job-{n}"))
        job = await claim(jobs, f"job-{n}")
        blobs.append(await put_audio(audio))
        assert (await jobs.ends.complete(job.id, "a", 1, a_completion(blobs[-1]))).ok
        await audio.settle(blobs[-1])
    assert blobs[0].hash == blobs[1].hash


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


async def test_a_job_is_claimed_as_it_comes_unless_it_follows_and_is_told_what_was_finished_by_then(
    database: Database, jobs: JobStore, audio: AudioStore
) -> None:
    first = await jobs.insert_claimed(a_job("first", flight_key="f"), None, "a")
    second = await jobs.insert_claimed(a_job("second", flight_key="f"), None, "b")
    assert (first.claimed, first.cached, second.claimed) == (True, False, False)
    assert first.job == await jobs.get("first") and second.job == await jobs.get("second")
    blob = await put_audio(audio)
    done = await jobs.ends.complete("first", "a", 1, a_completion(blob, cache_entry=an_entry("f", blob)))
    assert done.followers == ("second",)
    third = await jobs.insert_claimed(a_job("third", flight_key="f"), None, "b")
    assert (third.claimed, third.cached) == (True, True)
    assert await events_of(database, "third") == ["claimed"]


async def test_of_many_that_come_to_two_servers_at_once_one_leads(database_url: str) -> None:
    async with opened(database_url) as one, opened(database_url) as other:
        stores = [JobStore(one), JobStore(other)]
        for flight in range(10):
            names = [f"{flight}-{n}" for n in range(16)]
            accepted = await asyncio.gather(
                *(
                    stores[n % 2].insert_claimed(
                        a_job(name, flight_key=f"f{flight}"), Idempotency(name, ""), "ab"[n % 2]
                    )
                    for n, name in enumerate(names)
                )
            )
            assert sorted(each.job.id for each in accepted) == sorted(names)
            assert sum(each.claimed for each in accepted) == 1


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
