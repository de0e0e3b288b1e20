"""Clocks that jump. Wall time is what people read; no decision may hang on it that need not."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from support import databases
from support.after import rows, sound_of, spoken
from support.clocks import JumpyClock
from support.running import running

from gateway.settings import CacheSettings, JobSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_both")]

HOUR_MS = 3_600_000
JOBS = JobSettings(lease_s=1.5, beat_s=0.3, max_running=1)
TEXT = " ".join(f"Sentence {n} of a text that goes on for quite a while." for n in range(8))


@pytest.mark.parametrize("jump_ms", [5 * HOUR_MS, -5 * HOUR_MS, -30_000], ids=["forward", "back", "back a little"])
async def test_jobs_are_spoken_whichever_way_the_clock_jumps(tmp_path: Path, jump_ms: int) -> None:
    clock = JumpyClock()
    backends = {"scripted": {"target_chars": 60, "seconds_per_char": 0.005}}
    async with running(tmp_path, clock, jobs=JOBS, backends=backends) as caller:
        before = await caller.say("Before the clock jumped.")
        runs = [await caller.run(f"{n}. {TEXT}", options={"chunk_delay_s": 0.05}) for n in range(3)]
        await caller.until(runs[0], "IN_PROGRESS")
        clock.ahead_ms = jump_ms
        for job in [await caller.until(job_id) for job_id in runs]:
            sound_of(job)
            assert "retries" not in job
            assert 0 <= job["executionTime"] < 60_000
            assert job["delayTime"] >= 0
        assert (await caller.say("Before the clock jumped."))["output"]["cache_hit"] is True
        assert (await caller.status(before["id"]))["status"] == "COMPLETED"
        failed = await caller.until(await caller.run("This one fails.", options={"fail": True}))
        clock.ahead_ms = 0
        await caller.post(f"retry/{failed['id']}")
        assert (await caller.until(failed["id"]))["status"] == "FAILED"
        sound_of(await caller.say("After the clock was set right."))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_clock_that_is_set_back_keeps_the_takes_of_a_running_job(tmp_path: Path, kind: str) -> None:
    clock = JumpyClock()
    backends = {"scripted": {"target_chars": 60, "seconds_per_char": 0.005, "record": str(tmp_path / "record")}}
    cache = CacheSettings(sweep_every_s=0.2, blob_grace_s=0.3, takes_bytes=0)
    with databases.on(kind):
        async with running(tmp_path, clock, jobs=JOBS, cache=cache, backends=backends) as caller:
            job_id = await caller.run(TEXT, options={"chunk_delay_s": 0.3})
            await caller.until(job_id, "IN_PROGRESS")
            clock.ahead_ms = -5 * HOUR_MS
            kept = [0]
            while (await caller.status(job_id))["status"] == "IN_PROGRESS":
                kept.append(rows(tmp_path, "SELECT COUNT(*) FROM takes")[0][0])
                await asyncio.sleep(0.1)
            sound_of(await caller.status(job_id))
            assert kept == sorted(kept)
            assert kept[-1] >= 6


async def test_a_clock_that_is_set_back_does_not_keep_a_refresh_from_speaking_anew(tmp_path: Path) -> None:
    clock = JumpyClock()
    backends = {"scripted": {"seconds_per_char": 0.005, "record": str(tmp_path / "record")}}
    async with running(tmp_path, clock, jobs=JOBS, backends=backends) as caller:
        await caller.say("Say this again.")
        clock.ahead_ms = -5 * HOUR_MS
        for times in (2, 3):
            sound_of(await caller.say("Say this again.", cache="refresh"))
            assert len(spoken(tmp_path / "record")) == times


async def test_a_server_that_was_suspended_keeps_its_own_leases(tmp_path: Path) -> None:
    clock = JumpyClock()
    backends = {"scripted": {"target_chars": 60, "seconds_per_char": 0.005}}
    async with running(tmp_path, clock, jobs=JOBS, backends=backends) as caller:
        job_id = await caller.run(TEXT, options={"chunk_delay_s": 0.5})
        job = await caller.until(job_id, "IN_PROGRESS")
        while job["status"] == "IN_PROGRESS":
            await asyncio.sleep(random.uniform(0.05, 0.25))
            clock.ahead_s += 60
            job = await caller.status(job_id)
        sound_of(job)
        assert "retries" not in job
