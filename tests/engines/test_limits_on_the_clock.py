"""The limits of a host pass on the server's clock, so these tests of minutes take none."""

from __future__ import annotations

import asyncio

from support.clocks import HeldClock
from support.hosting import GUARD_S, hosting, order, outcome, until

from backends.each import each_async
from backends.testing.scripted import ScriptedBackend
from gateway.engines.scale import Scale

SCALE = Scale(0, 1, idle_timeout_s=120, chunk_timeout_s=120, restart_s=0.01)


class Deaf(ScriptedBackend):
    """A vendor's client that goes on when its call is cancelled."""

    may_end: asyncio.Event

    async def speak(self, chunk):
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                continue
        raise RuntimeError("it ended at last")

    def synthesize(self, feed):
        return each_async(feed, self.speak)


async def test_an_idle_worker_is_stopped_when_its_time_has_passed():
    clock = HeldClock()
    async with hosting(SCALE, clock=clock, host="inline") as host:
        await outcome(host.submit(order()))
        await until(lambda: host.state().idle == 1)
        clock.let_pass(119)
        await asyncio.sleep(0)
        assert host.state().idle == 1
        clock.let_pass(2)
        await until(lambda: host.state().idle == 0)


async def test_a_silent_backend_is_started_again_when_its_time_has_passed():
    clock = HeldClock()
    async with hosting(SCALE, clock=clock, host="inline") as host:
        ticket = host.submit(order(chunk_delay_s=3600))
        await until(lambda: ticket.dispatched_at is not None)
        clock.let_pass(121)
        await until(lambda: host.state().restarts == 1)
        ticket.cancel()
        assert (await outcome(host.submit(order("Another.")))).samples


async def test_a_backend_that_does_not_end_is_left_behind_and_its_host_goes_on():
    clock, Deaf.may_end = HeldClock(), asyncio.Event()
    async with hosting(SCALE, clock=clock, host="inline", backend=Deaf) as host:
        ticket = host.submit(order())
        await until(lambda: ticket.dispatched_at is not None)
        stopping = asyncio.create_task(host.stop(0))
        await asyncio.sleep(0)
        assert not stopping.done()
        clock.let_pass(10)
        async with asyncio.timeout(GUARD_S):
            await stopping
        Deaf.may_end.set()
