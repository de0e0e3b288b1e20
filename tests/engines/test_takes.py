"""Each chunk gets its own take or failure, for any behaviour of the backend."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
import soundfile
from support.hosting import hosting, order, outcome

from gateway.engines.errors import ChunkRefused
from gateway.engines.scale import Scale


async def test_a_chunk_comes_back_as_flac_and_as_the_same_finished_samples():
    async with hosting() as host:
        take = await outcome(host.submit(order("Good morning.")))
        samples, rate = soundfile.read(io.BytesIO(take.file), dtype="int16")
        assert rate == take.rate == 24_000
        assert len(samples) == take.samples
        assert np.array_equal(samples, np.frombuffer(take.pcm, "<i2"))
        assert np.abs(samples).max() > 10_000


async def test_every_kind_of_bad_take_fails_its_chunk_alone():
    bad = {
        "nan": "not finite",
        "silence": "silence",
        "empty": "no samples",
        "wrong_rate": "12000 Hz",
        "nothing": "gave no take",
    }
    async with hosting() as host:
        good = host.submit(order("Good morning."))
        tickets = {kind: host.submit(order("Bad.", index=1, pcm=kind)) for kind in bad}
        last = host.submit(order("Good evening.", index=2))
        for kind, ticket in tickets.items():
            error = await outcome(ticket)
            assert isinstance(error, ChunkRefused), kind
            assert bad[kind] in str(error)
        assert (await outcome(good)).samples > 0
        assert (await outcome(last)).samples > 0
        assert host.state().restarts == 0


async def test_a_refusal_says_what_kind_it_is_and_whether_to_try_again():
    async with hosting() as host:
        error = await outcome(host.submit(order(fail="no such word", kind="too_long", retryable=True)))
        assert (str(error), error.kind, error.retryable) == ("no such word", "too_long", True)
        error = await outcome(host.submit(order(fail=True, kind="unsupported_text")))
        assert (error.kind, error.code) == ("unsupported_text", "unsupported_text")


async def test_wrong_options_are_the_callers_fault():
    async with hosting() as host:
        error = await outcome(host.submit(order(chunk_delay_s="soon")))
        assert error.kind == "invalid_input"
        assert "chunk_delay_s" in str(error)


async def test_the_same_text_and_seed_give_the_same_bytes_alone_and_in_company():
    async with hosting() as host:
        alone = await outcome(host.submit(order("The same.", pcm="noise")))
    async with hosting(concurrency=4) as host:
        crowd = [host.submit(order(text, pcm="noise")) for text in ("One.", "The same.", "Two.", "The same.")]
        takes = [await outcome(ticket) for ticket in crowd]
    assert takes[1].file == takes[3].file == alone.file


async def test_an_engine_that_batches_speaks_its_chunks_at_the_same_time():
    async with hosting(concurrency=8) as host:
        tickets = [host.submit(order(f"Number {n}.", index=n, chunk_delay_s=1.0)) for n in range(8)]
        await asyncio.gather(*(ticket.future for ticket in tickets))
        starts = [ticket.dispatched_at for ticket in tickets]
        assert max(starts) - min(starts) < 1.0, "the last began after the first had ended"


async def test_a_long_take_crosses_whole():
    async with hosting(seconds_per_char=1.0) as host:
        take = await outcome(host.submit(order("x" * 300)))
        assert take.samples == 300 * 24_000
        assert len(take.pcm) == 2 * take.samples


async def test_stopping_lets_running_chunks_end_and_refuses_the_waiting_ones():
    async with hosting(Scale(1, 1)) as host:
        running = host.submit(order("Running.", chunk_delay_s=0.3))
        while running.dispatched_at is None:
            await asyncio.sleep(0.01)
        waiting = host.submit(order("Waiting."))
        await host.stop(10)
        assert (await outcome(running)).samples > 0
        assert "stopping" in str(await outcome(waiting))
        assert "stopping" in str(await outcome(host.submit(order("Too late."))))
        assert host.state().pids == ()


@pytest.mark.parametrize("how", ["ticket", "waiter"])
async def test_a_cancelled_chunk_is_dropped_and_its_company_is_spoken_by_the_same_worker(how: str):
    async with hosting(concurrency=2) as host:
        unwanted = host.submit(order("Unwanted.", chunk_delay_s=30))
        wanted = host.submit(order("Wanted.", index=1, chunk_delay_s=0.2))
        waiter = asyncio.ensure_future(asyncio.wait_for(unwanted.future, 30))
        while unwanted.dispatched_at is None:
            await asyncio.sleep(0.01)
        pids = host.state().pids
        (unwanted if how == "ticket" else waiter).cancel()
        assert (await outcome(wanted)).samples > 0
        again = host.submit(order("Next.", index=2))
        assert (await outcome(again)).samples > 0
        assert unwanted.future.cancelled()
        assert host.state().pids == pids
        assert host.state().restarts == 0


async def test_a_cancelled_chunk_that_still_waits_is_never_spoken():
    async with hosting() as host:
        first = host.submit(order("First.", chunk_delay_s=0.2))
        unwanted = host.submit(order("Unwanted.", crash=True))
        unwanted.cancel()
        assert (await outcome(first)).samples > 0
        assert (await outcome(host.submit(order("Last.")))).samples > 0
        assert host.state().restarts == 0
