"""A long text, whatever it is made of, holds up nobody but its sender."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from support.hearts import Heart
from support.hosting import until
from support.peaks import children
from support.running import running
from support.voices import tenant

MODULE = "gateway.speech.planner"
HOSTILE = {
    "opened quotes": "“a ",
    "apostrophes": "'",
    "code": "`make` and ",
    "guillemets": "« ",
    "empty paragraphs": "a\n\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
async def test_no_text_stops_the_servers_heart(tmp_path: Path, unit: str) -> None:
    async with running(tmp_path) as caller:
        text = "a" + unit * min(2_000_000 // len(unit.encode()), 100_000 if "\n" in unit else 2_000_000)
        async with Heart() as heart:
            job = await caller.run(text, options={"chunk_delay_s": 5})
            planned = asyncio.ensure_future(caller.until(job, "IN_PROGRESS"))
            while not planned.done() or not planned.result().get("progress", {}).get("chunks_total"):
                assert (await caller.http.get("/health/live")).status_code == 200
                if planned.done():
                    planned = asyncio.ensure_future(caller.until(job, "IN_PROGRESS"))
                await asyncio.sleep(0.01)
            await caller.post(f"cancel/{job}")
        assert heart.longest_gap_s - heart.longest_elsewhere_s < caller.gateway.settings.jobs.lease_s / 4


async def test_the_death_of_a_planning_process_fails_the_job_in_its_hand_and_no_other(tmp_path: Path) -> None:
    prose = "The quick brown fox jumps over the lazy dog. " * 500
    async with running(tmp_path) as caller, tenant(caller, "bert") as other:
        poisonous = await caller.run("a" + "“a " * 100_000, normalize="on")
        await caller.until(poisonous, "IN_PROGRESS")
        [pid] = await _planners()
        innocent = [await each.run(prose, format="pcm") for each in (caller, other)]
        os.kill(pid, signal.SIGKILL)
        failed = await caller.until(poisonous)
        assert failed["status"] == "FAILED"
        assert "the process that read this text ended: killed by SIGKILL" in failed["error"]
        for each, job in zip((caller, other), innocent, strict=True):
            assert (await each.until(job))["status"] == "COMPLETED"


async def test_a_text_whose_reading_fails_is_a_failed_job_that_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        killing = asyncio.create_task(_kill_planners())
        job = await caller.until(await caller.run("A text that is long. " * 12_000))
        killing.cancel()
        assert job["status"] == "FAILED" and "Send it again" in job["error"]
        assert (await caller.post(f"retry/{job['id']}")).status_code == 409, "it never was a job that could run"
        assert (await caller.say("A sentence."))["status"] == "COMPLETED"


async def _kill_planners() -> None:
    while True:
        for pid in children(MODULE):
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)


async def _planners() -> list[int]:
    await until(lambda: children(MODULE))
    return children(MODULE)
