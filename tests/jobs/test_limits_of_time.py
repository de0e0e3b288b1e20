"""executionTimeout, stalls, ttl, and what /retry finds afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.after import rows, sound_of, spoken
from support.clocks import JumpyClock
from support.running import Caller, running

from gateway.settings import JobSettings

pytestmark = pytest.mark.slow

TEXT = "\n\n".join(f"Paragraph {n} says the number {n} in so many words." for n in range(6))


def scripted(tmp_path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"target_chars": 50, "seconds_per_char": 0.005, "record": str(tmp_path / "record"), **settings}}


async def retried(caller: Caller, job: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await caller.post(f"retry/{job['id']}")
    assert answer.json()["status"] == "IN_QUEUE", answer.text
    return await caller.until(job["id"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_job_past_its_execution_timeout_keeps_its_takes_and_a_retry_goes_on_from_them(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        job_id = await caller.run(TEXT, options={"delay_s": 20, "only": "number 4 "}, policy={"executionTimeout": 5000})
        job = await caller.until(job_id)
        assert job["status"] == "TIMED_OUT"
        assert "policy.executionTimeout of 5000 ms" in job["error"]
        assert "/retry" in job["error"]
        assert 4500 <= job["executionTime"] < 15_000
        before = spoken(tmp_path / "record")
        # The engine is free at once: the chunk that took so long was withdrawn.
        sound_of(await caller.say("Somebody else has his turn."))
        again = asyncio.create_task(retried(caller, job))
        await caller.until(job_id, "IN_PROGRESS")
        await asyncio.sleep(0.5)
        assert {text for text, _ in spoken(tmp_path / "record")[len(before) :]} == {"Somebody else has his turn."}
        assert (await caller.post(f"cancel/{job_id}")).json()["status"] == "CANCELLED"
        await again


async def test_waiting_behind_others_is_not_execution(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        slow = await caller.run("A slow one goes first.", options={"delay_s": 9})
        await caller.until(slow, "IN_PROGRESS")
        await asyncio.sleep(0.2)
        quick = await caller.run("A quick one waits behind it.", policy={"executionTimeout": 5000})
        job = await caller.until(quick)
        sound_of(job)
        assert job["delayTime"] > 5000
        assert job["executionTime"] < 5000


async def test_a_job_that_is_cancelled_while_it_runs_says_for_how_long_it_ran_and_where(tmp_path: Path) -> None:
    jobs = JobSettings(beat_s=600, lease_s=3600)
    async with running(tmp_path, backends=scripted(tmp_path), jobs=jobs) as caller:
        await caller.say("The engine is loaded.", cache="off")
        began = time.monotonic()
        job_id = await caller.run("This one is not waited for.", options={"delay_s": 600})
        running_here = caller.gateway._claimer.running
        await until(lambda: job_id in running_here and running_here[job_id].timing.started is not None)
        await asyncio.sleep(1.0)
        assert (await caller.post(f"cancel/{job_id}")).json()["status"] == "CANCELLED"
        whole_ms = (time.monotonic() - began) * 1000
        job = await caller.status(job_id)
        assert 1000 <= job["executionTime"] <= whole_ms
        assert job["delayTime"] + job["executionTime"] <= whole_ms
        assert job["workerId"] == caller.gateway.owner


async def test_a_job_whose_ttl_ends_it_says_for_how_long_it_ran_and_where(tmp_path: Path) -> None:
    clock, jobs = JumpyClock(), JobSettings(beat_s=0.1, lease_s=3600)
    async with running(tmp_path, clock, backends=scripted(tmp_path), jobs=jobs) as caller:
        job_id = await caller.run("This one runs too long.", options={"delay_s": 600}, policy={"ttl": 600_000})
        await until(lambda: rows(tmp_path, "SELECT execution_ms > 500 FROM jobs") in ([(1,)], [(True,)]))
        clock.ahead_ms += 601_000
        job = await caller.until(job_id)
        assert (job["status"], job["workerId"]) == ("TIMED_OUT", caller.gateway.owner)
        assert 500 < job["executionTime"] < 600_000
        assert job["delayTime"] + job["executionTime"] >= 600_000


async def test_a_job_that_stalls_is_timed_out_and_a_long_one_that_gets_on_is_not(tmp_path: Path) -> None:
    jobs = JobSettings(stall_timeout_s=2.0)
    async with running(tmp_path, backends=scripted(tmp_path), jobs=jobs) as caller:
        stalled = await caller.until(await caller.run(TEXT, options={"delay_s": 20, "only": "number 4 "}))
        assert stalled["status"] == "TIMED_OUT"
        assert "VOXGATE_JOBS__STALL_TIMEOUT_S" in stalled["error"]
        long = await caller.until(await caller.run(TEXT + "\n\nThe end.", options={"delay_s": 0.4}))
        sound_of(long)
        assert long["executionTime"] > 2000


async def test_a_ttl_ends_what_waits_and_what_runs_and_a_retry_has_a_new_one(tmp_path: Path) -> None:
    jobs = JobSettings(max_running=1, ttl_s=4, beat_s=0.2, lease_s=1)
    async with running(tmp_path, backends=scripted(tmp_path), jobs=jobs) as caller:
        await caller.say("The engine is loaded.", cache="off")
        # One right after the other: their time is over together, before the second could be claimed.
        runs = await caller.run("This one runs too long.", options={"delay_s": 60})
        waits = await caller.run("This one waits behind it.")
        await caller.until(runs, "IN_PROGRESS")
        for job_id in (runs, waits):
            job = await caller.until(job_id)
            assert job["status"] == "TIMED_OUT"
            assert "ttl" in job["error"]
        sound_of(await retried(caller, job))


async def test_a_ttl_of_a_jobs_own_holds_for_its_retry_too(tmp_path: Path) -> None:
    clock = JumpyClock()
    async with running(tmp_path, clock, backends=scripted(tmp_path), jobs=JobSettings(beat_s=0.2, lease_s=1)) as caller:
        job_id = await caller.run("This one runs too long.", options={"delay_s": 120}, policy={"ttl": 20_000})
        for _ in range(2):
            await caller.until(job_id, "IN_PROGRESS")
            clock.ahead_ms += 21_000
            job = await caller.until(job_id)
            assert job["status"] == "TIMED_OUT" and "policy.ttl" in job["error"]
            assert (await caller.post(f"retry/{job_id}")).json()["status"] == "IN_QUEUE"
        await caller.post(f"cancel/{job_id}")


async def test_a_job_says_how_many_chunks_it_has_before_the_first_is_spoken(tmp_path: Path) -> None:
    jobs = JobSettings(stall_timeout_s=3.0)
    async with running(tmp_path, backends=scripted(tmp_path), jobs=jobs) as caller:
        job_id = await caller.run(TEXT, options={"delay_s": 120})
        while "progress" not in (job := await caller.status(job_id)):
            assert job["status"] in ("IN_QUEUE", "IN_PROGRESS"), job
            await asyncio.sleep(0.02)
        assert job["progress"] == {"chunks_done": 0, "chunks_total": 6}
        assert "0 of 6 chunks" in (await caller.until(job_id))["error"]


async def test_only_what_failed_can_be_retried(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        done = await caller.until(await caller.run("It is done."))
        answer = await caller.post(f"retry/{done['id']}")
        assert answer.status_code == 409
        assert "COMPLETED" in answer.json()["error"]
        assert (await caller.post("retry/nobody-v1")).status_code == 404


async def test_an_execution_timeout_counts_what_was_spent_before_a_restart(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {n} says the number {n} in so many words." for n in range(40))
    async with running(tmp_path, backends=scripted(tmp_path), shutdown_grace_s=0) as caller:
        job_id = await caller.run(text, options={"chunk_delay_s": 0.25}, policy={"executionTimeout": 5000})
        while len(spoken(tmp_path / "record")) < 16:
            await asyncio.sleep(0.05)
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        job = await caller.until(job_id)
        assert job["status"] == "TIMED_OUT"
        # Begun anew it would be 9 s and 36 chunks.
        assert 4500 <= job["executionTime"] < 8500
        assert len(spoken(tmp_path / "record")) < 33
