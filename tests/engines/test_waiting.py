"""Waiting for an event never loses a cancel: a server that is told to stop would go on for ever."""

from __future__ import annotations

import asyncio

import pytest

from gateway.clock import set_within


async def test_a_cancel_in_the_moment_of_the_event_ends_the_loop() -> None:
    look = asyncio.Event()

    async def loop() -> None:
        while True:
            look.clear()
            await set_within(look, 60)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    look.set()
    await asyncio.sleep(0)  # whoever waits has been told, and has not run yet
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=10)
    assert task in done and task.cancelled()


@pytest.mark.parametrize("set_it", [True, False])
async def test_it_says_whether_the_event_was_set(set_it: bool) -> None:
    look = asyncio.Event()
    if set_it:
        asyncio.get_running_loop().call_later(0.01, look.set)
    assert await set_within(look, 30 if set_it else 0.01) is set_it
