"""Job order is fair: tenants take turns, low priority comes last, cancelled jobs never run."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.after import sound_of, spoken
from support.running import Caller, running

import storage.jobs.queue
from gateway.jobs import service
from gateway.jobs.answer import health
from gateway.settings import JobSettings
from storage.jobs.leases import JobLeases
from storage.jobs.queue import JobStore

ONE = JobSettings(max_running=1)


def scripted(tmp_path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"seconds_per_char": 0.005, "record": str(tmp_path / "record"), **settings}}


def names(tmp_path: Path) -> list[str]:
    """The names of the jobs in the order in which they were spoken."""
    return [re.sub(r"\W.*", "", text) for text, _ in spoken(tmp_path / "record")]


async def held(caller: Caller) -> str:
    """A job that keeps the only place while others line up; cancel it to let them go."""
    job_id = await caller.run("Holder of the place.", options={"delay_s": 3600})
    await caller.until(job_id, "IN_PROGRESS")
    return job_id


async def test_low_priority_comes_last(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path), jobs=ONE, shutdown_grace_s=0.1) as caller:
        holder = await held(caller)
        low = [await caller.run(f"Low{n} can wait.", policy={"lowPriority": True}) for n in range(2)]
        normal = [await caller.run(f"Normal{n} comes first.") for n in range(3)]
        await caller.post(f"cancel/{holder}")
        for job_id in low + normal:
            sound_of(await caller.until(job_id))
        assert names(tmp_path) == ["Normal0", "Normal1", "Normal2", "Low0", "Low1"]


async def test_a_job_that_stands_behind_more_than_are_counted_does_not_say_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (storage.jobs.queue, health):
        monkeypatch.setattr(module, "PLACE_LIMIT", 3)
    async with running(tmp_path, backends=scripted(tmp_path), jobs=ONE, shutdown_grace_s=0.1) as caller:
        await held(caller)
        line = [await caller.run(f"Number {n} in a long line.") for n in range(5)]
        reasons = [(await caller.status(job_id))["reason"] for job_id in line]
    assert reasons == ["position 1", "position 2", *["position 3 or later"] * 3]


async def test_a_tenant_with_one_job_does_not_wait_for_all_of_another_ones(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path), jobs=ONE, shutdown_grace_s=0.1) as caller:
        key = (await caller.gateway.access.keys.create(tenant="small")).secret
        await caller.gateway.access.refresh()
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=caller.http.base_url, headers=headers) as http:
            small = Caller(caller.gateway, http)
            holder = await held(caller)
            many = [await caller.run(f"Many{n} is one of a great many.") for n in range(12)]
            few = [await small.run(f"Few{n} is one of two.") for n in range(2)]
            await caller.post(f"cancel/{holder}")
            for job_id in few:
                sound_of(await small.until(job_id))
            assert (await caller.status(many[-1]))["status"] == "IN_QUEUE"
            order = names(tmp_path)
            assert order.index("Few0") <= 1
            assert order.index("Few1") <= 4
            # A stranger's job is not there at all.
            assert (await small.http.get(f"/v2/tests/status/{many[0]}")).status_code == 404
            assert (await small.post(f"cancel/{many[0]}")).status_code == 404
            for job_id in many:
                sound_of(await caller.until(job_id))


async def test_a_short_job_begins_while_a_long_one_is_spoken(tmp_path: Path) -> None:
    text = "\n\n".join(f"Long{n} is a paragraph of a long, long text." for n in range(40))
    async with running(tmp_path, backends=scripted(tmp_path, target_chars=50)) as caller:
        long = await caller.run(text, options={"chunk_delay_s": 0.15})
        while len(spoken(tmp_path / "record")) < 5:
            await asyncio.sleep(0.01)
        sound_of(await caller.say("Short is only one sentence."))
        assert (await caller.status(long))["status"] == "IN_PROGRESS"
        assert names(tmp_path).index("Short") < 25
        sound_of(await caller.until(long))


async def test_cancelled_jobs_free_their_places_and_hurt_nobody(tmp_path: Path) -> None:
    backends = scripted(tmp_path, concurrency=4)
    async with running(tmp_path, backends=backends, jobs=JobSettings(max_running=4)) as caller:
        bystander = await caller.run("Bystander goes on.", options={"delay_s": 1})
        long = [await caller.run(f"Long{n} takes an hour.", options={"delay_s": 3600}) for n in range(3)]
        await asyncio.gather(*(caller.until(job_id, "IN_PROGRESS") for job_id in (bystander, *long)))
        waiting = [await caller.run(f"Waiting{n} never has its turn.") for n in range(3)]
        for job_id in waiting + long:
            assert (await caller.post(f"cancel/{job_id}")).json()["status"] == "CANCELLED"
        for job in await asyncio.gather(*(caller.say(f"Next{n} is spoken at once.") for n in range(6))):
            sound_of(job)
        job = await caller.until(bystander)
        sound_of(job)
        assert "retries" not in job
        hosted = caller.gateway.engines.get("scripted")
        assert hosted is not None
        assert hosted.host.state().restarts == 0
        for job_id in waiting + long:
            assert (await caller.status(job_id))["status"] == "CANCELLED"
        assert not [name for name in names(tmp_path) if name.startswith(("Waiting", "Long"))]
        # What has ended stays as it ended.
        assert (await caller.post(f"cancel/{bystander}")).json()["status"] == "COMPLETED"


async def test_a_job_cancelled_in_a_deaf_engine_frees_its_place_too(tmp_path: Path) -> None:
    backends = scripted(tmp_path, cancel_grace_s=0.3)
    async with running(tmp_path, backends=backends, jobs=ONE, shutdown_grace_s=0.1) as caller:
        deaf = await caller.run("Deaf hears nothing.", options={"hang": True})
        while "Deaf" not in names(tmp_path):
            await asyncio.sleep(0.02)
        assert (await caller.post(f"cancel/{deaf}")).json()["status"] == "CANCELLED"
        sound_of(await caller.say("Next is spoken by a new worker."))


async def test_purge_cancels_what_waits_and_nothing_that_runs(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path), jobs=ONE, shutdown_grace_s=0.1) as caller:
        holder = await held(caller)
        waiting = [await caller.run(f"Waiting{n} is purged.") for n in range(3)]
        assert (await caller.post("purge-queue")).json()["removed"] == 3
        for job_id in waiting:
            assert (await caller.status(job_id))["status"] == "CANCELLED"
        assert (await caller.status(holder))["status"] == "IN_PROGRESS"
        await caller.post(f"cancel/{holder}")  # or the stop would wait for it


async def test_a_full_queue_is_said_with_when_to_come_back(tmp_path: Path) -> None:
    jobs = JobSettings(max_running=1, queue_limit=2)
    async with running(tmp_path, backends=scripted(tmp_path), jobs=jobs) as caller:
        holder = await held(caller)
        waiting = [await caller.run(f"Waiting{n} has a place in line.") for n in range(2)]
        answer = await caller.post("run", {"input": {"text": "Late finds no place."}})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert "VOXGATE_JOBS__QUEUE_LIMIT" in answer.json()["error"]
        await caller.post(f"cancel/{holder}")
        for job_id in waiting:
            sound_of(await caller.until(job_id))
        sound_of(await caller.say("Late finds a place now."))


@pytest.mark.parametrize(("at_least", "per_worker", "room"), [(1, 2, 4), (3, 1, 3)])
async def test_runpods_rule_of_a_full_queue_grows_with_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_least: int, per_worker: int, room: int
) -> None:
    monkeypatch.setattr(service, "RUNPOD_QUEUE", at_least)
    monkeypatch.setattr(service, "RUNPOD_QUEUE_PER_WORKER", per_worker)
    backends = scripted(tmp_path)
    backends["scripted"] |= {"min_workers": 1, "max_workers": 2}
    async with running(tmp_path, backends=backends, jobs=ONE, shutdown_grace_s=0.1, limits="runpod") as caller:
        await held(caller)
        for n in range(room):
            await caller.run(f"Waiting{n} has a place in line.")
        answer = await caller.post("run", {"input": {"text": "Late finds no place."}})
        assert answer.status_code == 429
        assert f"{room} jobs wait, the limit is {room}" in answer.json()["error"]
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(("store", "name"), [(JobStore, "insert_claimed"), (JobLeases, "claim")])
async def test_a_claim_that_crashes_leaves_its_job_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: type, name: str
) -> None:
    step = getattr(store, name)

    async def crash(*_: Any) -> Any:
        monkeypatch.setattr(store, name, step)
        raise RuntimeError("a defect of ours")

    async with running(tmp_path, backends=scripted(tmp_path), jobs=JobSettings(max_running=4)) as caller:
        sound_of(await caller.say("Its backend is loaded now."))
        monkeypatch.setattr(store, name, crash)
        said = [caller.say(f"Number {n} is accepted, and spoken.", options={"delay_s": 0.2}) for n in range(8)]
        for job in await asyncio.gather(*said):
            sound_of(job)
        assert getattr(store, name) is step, "it did not crash"
