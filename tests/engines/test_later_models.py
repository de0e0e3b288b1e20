"""A worker that gets another model in the middle of its work: what the host makes of what it holds."""

from __future__ import annotations

import os
import signal
import time

from support.hosting import hosting, order, outcome, until

from backends.testing.scripted import ScriptedBackend
from gateway.engines.scale import Scale

LATER = {"later": "en", "concurrency": 2}


class LoadsInSilence(ScriptedBackend):
    def _load_later(self, feed, active) -> None:
        self._progress(0.1, "silently")
        time.sleep(2.0)
        self._later_loaded = True
        self._progress(1.0, "")


async def test_what_it_holds_is_held_up_and_it_is_given_no_more_until_it_goes_on():
    async with hosting(later_s=2.0, **LATER) as host:
        first = host.submit(order("The first one.", chunk_delay_s=0.2))
        await until(lambda: first.held_up)
        state = host.state()
        assert (state.initializing, state.running, state.idle) == (1, 0, 0)
        assert state.loading_text == "pretending to load en" and state.loading_share < 1
        second = host.submit(order("The second one."))
        assert second.dispatched_at is None
        await until(lambda: not first.held_up)
        assert second.dispatched_at is not None or not first.future.done()
        assert (await outcome(first)).samples and (await outcome(second)).samples
        state = host.state()
        assert (state.initializing, state.idle, state.restarts) == (0, 1, 0)


async def test_a_chunk_that_is_held_up_can_be_cancelled_and_the_next_is_spoken():
    async with hosting(later_s=1.5, **LATER) as host:
        unwanted = host.submit(order("Nobody wants this."))
        await until(lambda: unwanted.held_up)
        unwanted.cancel()
        assert (await outcome(host.submit(order("This one is wanted.")))).samples
        assert host.state().restarts == 0


async def test_a_worker_that_dies_over_another_model_costs_its_chunks_nothing_but_time():
    async with hosting(later_s=1.0, **LATER) as host:
        ticket = host.submit(order())
        await until(lambda: ticket.held_up)
        os.kill(host.state().pids[0], signal.SIGKILL)
        await until(lambda: not ticket.held_up)
        assert (await outcome(ticket)).samples


async def test_a_worker_may_be_silent_over_another_model_as_long_as_over_its_first():
    async with hosting(Scale(0, 1, restart_s=0.05, chunk_timeout_s=1.0), backend=LoadsInSilence, **LATER) as host:
        assert (await outcome(host.submit(order()))).samples
        assert host.state().restarts == 0
