"""Backends on the event loop: everything a process host does, without a process for the engine."""

from __future__ import annotations

import asyncio

import pytest
from support.hosting import GUARD_S, hosting, order, outcome
from support.odd_takes import OddTakesBackend

from backends.each import each_async
from backends.interface import BackendUnavailable
from backends.testing.scripted import ScriptedBackend
from gateway.engines.errors import ChunkPoisoned, ChunkRefused
from gateway.engines.scale import Scale


class SlowCalls(ScriptedBackend):
    """A vendor that never answers."""

    begun: asyncio.Event
    ended: asyncio.Event

    async def speak(self, chunk):
        self.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended.set()

    def synthesize(self, feed):
        return each_async(feed, self.speak)


SCALE = Scale(0, 1, restart_s=0.01)


async def test_many_chunks_are_under_way_at_once_and_finished_elsewhere():
    async with hosting(SCALE, host="inline", concurrency=16) as host:
        tickets = [host.submit(order(f"Number {n}.", index=n, chunk_delay_s=0.2)) for n in range(16)]
        takes = [await outcome(ticket) for ticket in tickets]
        assert all(take.file.startswith(b"fLaC") for take in takes)
        assert host.state().pids == ()


async def test_bad_takes_fail_alone():
    async with hosting(SCALE, host="inline", concurrency=4) as host:
        bad = [host.submit(order(pcm=kind)) for kind in ("nan", "silence", "empty", "wrong_rate")]
        good = host.submit(order("Good."))
        assert all([isinstance(await outcome(ticket), ChunkRefused) for ticket in bad])
        assert (await outcome(good)).samples


async def test_a_take_that_cannot_be_finished_fails_at_once_and_alone():
    async with hosting(SCALE, host="inline", backend=OddTakesBackend, concurrency=2) as host:
        odd, plain = host.submit(order("An odd one.")), host.submit(order("A plain one."))
        assert "gave no take that can be used" in str(await outcome(odd))
        assert (await outcome(plain)).samples
        assert host.state().restarts == 0


async def test_a_cancelled_chunk_frees_its_waiter_at_once_and_disturbs_nobody():
    async with hosting(SCALE, host="inline", concurrency=2) as host:
        unwanted = host.submit(order("Unwanted.", chunk_delay_s=30))
        wanted = host.submit(order("Wanted.", index=1, chunk_delay_s=0.2))
        while wanted.dispatched_at is None:
            await asyncio.sleep(0.01)
        unwanted.cancel()
        assert (await outcome(wanted)).samples
        assert host.state().restarts == 0


async def test_a_cancel_ends_the_call_of_the_vendor_at_once():
    SlowCalls.begun, SlowCalls.ended = asyncio.Event(), asyncio.Event()
    async with hosting(SCALE, host="inline", backend=SlowCalls, concurrency=1) as host:
        ticket = host.submit(order("Unwanted."))
        async with asyncio.timeout(GUARD_S):
            await SlowCalls.begun.wait()
            ticket.cancel()
            await SlowCalls.ended.wait()
        assert host.state().restarts == 0


async def test_a_backend_that_raises_is_started_again_and_the_chunk_at_fault_is_given_up():
    async with hosting(SCALE, host="inline", concurrency=4) as host:
        tickets = [host.submit(order(text, raises=True, only="Bad")) for text in ("Bad.", "Good.", "Fine.")]
        ends = [await outcome(ticket) for ticket in tickets]
        assert isinstance(ends[0], ChunkPoisoned)
        assert ends[1].samples
        assert ends[2].samples


@pytest.mark.parametrize(("fault", "word"), [("unavailable", "told to be"), ("raise", "told not to load")])
async def test_a_backend_that_cannot_load_is_unavailable(fault: str, word: str):
    async with hosting(SCALE, host="inline", load_fails=fault) as host:
        error = await outcome(host.submit(order()))
        assert isinstance(error, BackendUnavailable)
        assert word in str(error)


async def test_stopping_lets_calls_under_way_end():
    async with hosting(SCALE, host="inline", concurrency=2) as host:
        running = host.submit(order("Running.", chunk_delay_s=0.3))
        while running.dispatched_at is None:
            await asyncio.sleep(0.01)
        await host.stop(10)
        assert (await outcome(running)).samples
