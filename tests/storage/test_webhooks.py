"""Who is sent webhooks next, when not everybody can be."""

from __future__ import annotations

from collections import Counter

from support.storage import HandClock, a_job

from storage.database import Database
from storage.jobs import JobStore
from storage.records import JobState
from storage.webhooks import WebhookStore


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
