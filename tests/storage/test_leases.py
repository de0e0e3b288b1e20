"""The queue gives each job to one server under a lease, and takes it back from one that has stopped."""

from __future__ import annotations

import asyncio

from support.storage import (
    START_MS,
    HandClock,
    a_completion,
    a_job,
    an_entry,
    claim,
    events_of,
    offered,
    opened,
    put_audio,
)

from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore
from storage.records import Idempotency, JobState


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


async def test_a_leader_on_another_server_makes_a_claim_skip_not_fail(jobs: JobStore) -> None:
    await jobs.insert(a_job("job-0", flight_key="f", blob_hash=None))
    await jobs.insert(a_job("job-1", flight_key="f"))
    await jobs.insert(a_job("job-2"))
    assert [j.id for j in await jobs.leases.claim(["job-1", "job-0", "job-2"], "a")] == ["job-1", "job-2"]


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
