"""Callers who leave while their request is being accepted."""

from __future__ import annotations

import asyncio
import itertools
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest
from support.after import rows
from support.running import KEY, Caller, running

from gateway.api.http.envelope import decode_envelope
from gateway.settings import JobSettings

NOBODY_TAKES_OVER = JobSettings(lease_s=3600)
ENDED = "state IN ('COMPLETED', 'CANCELLED')"


@types.coroutine
def leaving(
    work: Coroutine[Any, Any, Any], nth: int, moment: str
) -> Generator[Any, Any, Any]:  # a coroutine, stepped by hand
    """Do the work in this task, which is cancelled at its nth await."""
    task = asyncio.current_task()
    assert task is not None
    step, argument, awaited = work.send, None, 0
    while True:
        try:
            future = step(argument)
        except StopIteration as end:
            return end.value
        awaited += 1
        if awaited == nth and moment == "while it waits":
            asyncio.get_running_loop().call_soon(task.cancel)
        try:
            argument, step = (yield future), work.send
        except BaseException as error:
            argument, step = error, work.throw  # type: ignore[assignment]
        else:
            if awaited == nth and moment == "as it goes on":
                argument, step = asyncio.CancelledError(), work.throw  # type: ignore[assignment]


async def has_left(caller: Caller, text: str, nth: int, moment: str, kind: Any, key: str | None) -> bool:
    """Submit this, and leave at the nth await; False: the answer was there before."""
    jobs, access = caller.gateway.jobs, caller.gateway.access
    envelope = decode_envelope(b'{"input":{"text":"%b"}}' % text.encode())

    async def submit() -> None:
        await leaving(jobs.submit(access.authenticate(KEY), "tests", envelope, kind, key), nth, moment)

    try:
        await asyncio.create_task(submit())
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("moment", ["while it waits", "as it goes on"])
@pytest.mark.parametrize("kind", ["run", "runsync", "run with a key"])
async def test_a_caller_who_leaves_at_any_await_of_a_submit_leaves_no_claimed_job_that_nobody_runs(
    tmp_path: Path, kind: str, moment: str
) -> None:
    async with running(tmp_path, jobs=NOBODY_TAKES_OVER) as caller:
        await caller.say("The backend is loaded now.")
        for nth in itertools.count(1):
            key = f"key {nth}" if kind.endswith("key") else None
            if not await has_left(caller, f"Text number {nth}.", nth, moment, kind.partition(" ")[0], key):
                break
            async with asyncio.timeout(30):
                while rows(tmp_path, f"SELECT id, state, owner FROM jobs WHERE NOT {ENDED}"):
                    await asyncio.sleep(0.02)
        assert nth > 1, "it never waited"
        async with asyncio.timeout(30):
            while caller.gateway._claimer.running:
                await asyncio.sleep(0.02)
        assert rows(tmp_path, f"SELECT id FROM jobs WHERE attempt <> 1 OR retries <> 0 OR NOT {ENDED}") == []


@pytest.mark.parametrize("moment", ["while it waits", "as it goes on"])
async def test_a_hit_whose_caller_leaves_at_any_await_is_counted_if_it_is_kept(tmp_path: Path, moment: str) -> None:
    async with running(tmp_path, jobs=NOBODY_TAKES_OVER) as caller:
        await caller.say("All of them want to hear this.")
        for nth in itertools.count(1):
            if not await has_left(caller, "All of them want to hear this.", nth, moment, "run", None):
                break
        assert nth > 1, "it never waited"
    ((jobs,),) = rows(tmp_path, "SELECT COUNT(*) FROM jobs WHERE state = 'COMPLETED'")
    assert rows(tmp_path, "SELECT SUM(jobs), SUM(cache_hits) FROM usage") == [(jobs, jobs - 1)]
