"""The limits of a job's time pass on the server's clock, so these tests of minutes take none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.clocks import HeldClock
from support.hosting import GUARD_S, until
from support.running import running

from gateway.jobs.run.deadline import Deadline, DeadlineOver
from gateway.jobs.run.pause import FIRST_S, LONGEST_S, PausesForRoom, StoragePause
from gateway.settings import JobSettings
from gateway.speech.speak.timing import Timing

VENDOR = {"scripted": {"host": "inline", "concurrency": 1}}
SLOW = {"chunk_delay_s": 3600}


async def test_a_job_is_timed_out_when_its_execution_timeout_has_passed_and_not_before(tmp_path: Path) -> None:
    clock = HeldClock()
    async with running(tmp_path, clock, backends=VENDOR) as caller:
        job_id = await caller.run("It takes an hour.", options=SLOW, policy={"executionTimeout": 50_000})
        await until(lambda: any(40 < left <= 50 for left in clock.sleeps))
        clock.let_pass(45)
        assert (await caller.status(job_id))["status"] == "IN_PROGRESS"
        clock.let_pass(6)
        job = await caller.until(job_id)
    assert (job["status"], job["executionTime"] // 1000) == ("TIMED_OUT", 51)
    assert "policy.executionTimeout of 50000 ms" in job["error"]


async def test_a_job_is_timed_out_when_no_chunk_was_finished_for_the_stall_limit(tmp_path: Path) -> None:
    clock = HeldClock()
    async with running(tmp_path, clock, backends=VENDOR, jobs=JobSettings(stall_timeout_s=50)) as caller:
        job_id = await caller.run("It takes an hour.", options=SLOW)
        await until(lambda: any(40 < left <= 50 for left in clock.sleeps))
        clock.let_pass(51)
        job = await caller.until(job_id)
    assert job["status"] == "TIMED_OUT"
    assert "no chunk was finished for 50 s" in job["error"]


async def test_a_finished_chunk_restarts_the_stall_limit() -> None:
    clock = HeldClock()
    timing = Timing(clock)
    deadline = Deadline(clock, timing, None, 30)
    timing.begin()
    clock.let_pass(29)
    deadline.took()
    clock.let_pass(29)
    assert 0 < (deadline.left_s() or 0) <= 1
    with pytest.raises(DeadlineOver):
        async with asyncio.timeout(GUARD_S), deadline.enforced():
            clock.let_pass(2)
            await asyncio.Event().wait()


def test_a_pause_grows_with_each_failure_after_it_and_not_with_those_that_fail_together() -> None:
    clock = HeldClock()
    pause, lengths = StoragePause(clock), []
    for _ in range(6):
        lengths.append(pause.next_ms())
        assert pause.next_ms() <= lengths[-1], "a job that fails with another waits with it"
        clock.let_pass(LONGEST_S + 1)
    assert lengths == [2000, 4000, 8000, 16_000, 30_000, 30_000]
    pause.over()
    assert pause.next_ms() == 1000 * FIRST_S


def test_a_job_that_found_no_room_waits_longer_each_time_and_others_do_not() -> None:
    clock = HeldClock()
    pauses = PausesForRoom(clock)
    first = pauses.next_ms("long")
    clock.let_pass(3)
    assert pauses.next_ms("long") == 2 * first
    assert pauses.next_ms("short") == first
    pauses.over("long")
    assert pauses.next_ms("long") == first
