"""Two servers on one PostgreSQL: what one does, the other hears; and PostgreSQL itself goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.after import sound_of, spoken
from support.postgres import migrated_database, the_server
from support.running import Caller, running
from support.storage import select

import gateway.access.service
import gateway.app
import gateway.jobs.run.claimer
import gateway.jobs.service
import gateway.jobs.webhooks.deliveries
from gateway.settings import DatabaseSettings, JobSettings
from storage.cache_entries import CacheStore
from storage.endpoints import EndpointRecord, EndpointStore

pytestmark = pytest.mark.slow

NEVER_S = 3600.0


@pytest.fixture
def url() -> Iterator[str]:
    with migrated_database() as url:
        yield url


@pytest.fixture
def deaf_to_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off periodic polling, so that servers learn of changes by notifications only."""
    for module, name in (
        (gateway.jobs.run.claimer, "POLL_S"),
        (gateway.jobs.service, "POLL_S"),
        (gateway.jobs.webhooks.deliveries, "POLL_S"),
        (gateway.app, "REFRESH_S"),
        (gateway.access.service, "_POLL_S"),
    ):
        monkeypatch.setattr(module, name, NEVER_S)


@contextlib.asynccontextmanager
async def two_servers(folder: Path, url: str, **fields: Any) -> AsyncIterator[tuple[Caller, Caller]]:
    """On one database and one audio store."""
    fields = {
        "database": DatabaseSettings(url=url), "auto_endpoints": True,
        "backends": {"scripted": {"target_chars": 50, "record": str(folder / "record")}}, **fields,
    }  # fmt: skip
    async with running(folder, **fields) as one, running(folder, **fields) as other:
        yield one, other


async def listening(url: str, servers: int) -> None:
    """Until the servers hear each other."""
    sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN voxgate_changes%' AND state = 'idle'"
    async with asyncio.timeout(20):
        while await asyncio.to_thread(select, url, f"{sql} AND datname = current_database()") != [(servers,)]:
            await asyncio.sleep(0.05)


async def test_queue_waiters_and_cancellation_go_from_server_to_server_by_notice(
    tmp_path: Path, url: str, deaf_to_polls: None
) -> None:
    jobs = JobSettings(max_running=1, beat_s=600, lease_s=3600)
    async with two_servers(tmp_path, url, jobs=jobs) as (one, other), asyncio.timeout(60):
        await listening(url, 2)
        long = await one.run("It keeps its server busy.", options={"delay_s": 600})
        while (await one.status(long))["status"] != "IN_PROGRESS":
            await asyncio.sleep(0.02)
        busy = one if one.gateway._claimer.running else other
        free = other if busy is one else one
        # The busy server has no place for it; the free one hears of it, and the caller of its end.
        job = await busy.say("Somebody else says this.")
        sound_of(job)
        assert job["workerId"] == free.gateway.owner
        # Cancelled at the free server, the long job leaves its place at the busy one.
        runs = busy.gateway._claimer.running[long]
        async with asyncio.timeout(60):
            while not runs.execution_ms:
                await asyncio.sleep(0.02)
        await busy.gateway._leases.beat()
        assert (await free.post(f"cancel/{long}")).json()["status"] == "CANCELLED"
        cancelled = await free.status(long)
        assert cancelled["workerId"] == busy.gateway.owner and cancelled["executionTime"] > 0
        while busy.gateway._claimer.running:
            await asyncio.sleep(0.02)


async def test_kill_switches_and_endpoints_go_from_server_to_server_by_notice(
    tmp_path: Path, url: str, deaf_to_polls: None
) -> None:
    async with two_servers(tmp_path, url, auto_endpoints=False) as (one, other), asyncio.timeout(60):
        await listening(url, 2)
        new = await one.gateway.access.keys.create(tenant="default", env="dev", scopes=("speak",))
        assert one.gateway._database is not None
        now = one.gateway.clock.now_ms()
        await EndpointStore(one.gateway._database).put(EndpointRecord("narrator", None, now, now), "test")

        async def until(status: int) -> None:
            url, headers = f"{other.http.base_url}/v2/narrator/health", {"Authorization": f"Bearer {new.secret}"}
            async with httpx.AsyncClient(headers=headers) as http:
                while (await http.get(url)).status_code != status:
                    await asyncio.sleep(0.02)

        await until(200)
        await one.gateway.access.keys.revoke(new.record.id)
        await until(401)


