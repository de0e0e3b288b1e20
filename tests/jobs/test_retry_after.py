"""A backend on the event loop that asks for a pause gets it, on the clock of the server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from support.clocks import HeldClock
from support.hosting import GUARD_S, until
from support.running import running

PAUSE_S = 50.0
VENDOR = {"host": "inline", "concurrency": 1, "busy_s": PAUSE_S}
BUSY_ONCE = {"takes": ["busy", "tone"]}


def vendor(**settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": VENDOR | settings}


def sleeps(clock: HeldClock) -> list[float]:
    """Return the sleeps that only the retries of these tests can be."""
    return [seconds for seconds in clock.sleeps if 40 < seconds <= PAUSE_S]


async def test_a_retry_waits_as_long_as_it_was_told_with_the_same_seed_and_a_free_place(tmp_path: Path) -> None:
    clock, record = HeldClock(), tmp_path / "spoken"
    async with running(tmp_path, clock, backends=vendor(record=str(record))) as caller:
        busy = await caller.run("Too many requests.", options=BUSY_ONCE)
        await until(lambda: sleeps(clock) == [PAUSE_S])
        other = await caller.say("Another job.")
        assert other["status"] == "COMPLETED", "the chunk that waits has given its place back"
        clock.let_pass(PAUSE_S - 1)
        assert (await caller.status(busy))["status"] == "IN_PROGRESS"
        clock.let_pass(1)
        assert (await caller.until(busy))["status"] == "COMPLETED"
    first, _, second = map(json.loads, record.read_text().splitlines())
    assert first == second


async def test_a_pause_that_is_too_long_fails_the_job_at_once_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, HeldClock(), backends=vendor(busy_s=3600.0)) as caller:
        job = await caller.say("Too many requests.", options=BUSY_ONCE)
        assert job["status"] == "FAILED"
        assert "asks for another try after 3600 s, and a chunk waits 60 s at most" in job["error"]


async def test_pauses_are_added_up(tmp_path: Path) -> None:
    clock = HeldClock()
    async with running(tmp_path, clock, backends=vendor()) as caller:
        job = await caller.run("Too many requests.", options={"takes": ["busy"]})
        await until(lambda: sleeps(clock) == [PAUSE_S])
        clock.let_pass(PAUSE_S)
        assert (await caller.until(job))["status"] == "FAILED"


async def test_a_job_that_is_cancelled_waits_no_longer(tmp_path: Path) -> None:
    clock = HeldClock()
    async with running(tmp_path, clock, backends=vendor()) as caller:
        job = await caller.run("Too many requests.", options=BUSY_ONCE)
        await until(lambda: sleeps(clock) == [PAUSE_S])
        await caller.post(f"cancel/{job}")
        async with asyncio.timeout(GUARD_S):
            assert (await caller.until(job))["status"] == "CANCELLED"
        await until(lambda: not sleeps(clock))
