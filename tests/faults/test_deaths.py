"""Servers that die, again and again: who is blamed for it, and what is counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from support.after import rows, sound_of
from support.gates import let
from support.served import Served, Site, site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_both")]

SHORT = {"jobs__lease_s": 1, "jobs__beat_s": 0.3}


async def test_jobs_that_run_together_outlive_more_deaths_than_end_one_that_runs_alone(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT, jobs__max_attempts=1) as place:
        served = await place.start()
        ids = [await served.caller.run(f"Innocent number {n}.", options={"delay_s": 0.5}) for n in range(6)]
        for _ in range(6):
            await until_somebody_runs(place)
            await served.kill()
            served = await place.start()
        for job_id in ids:
            sound_of(await served.caller.until(job_id))
        assert await served.stop() == 0


async def test_a_job_that_ends_its_servers_fails_after_five_and_all_others_are_spoken(tmp_path: Path) -> None:
    gate = let(tmp_path, 0)
    inline = {"backends__scripted__host": "inline", "backends__scripted__concurrency": 8}
    async with site(tmp_path, **SHORT, **inline, backends__scripted__gate=gate) as place:
        served = await place.start()
        innocent = [await served.caller.run(f"Innocent number {n}.", options={"delay_s": 0.3}) for n in range(4)]
        poison = await served.caller.run("It ends its server.", options={"delay_s": 0.3, "crash": True})
        same = await served.caller.run("It ends its server.", options={"delay_s": 0.3, "crash": True})
        innocent += [await served.caller.run(f"Innocent number {n}.", options={"delay_s": 0.3}) for n in range(4, 8)]
        let(tmp_path, 1000)  # nothing ends the server before it has all of them
        deaths = 0
        while True:
            job = await status_or_death(served, poison)
            if job == "died":
                deaths += 1
                await served.kill()
                served = await place.start()
            elif job in ("FAILED", "COMPLETED"):
                break
            await asyncio.sleep(0.05)
        assert deaths == 5
        for job_id in (poison, same):
            job = await served.caller.until(job_id)
            assert job["status"] == "FAILED" and "5 servers in a row" in job["error"]
        assert rows(place.data_dir, "SELECT DISTINCT error_code FROM jobs WHERE state = 'FAILED'") == [("worker_lost",)]
        for job_id in innocent:
            sound_of(await served.caller.until(job_id))
        assert await served.stop() == 0


async def test_usage_of_hits_is_as_durable_as_their_rows(tmp_path: Path) -> None:
    async with site(tmp_path) as place:
        served = await place.start()
        await served.caller.say("Bill me exactly.")
        for _ in range(100):
            await served.caller.run("Bill me exactly.")
        await served.kill()
        assert rows(place.data_dir, "SELECT SUM(jobs), SUM(cache_hits), SUM(characters) FROM usage") == [
            (101, 100, 101 * len("Bill me exactly."))
        ]
        served = await place.start()
        hitting = [asyncio.create_task(hit(served)) for _ in range(4)]
        await asyncio.sleep(1.3)
        await served.kill()
        assert sum(await asyncio.gather(*hitting)) > 10
        ((finished,),) = rows(place.data_dir, "SELECT COUNT(*) FROM jobs WHERE state = 'COMPLETED'")
        assert finished > 101
        assert rows(place.data_dir, "SELECT SUM(jobs), SUM(cache_hits) FROM usage") == [(finished, finished - 1)]


async def hit(served: Served) -> int:
    """Hear what is cached until the server is gone; how often."""
    answered = 0
    while True:
        try:
            job = await served.caller.say("Bill me exactly.")
        except httpx.HTTPError:
            return answered
        assert job["output"]["cache_hit"] is True
        answered += 1


async def until_somebody_runs(place: Site) -> None:
    async with asyncio.timeout(60):
        while not rows(place.data_dir, "SELECT 1 FROM jobs WHERE state = 'IN_PROGRESS' AND owner IS NOT NULL"):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)


async def status_or_death(served: Served, job_id: str) -> str:
    try:
        return str((await served.caller.status(job_id))["status"])
    except httpx.HTTPError:
        return "died"
