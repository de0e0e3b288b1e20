"""Periodic work goes on after a failed round, on the server's clock."""

from __future__ import annotations

import asyncio

import structlog
from support.clocks import HeldClock
from support.hosting import until

from gateway.periodic import Periodic
from storage.errors import StorageFull


async def test_work_goes_on_after_rounds_that_fail_and_each_failure_is_logged_by_its_name() -> None:
    clock, rounds = HeldClock(), []
    faults = [StorageFull("no space left"), ValueError("a mistake")]

    async def step() -> None:
        rounds.append(len(rounds))
        if faults:
            raise faults.pop(0)

    periodic = Periodic(clock)
    with structlog.testing.capture_logs() as lines:
        periodic.every(60, "sweep", step)
        for done in range(3):
            await until(lambda: clock.sleeps == [60])
            assert len(rounds) == done
            clock.let_pass(60)
            await until(lambda: len(rounds) == done + 1)  # noqa: B023 - awaited within the round
        await periodic.stop()
    assert [(line["event"], line["work"]) for line in lines] == [("round_failed", "sweep"), ("round_crashed", "sweep")]
    assert clock.sleeps == []


async def test_work_that_is_told_runs_once_for_each_time() -> None:
    told, rounds = asyncio.Event(), []

    async def step() -> None:
        rounds.append(1)

    periodic = Periodic(HeldClock())
    periodic.whenever(told, "keys", step)
    for done in (1, 2):
        told.set()
        await until(lambda: len(rounds) == done)  # noqa: B023 - awaited within the round
    await periodic.stop()