async def test_what_one_server_evicts_the_other_does_not_answer_from_memory(
    tmp_path: Path, url: str, deaf_to_polls: None
) -> None:
    async with two_servers(tmp_path, url) as (one, other), asyncio.timeout(60):
        await listening(url, 2)
        texts = ("Both know this sentence.", "This one is younger.")
        for text in texts:
            await one.say(text)
            for server in (one, other):
                assert (await server.say(text))["output"]["cache_hit"] is True
        assert one.gateway._database is not None
        cache = CacheStore(one.gateway._database, one.gateway.clock)
        stored = await cache.stats()
        assert await cache.evict(stored.size_bytes - 1) == 1
        while all([(await other.say(text))["output"]["cache_hit"] for text in texts]):
            await asyncio.sleep(0.02)


async def test_a_listener_that_was_cut_off_hears_again(tmp_path: Path, url: str, deaf_to_polls: None) -> None:
    jobs = JobSettings(max_running=1, beat_s=600, lease_s=3600)
    async with two_servers(tmp_path, url, jobs=jobs) as (one, other), asyncio.timeout(60):
        await listening(url, 2)
        the_server().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        await listening(url, 2)
        for job in await asyncio.gather(*(server.say(f"Text {n}.") for n, server in enumerate((one, other) * 3))):
            sound_of(job)


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_postgresql_restarts_in_the_middle_of_two_hundred_jobs(tmp_path: Path, url: str, how: str) -> None:
    """`fast` hangs up on everybody, `immediate` is a crash with its recovery."""
    jobs = JobSettings(max_running=8)
    texts = [f"Job {n} has a first paragraph.\n\nJob {n} has a second one." for n in range(200)]
    chunks = [chunk for text in texts for chunk in text.split("\n\n")]
    async with two_servers(tmp_path, url, jobs=jobs) as servers:
        waiting = iter(range(200))
        ids: dict[int, str] = {}

        async def submit() -> None:
            """Some before, some while, some after it is away."""
            for n in waiting:
                ids[n] = await servers[n % 2].run(texts[n], options={"delay_s": 0.02})

        submitting = [asyncio.create_task(submit()) for _ in range(4)]
        while len(spoken(tmp_path / "record")) < 100:
            await asyncio.sleep(0.05)
        finished = select(url, "SELECT COUNT(*) FROM jobs WHERE state = 'COMPLETED'")[0][0]
        assert finished < 200
        await asyncio.to_thread(the_server().stop, how)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(the_server().start)
        await asyncio.gather(*submitting)
        assert len(set(ids.values())) == 200
        ended = await asyncio.gather(*(servers[n % 2].until(job_id, within_s=120) for n, job_id in ids.items()))
        for job in ended:
            sound_of(job)
        states = select(url, "SELECT state, COUNT(*), COUNT(DISTINCT request) FROM jobs GROUP BY state")
        assert states == [("COMPLETED", 200, 200)]
        said = Counter(text for text, _ in spoken(tmp_path / "record"))
        assert said.keys() == set(chunks)
        # A chunk whose take could not be kept in time may be spoken again; no other.
        again = {text for text, times in said.items() if times > 1}
        assert len(again) <= 2 * jobs.max_running
        assert max(said.values()) <= 2
        async with asyncio.timeout(30):  # the last takes of a job are stored after its end
            while select(url, "SELECT COUNT(*) FROM takes") != [(400,)]:
                await asyncio.sleep(0.05)
        assert len({job["workerId"] for job in ended}) == 2


async def test_while_postgresql_is_away_callers_are_told_and_afterwards_all_goes_on(tmp_path: Path, url: str) -> None:
    fields = {"backends": {"scripted": {"record": str(tmp_path / "record")}}}
    async with running(tmp_path, database=DatabaseSettings(url=url), auto_endpoints=True, **fields) as caller:
        sound_of(await caller.say("Before."))
        under_way = await caller.run("It is being spoken meanwhile.", options={"delay_s": 2})
        await caller.until(under_way, "IN_PROGRESS")
        await asyncio.to_thread(the_server().stop)
        try:
            ready = await caller.http.get("/health/ready")
            refused = await caller.post("run", {"input": {"text": "Nobody can keep this."}})
            looked = await caller.http.get(f"/v2/{caller.endpoint}/status/{under_way}")
        finally:
            await asyncio.to_thread(the_server().start)
        for answer in (ready, refused, looked):
            assert answer.status_code == 503, answer.text
            assert "start PostgreSQL" in answer.text
            assert "Traceback" not in answer.text
        job = await caller.until(under_way)
        sound_of(job)
        sound_of(await caller.say("After."))
        assert (await caller.http.get("/health/ready")).status_code == 200
        assert Counter(text for text, _ in spoken(tmp_path / "record")).keys() == {
            "Before.", "It is being spoken meanwhile.", "After.",
        }  # fmt: skip
