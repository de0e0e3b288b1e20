"""Webhook deliveries share the limited places between tenants and receivers."""

from __future__ import annotations

from collections import Counter

from support.storage import HandClock, a_job

from storage.db.database import Database
from storage.jobs.queue import JobStore
from storage.records import JobState
from storage.webhooks import DeliveryState, WebhookStore


async def owe(jobs: JobStore, tenant: str, *urls: str) -> None:
    """An ended job for each."""
    for n, url in enumerate(urls):
        await jobs.insert(a_job(f"{tenant}-{n}", tenant=tenant, state=JobState.FAILED, webhook=url))


async def test_no_tenant_is_given_the_last_places(database: Database, jobs: JobStore, clock: HandClock) -> None:
    await owe(jobs, "busy", *(f"https://busy-{n}.example/" for n in range(20)))
    await owe(jobs, "late", "https://late.example/")
    store = WebhookStore(database, clock)
    taken = await store.take_due(places=8)
    assert Counter(one.tenant for one in taken) == {"busy": 4, "late": 1}
    assert await store.take_due(places=8, held=taken) == []
    await owe(jobs, "later", "https://later.example/")
    (later,) = await store.take_due(places=8, held=taken)
    assert later.tenant == "later"
    more = await store.take_due(places=8, held=[one for one in taken if one.tenant == "late"])
    assert {one.tenant for one in more} == {"busy"}, "what is free again is used"


async def test_one_receiver_holds_a_few_places_and_no_others_tenants(
    database: Database, jobs: JobStore, clock: HandClock
) -> None:
    same = [f"https://Shared.example:8443/{n}" for n in range(20)]
    await owe(jobs, "busy", *same, "https://other.example/")
    await owe(jobs, "late", "https://shared.example:8443/late")
    store = WebhookStore(database, clock)
    taken = await store.take_due(places=32, per_receiver=3)
    assert Counter((one.tenant, one.receiver) for one in taken) == {
        ("busy", "shared.example:8443"): 3,
        ("busy", "other.example"): 1,
        ("late", "shared.example:8443"): 1,
    }
    assert {one.tries for one in taken} == {1}
    assert await store.take_due(places=32, per_receiver=3, held=taken) == []
    left = sorted(taken, key=lambda one: (one.tenant, one.receiver))[:-2]  # but one to the shared one, and late's
    (again,) = await store.take_due(places=32, per_receiver=3, held=left)
    assert (again.tenant, again.receiver) == ("busy", "shared.example:8443")


async def test_a_retry_closes_what_is_owed_of_the_end_before_and_the_next_end_is_owed_anew(
    database: Database, jobs: JobStore, clock: HandClock
) -> None:
    store = WebhookStore(database, clock)
    url = "https://receiver.example/"
    await jobs.insert(a_job("job-1", state=JobState.FAILED, finished_ms=clock.now_ms(), webhook=url))
    (first,) = await store.take_due()
    ended = await store.ended_job(first.id)
    assert ended is not None and ended.state is JobState.FAILED and ended.request == a_job().request
    # The first try is under way.
    assert await jobs.ends.retry("job-1") is not None
    assert await store.ended_job(first.id) is None
    (closed,) = await store.page(job_id="job-1")
    assert closed.state is DeliveryState.FAILED and "was retried" in (closed.last_error or "")
    await jobs.ends.cancel("job-1")
    assert await store.ended_job(first.id) is None, "this end is not the one it was to tell"
    for again_in_ms in (10_000, None):
        await store.failed(first.id, 503, "answered 503", again_in_ms)
    clock.turn(3_600)
    (second,) = await store.take_due()
    assert (second.job_id, second.tries) == ("job-1", 1) and second.id != first.id
    told = await store.ended_job(second.id)
    assert told is not None and told.state is JobState.CANCELLED
    pending, still_closed = await store.page(job_id="job-1")
    assert still_closed == closed
    # Had the receiver taken the first one after all, that is all that would be noted.
    await store.delivered(first.id, 200)
    assert [row.state for row in await store.page(job_id="job-1")] == [DeliveryState.PENDING, DeliveryState.DELIVERED]
    assert pending.id == second.id
